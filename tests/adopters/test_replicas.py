"""A primary with a streaming replica: what is done where, and what is seen when."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import Delete, Update, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import (
    ForbiddenError,
    ReplicaBehindError,
    Role,
    TenancyRepository,
    TenancyStore,
    aio,
)
from flametrench_tenancy_sqlalchemy.replicas import position, wait_for
from flametrench_tenancy_sqlalchemy.repository.kinds import Kind, kind_of
from flametrench_tenancy_sqlalchemy.testing.databases import empty_tables
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org
from tests.support.calls import CALLS, call
from tests.support.counting import sent
from tests.support.replicas import (
    PATIENCE,
    Pair,
    await_statement,
    catch_up,
    needs_a_replica,
    pause,
    resume,
)
from tests.support.stage import NOW, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    Form = Callable[[Engine, Engine, Callable[[Any], object]], object]

pytestmark = needs_a_replica

KINDS: Final = {name: kind_of(getattr(TenancyRepository, name)) for name in CALLS}


@pytest.fixture(scope="module")
def pair() -> Pair:
    """The servers."""
    return Pair.create()


@pytest.fixture(scope="module")
def primary(pair: Pair) -> Iterator[Engine]:
    """An engine on the primary."""
    engine = create_engine(pair.primary)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def _emptied(primary: Engine) -> Iterator[None]:
    yield
    with primary.begin() as connection:
        empty_tables(connection)


@pytest.fixture(scope="module")
def replica(pair: Pair) -> Iterator[Engine]:
    """An engine on the replica."""
    engine = create_engine(pair.replica)
    yield engine
    engine.dispose()


@pytest.fixture
def paused(primary: Engine, replica: Engine) -> Iterator[list[str]]:
    """An organization, and one of its two owners; what happens to them now, the replica misses."""
    with Session(primary) as session, session.begin():
        org = make_org(session)
        admin = make_member(session, org, role=Role.ADMIN)
        ids = [org.id, admin.usr_id, admin.id]
    catch_up(primary, replica)
    pause(replica)
    yield ids
    resume(replica)
    catch_up(primary, replica)


def a_store(primary: Engine, replica: Engine, do: Callable[[Any], object]) -> None:
    do(TenancyStore(sessionmaker(primary), reads=sessionmaker(replica), clock=lambda: NOW))


def a_session_that_routes(primary: Engine, replica: Engine, do: Callable[[Any], object]) -> None:
    class Routing(Session):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **_: Any) -> Engine:
            return primary if self._flushing or isinstance(clause, Update | Delete) else replica

    with Routing() as session, session.begin():
        do(TenancyRepository(session, clock=lambda: NOW))


@pytest.mark.parametrize("form", [a_store, a_session_that_routes])
@pytest.mark.parametrize("name", CALLS)
def test_what_writes_or_guards_is_done_on_the_primary_and_what_reads_on_the_replica(
    primary: Engine, replica: Engine, form: Form, name: str
) -> None:
    with Session(primary) as session, session.begin():
        given = CALLS[name](Stage(session))
    catch_up(primary, replica)

    with sent(primary) as there, sent(replica) as elsewhere:
        form(primary, replica, lambda tenancy: call(tenancy, name, given))

    done, idle = (elsewhere, there) if KINDS[name] is Kind.READS else (there, elsewhere)
    assert done
    assert idle == []


def test_a_guard_on_a_replica_admits_whom_the_primary_has_removed(
    primary: Engine, replica: Engine, paused: list[str]
) -> None:
    org_id, usr_id, mem_id = paused
    on_primary, on_replica = sessionmaker(primary), sessionmaker(replica)
    store = TenancyStore(on_primary, reads=on_replica)
    store.self_leave(mem_id)

    with pytest.raises(ForbiddenError):
        store.require_role(org_id, usr_id)
    assert store.role_of(org_id, usr_id) is None
    assert store.find_membership(org_id, usr_id) is None

    astray = TenancyStore(on_primary, reads=on_replica, guards=on_replica)
    assert astray.require_role(org_id, usr_id).role is Role.ADMIN

    # Who reads for themselves is asked where they read: they see what they have seen before.
    store.update_org(org_id, name="Later")
    assert store.acting_as(usr_id).get_org(org_id).name is None


def test_a_wait_ends_when_the_replica_shows_what_was_written(
    primary: Engine, replica: Engine, paused: list[str]
) -> None:
    org_id, *_ = paused
    with Session(primary) as session:
        TenancyRepository(session).update_org(org_id, name="New")
        session.commit()
        there = position(session)

    with Session(replica) as session:
        with pytest.raises(ReplicaBehindError) as behind:
            wait_for(session, there, timeout=0.05)
        assert TenancyRepository(session).get_org(org_id).name is None
    assert behind.value.position == there
    assert behind.value.replayed
    assert behind.value.replayed != there

    with ThreadPoolExecutor(1) as pool, Session(replica) as session:
        waiting = pool.submit(wait_for, session, there, timeout=PATIENCE)
        resume(replica)
        waiting.result()
        assert TenancyRepository(session).get_org(org_id).name == "New"


def test_who_waits_does_not_keep_the_replica_from_going_on(
    primary: Engine, replica: Engine, paused: list[str]
) -> None:
    with primary.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("UPDATE org SET name = 'New'"))
        connection.execute(text("VACUUM org"))  # what a snapshot on the replica may still see
    with Session(primary) as session:
        there = position(session)

    with ThreadPoolExecutor(1) as pool, Session(replica) as session:
        waiting = pool.submit(wait_for, session, there, timeout=PATIENCE)
        await_statement(replica, "SELECT pg_sleep%")
        resume(replica)
        waiting.result(timeout=15)  # after 30 s, the replica would cancel who keeps it waiting


def test_asynchronously_it_is_the_same(pair: Pair, paused: list[str]) -> None:
    org_id, *_ = paused

    async def write_and_read() -> str | None:
        primary, replica = (
            create_async_engine(url, poolclass=NullPool) for url in (pair.primary, pair.replica)
        )
        async with AsyncSession(primary) as session:
            await aio.AsyncTenancyRepository(session).update_org(org_id, name="New")
            await session.commit()
            there = await aio.position(session)
        async with AsyncSession(replica) as session:
            with pytest.raises(ReplicaBehindError):
                await aio.wait_for(session, there, timeout=0.05)
            waiting = asyncio.create_task(aio.wait_for(session, there, timeout=PATIENCE))
            async with replica.connect() as connection:
                await connection.execute(text("SELECT pg_wal_replay_resume()"))
            await waiting
            return (await aio.AsyncTenancyRepository(session).get_org(org_id)).name

    assert asyncio.run(write_and_read()) == "New"


def test_the_position_at_the_end_of_a_file_is_reached_without_another_record(
    primary: Engine, replica: Engine
) -> None:
    with primary.connect() as connection:
        connection.execute(text("SELECT pg_switch_wal()"))

    catch_up(primary, replica)
