"""`neighbour(session)`: others on the driver's own connection, in the Session's transaction."""

from __future__ import annotations

from asyncio import current_task
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import psycopg
import pytest
from flametrench_authz import DuplicateTupleError
from flametrench_authz.postgres import PostgresTupleStore
from flametrench_identity.postgres import PostgresIdentityStore
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import TenancyRepository, User, aio, neighbour, new_id
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.rows import committed_rows, rows, untruths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy import Engine

A_USER: Final = "INSERT INTO usr (id) VALUES (gen_random_uuid())"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def nobody(owner_engine: Engine) -> Iterator[str]:
    """A name that the database takes for no user."""
    with owner_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE usr ADD CONSTRAINT no CHECK (display_name <> '-')")
    yield "-"
    with owner_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE usr DROP CONSTRAINT no")


def kept(engine: Engine) -> dict[str, int]:
    """Return how many rows each of our tables has, as far as it has any."""
    return {name: len(found) for name, found in committed_rows(engine).items() if found}


ENDINGS: Final[dict[str, tuple[Callable[[Session], None], dict[str, int]]]] = {
    "commit": (Session.commit, {"usr": 1, "org": 1, "mem": 1, "tup": 2}),
    "rollback": (Session.rollback, {}),
}
ends = pytest.mark.parametrize("end, left", ENDINGS.values(), ids=list(ENDINGS))


@ends
def test_it_is_both_or_neither(
    clean_engine: Engine, end: Callable[[Session], None], left: dict[str, int]
) -> None:
    session = scoped_session(sessionmaker(clean_engine))
    with session() as session_itself:
        with neighbour(session) as connection:  # the Session has not said a word
            ann = PostgresIdentityStore(connection).create_user()
        TenancyRepository(session).create_org(ann.id)
        with neighbour(session) as connection:
            authz = PostgresTupleStore(connection)
            authz.create_tuple("usr", ann.id, "editor", "proj", str(uuid4()))
        end(session_itself)

    assert kept(clean_engine) == left


@ends
def test_they_see_what_is_pending_and_we_work_meanwhile(
    clean_engine: Engine, end: Callable[[Session], None], left: dict[str, int]
) -> None:
    with Session(clean_engine) as session:
        ann = User(id=new_id("usr"))
        session.add(ann)
        with neighbour(session) as connection:
            assert PostgresIdentityStore(connection).get_user(ann.id).status.value == "active"
            TenancyRepository(session).create_org(ann.id)
            PostgresTupleStore(connection).create_tuple(
                "usr", ann.id, "editor", "proj", str(uuid4())
            )
        end(session)

    assert kept(clean_engine) == left


def test_their_refusals_leave_the_transaction_alive(clean_engine: Engine, nobody: str) -> None:
    with Session(clean_engine) as session, session.begin():
        ann = make_user(session)
        with neighbour(session) as connection:
            identity, authz = PostgresIdentityStore(connection), PostgresTupleStore(connection)
            with pytest.raises(psycopg.errors.CheckViolation):
                identity.create_user(display_name=nobody)
            tuple_ = ("usr", ann.id, "editor", "proj", str(uuid4()))
            authz.create_tuple(*tuple_)
            with pytest.raises(DuplicateTupleError):
                authz.create_tuple(*tuple_)
        TenancyRepository(session).create_org(ann.id)

    assert kept(clean_engine) == {"usr": 1, "org": 1, "mem": 1, "tup": 2}


def test_what_leaves_the_block_takes_all_of_it_along_and_nothing_else(
    clean_engine: Engine, nobody: str
) -> None:
    with Session(clean_engine, expire_on_commit=False) as session, session.begin():
        ann = make_user(session)

        def fail() -> None:
            with neighbour(session) as connection:
                TenancyRepository(session).create_org(ann.id)
                PostgresIdentityStore(connection).update_user(ann.id, display_name="Ann")
                session.refresh(ann)
                assert ann.display_name == "Ann"
                PostgresIdentityStore(connection).create_user(display_name=nobody)

        with pytest.raises(psycopg.errors.CheckViolation):
            fail()
        assert ann.display_name is None
        assert untruths(session, rows(session.connection())) == []
        with neighbour(session) as connection:
            PostgresIdentityStore(connection).create_user()

    assert kept(clean_engine) == {"usr": 2}


def test_a_savepoint_of_the_callers_takes_them_along(clean_engine: Engine) -> None:
    with Session(clean_engine) as session, session.begin():
        with session.begin_nested() as savepoint:
            with neighbour(session) as connection:
                ann = PostgresIdentityStore(connection).create_user()
            TenancyRepository(session).create_org(ann.id)
            savepoint.rollback()
        with neighbour(session) as connection, connection.transaction() as inner:
            PostgresIdentityStore(connection).create_user()
            raise psycopg.Rollback(inner)
        assert session.get(User, ann.id) is None

    assert kept(clean_engine) == {}


def test_the_session_reads_anew_what_it_holds_but_not_its_keys(session: Session) -> None:
    ann, bob = make_user(session), make_user(session)
    with neighbour(session) as connection:
        PostgresIdentityStore(connection).update_user(ann.id, display_name="Ann")
        with neighbour(session) as same:
            assert same is connection
        connection.execute("UPDATE usr SET display_name = 'Bob' WHERE display_name IS NULL")

    statements: list[str] = []
    event.listen(session.connection(), "before_cursor_execute", lambda *a: statements.append(a[2]))
    assert ann.id != bob.id
    assert statements == []
    assert (ann.display_name, bob.display_name) == ("Ann", "Bob")
    assert untruths(session, rows(session.connection())) == []


