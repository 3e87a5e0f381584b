"""What is to follow a commit follows it, once, and follows nothing that was rolled back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    InMemoryTenancyStore,
    OrgSlugConflictError,
    Policy,
    TenancyChange,
    TenancyRepository,
    TenancyStore,
    after_commit,
    new_id,
    unit_of_work,
)
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyRepository, AsyncTenancyStore
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.cluster import ASYNC_DRIVERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from sqlalchemy import Engine

    Note: TypeAlias = Callable[[str], None]


class RefusedError(Exception):
    """What an application raises to undo its savepoint."""


@pytest.fixture
def heard() -> list[str]:
    """What has been called after a commit."""
    return []


@pytest.fixture
def policy(heard: list[str]) -> Policy:
    """Hears of every change that is there to stay."""

    def tell(session: Session, change: TenancyChange) -> None:
        after_commit(session, lambda: heard.append(change.operation))

    return Policy(on_change=tell)


def released(session: Session, note: Note) -> None:
    note("before")
    with session.begin_nested():
        note("inside")
        with session.begin_nested():
            note("deep inside")
    note("after")


def rolled_back_to(session: Session, note: Note) -> None:
    note("before")
    with suppress(RefusedError), session.begin_nested():
        note("undone")
        with session.begin_nested():
            note("undone, too")
        raise RefusedError
    note("after")


def inner_one_rolled_back_to(session: Session, note: Note) -> None:
    with session.begin_nested():
        note("before")
        with suppress(RefusedError), session.begin_nested():
            note("undone")
            raise RefusedError
        note("after")


def committed_with_a_savepoint_open(session: Session, note: Note) -> None:
    session.begin_nested()
    note("inside")
    session.commit()


def rolled_back(session: Session, note: Note) -> None:
    with session.begin_nested():
        note("undone")
    session.rollback()
    note("after")


def closed(session: Session, note: Note) -> None:
    note("undone")
    session.close()
    note("after")


def refused_at_the_commit(session: Session, note: Note) -> None:
    session.execute(
        text("CREATE TEMPORARY TABLE one (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    )
    session.execute(text("INSERT INTO one VALUES (1), (1)"))
    note("undone")
    with pytest.raises(DBAPIError):
        session.commit()
    session.rollback()


def savepoint_in_a_flush(session: Session, note: Note) -> None:
    def listen(*_: object) -> None:
        with session.begin_nested():
            note("inside")

    event.listen(session, "after_flush", listen, once=True)
    make_user(session)


COURSES: dict[Callable[[Session, Note], None], list[str]] = {
    released: ["before", "inside", "deep inside", "after"],
    rolled_back_to: ["before", "after"],
    inner_one_rolled_back_to: ["before", "after"],
    committed_with_a_savepoint_open: ["inside"],
    rolled_back: ["after"],
    closed: ["after"],
    refused_at_the_commit: [],
    savepoint_in_a_flush: ["inside"],
}


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.__name__)
def test_what_is_called_is_what_was_committed(
    db: Engine, heard: list[str], course: Callable[[Session, Note], None]
) -> None:
    with Session(db) as session:
        session.execute(text("SELECT 1"))
        course(session, lambda word: after_commit(session, lambda: heard.append(word)))
        assert session.in_transaction() or heard == COURSES[course]
        session.commit()
        assert heard == COURSES[course]
        session.execute(text("SELECT 1"))
        session.commit()
        assert not any(session.info.values())  # nothing is kept of what was rolled back

    assert heard == COURSES[course]


def test_it_is_called_when_the_transaction_is_over_whatever_became_of_the_one_before(
    db: Engine, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("gone")

    session = scoped_session(sessionmaker(db))
    after_commit(session, fail)
    after_commit(session, lambda: heard.append(str(session.scalar(text("SELECT 'sql'")))))
    session.commit()
    session.remove()

    assert heard == ["sql"]
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_operations_in_the_callers_transaction(
    sessions: sessionmaker[Session], heard: list[str], policy: Policy
) -> None:
    with sessions() as session, session.begin():
        tenancy = TenancyRepository(session, policy=policy)
        org = make_org(session)
        tenancy.update_org(org.id, slug="acme")
        with suppress(RefusedError), session.begin_nested():
            tenancy.suspend_org(org.id)
            raise RefusedError
        usr_id = make_user(session).id
        with pytest.raises(OrgSlugConflictError):
            tenancy.create_org(usr_id, slug="acme")
        tenancy.revoke_org(org.id)
        assert heard == []
    assert heard == ["update_org", "revoke_org"]

    with suppress(RefusedError), unit_of_work(sessions, policy=policy) as tenancy:
        tenancy.suspend_org(tenancy.create_org(usr_id).org.id)
        raise RefusedError
    assert heard == ["update_org", "revoke_org"]


def test_an_operation_of_a_store_however_often_it_is_tried(
    db: Engine, sessions: sessionmaker[Session], heard: list[str], policy: Policy
) -> None:
    store = TenancyStore(sessions, policy=policy)
    with db.begin() as connection:
        usr_id = make_user(Session(connection)).id
    failed: list[TenancyChange] = []

    def fail_once(session: Session, change: TenancyChange) -> None:
        assert policy.on_change is not None
        policy.on_change(session, change)
        if not failed:
            failed.append(change)
            session.execute(text("DO $$ BEGIN RAISE 'no' USING ERRCODE = '40001'; END $$"))

    TenancyStore(sessions, policy=Policy(on_change=fail_once)).create_org(usr_id, slug="acme")
    assert failed
    assert heard == ["create_org"]

    with pytest.raises(OrgSlugConflictError):
        store.create_org(usr_id, slug="acme")
    assert heard == ["create_org"]


def test_an_operation_in_memory(heard: list[str], policy: Policy) -> None:
    InMemoryTenancyStore(policy=policy).create_org(new_id("usr"))
    assert heard == ["create_org"]


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
def test_awaited_operations(db: Engine, heard: list[str], policy: Policy, driver: str) -> None:
    async def play() -> None:
        engine = create_async_engine(db.url.set(drivername=f"postgresql+{driver}"))
        loop = asyncio.get_running_loop()
        async with AsyncSession(engine) as session, session.begin():
            usr_id = (await session.run_sync(make_user)).id
            tenancy = AsyncTenancyRepository(session, policy=policy)
            org = (await tenancy.create_org(usr_id, slug="acme")).org
            with suppress(RefusedError):
                async with session.begin_nested():
                    await tenancy.suspend_org(org.id)
                    raise RefusedError
            after_commit(
                session.sync_session,
                lambda: heard.append("in the loop" if asyncio.get_running_loop() is loop else ""),
            )
            assert heard == []
        store = AsyncTenancyStore(lambda: AsyncSession(engine), policy=policy)
        with pytest.raises(OrgSlugConflictError):
            await store.create_org(usr_id, slug="acme")
        await store.create_org(usr_id, slug="bolt")
        await engine.dispose()

    asyncio.run(play())
    assert heard == ["create_org", "in the loop", "create_org"]