ATTEMPTS: Final[dict[str, Callable[[Any, Session], object]]] = {
    "commit": lambda connection, _: connection.commit(),
    "rollback": lambda connection, _: connection.rollback(),
    "close": lambda connection, _: connection.close(),
    "autocommit": lambda connection, _: connection.set_autocommit(True),
    "with": lambda connection, _: connection.__exit__(None, None, None),
    "with, and fail": lambda connection, _: connection.__exit__(KeyError, KeyError(), None),
    "the Session's commit": lambda _, session: session.commit(),
    "the Session's rollback": lambda _, session: session.rollback(),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=list(ATTEMPTS))
def test_whoever_ends_the_transaction_meanwhile_is_refused_and_commits_nothing(
    clean_engine: Engine, attempt: Callable[[Any, Session], object]
) -> None:
    engine = create_engine(clean_engine.url, pool_size=1, max_overflow=0)
    with Session(engine) as session:

        def work() -> None:
            with neighbour(session) as connection:
                PostgresIdentityStore(connection).create_user()
                attempt(connection, session)

        with pytest.raises((InvalidRequestError, psycopg.ProgrammingError)):
            work()
        assert kept(clean_engine) == {}
        session.rollback()

        with neighbour(session) as connection:
            PostgresIdentityStore(connection).create_user()
        session.commit()
    engine.dispose()

    assert kept(clean_engine) == {"usr": 1}


def test_only_the_outermost_loan_ends_with_a_connection_that_may_commit(session: Session) -> None:
    with neighbour(session) as connection:
        with neighbour(session):
            pass
        with pytest.raises(InvalidRequestError, match="lent by a Session"):
            connection.commit()
    assert not {"commit", "rollback", "close"} & vars(connection).keys()


def test_a_session_that_routes_lends_what_its_writes_go_to(clean_engine: Engine) -> None:
    nowhere = create_engine("postgresql+psycopg://127.0.0.1:1/nowhere")

    class Routing(Session):
        def get_bind(self, *args: Any, **kwargs: Any) -> Engine:
            return clean_engine if self._flushing else nowhere

    with Routing() as session, session.begin(), neighbour(session) as connection:
        PostgresIdentityStore(connection).create_user()

    assert kept(clean_engine) == {"usr": 1}


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000"])
def test_without_a_transaction_nothing_is_lent(clean_engine: Engine, driver: str) -> None:
    url = clean_engine.url.set(drivername=f"postgresql+{driver}")
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with Session(engine) as session:
        session.add(ann := User(id=new_id("usr")))
        session.flush()
        ann.display_name = "Ann"
        with pytest.raises(InvalidRequestError, match="needs a transaction"), neighbour(session):
            raise AssertionError
        assert ann in session.dirty
        assert ann.display_name == "Ann"


class TestOtherDrivers:
    """What their connections cannot be kept from, the end of the block finds out."""

    @pytest.fixture(params=["psycopg2", "pg8000"])
    def sessions(
        self, request: pytest.FixtureRequest, clean_engine: Engine
    ) -> sessionmaker[Session]:
        url = clean_engine.url.set(drivername=f"postgresql+{request.param}")
        return sessionmaker(create_engine(url, poolclass=NullPool))

    def test_share_the_transaction(
        self, sessions: sessionmaker[Session], clean_engine: Engine
    ) -> None:
        for end, users in ((Session.rollback, {}), (Session.commit, {"usr": 1})):
            with sessions() as session:
                with neighbour(session) as connection:
                    connection.cursor().execute(A_USER)
                end(session)
            assert kept(clean_engine) == users

    def test_do_not_commit_in_silence(self, sessions: sessionmaker[Session]) -> None:
        with (
            sessions() as session,
            pytest.raises((InvalidRequestError, DBAPIError)),
            neighbour(session) as connection,
        ):
            connection.commit()


async def refused(session: AsyncSession) -> None:
    async with aio.neighbour(session) as connection:
        await connection.execute(A_USER)
        raise LookupError


class TestAsync:
    pytestmark = pytest.mark.anyio

    @pytest.fixture(params=["psycopg", "asyncpg"])
    async def sessions(
        self, request: pytest.FixtureRequest, clean_engine: Engine
    ) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
        url = clean_engine.url.set(drivername=f"postgresql+{request.param}")
        engine = create_async_engine(url)
        yield async_sessionmaker(engine, expire_on_commit=False)
        await engine.dispose()

    @pytest.mark.parametrize("commits", [True, False])
    async def test_it_is_both_or_neither(
        self, sessions: async_sessionmaker[AsyncSession], clean_engine: Engine, commits: bool
    ) -> None:
        async with sessions() as session:
            session.add(ann := User(id=new_id("usr")))
            async with aio.neighbour(session) as connection, connection.transaction():
                await connection.execute("UPDATE usr SET display_name = 'Ann'")
            await aio.AsyncTenancyRepository(session).create_org(ann.id)
            await session.refresh(ann)
            assert ann.display_name == "Ann"
            with pytest.raises(LookupError):
                await refused(session)
            await (session.commit() if commits else session.rollback())

        assert kept(clean_engine) == ({"usr": 1, "org": 1, "mem": 1, "tup": 1} if commits else {})

    async def test_psycopg_is_refused_to_commit(self, clean_engine: Engine) -> None:
        engine = create_async_engine(clean_engine.url)
        sessions = async_scoped_session(async_sessionmaker(engine), scopefunc=current_task)

        async def work(end: str) -> None:
            async with aio.neighbour(sessions) as connection:
                await connection.execute(A_USER)
                await getattr(connection, end)()

        for end in ("commit", "rollback", "close"):
            with pytest.raises(InvalidRequestError, match="lent by a Session"):
                await work(end)
        await sessions.commit()
        await sessions.remove()
        await engine.dispose()

        assert kept(clean_engine) == {}
