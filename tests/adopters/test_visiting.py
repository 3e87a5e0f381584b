"""`repository_on(connection)`: our operations on a psycopg connection that others own."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
import pytest
from flametrench_identity.postgres import PostgresIdentityStore
from flametrench_ids import decode
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    NotFoundError,
    Policy,
    PreconditionError,
    Role,
    SoleOwnerError,
    TenancyChange,
    aio,
    neighbour,
    new_id,
    repository_on,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from flametrench_tenancy_sqlalchemy.transactions import visits
from tests.support.operations import every_operation
from tests.support.results import entities_in, unloaded_columns
from tests.support.rows import committed_rows, untruths_of
from tests.support.statements import await_blocked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from psycopg import AsyncConnection, Connection
    from psycopg.rows import AsyncRowFactory
    from sqlalchemy import URL, Engine, Executable

    from tests.support.operations import Operation

IDLE, OPEN, FAILED = (
    TransactionStatus.IDLE,
    TransactionStatus.INTRANS,
    TransactionStatus.INERROR,
)


def address(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def status(connection: Connection[Any] | AsyncConnection[Any]) -> TransactionStatus:
    return connection.info.transaction_status


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[False, True], ids=["", "autocommit"])
def autocommit(request: pytest.FixtureRequest) -> bool:
    return cast("bool", request.param)


@pytest.fixture
def connection(clean_engine: Engine, autocommit: bool) -> Iterator[Connection[Any]]:
    """A connection of somebody's who likes other rows and values than SQLAlchemy does."""
    url = address(clean_engine.url)
    with closing(psycopg.connect(url, autocommit=autocommit, row_factory=dict_row)) as connection:
        connection.adapters.register_loader("uuid", TextLoader)
        yield connection
        assert connection.autocommit is autocommit


@pytest.fixture
def identity(clean_engine: Engine, autocommit: bool) -> Iterator[PostgresIdentityStore]:
    """The identity layer, on a connection as it likes them."""
    with closing(psycopg.connect(address(clean_engine.url), autocommit=autocommit)) as connection:
        yield PostgresIdentityStore(connection)


def kept(engine: Engine) -> dict[str, int]:
    return {name: len(found) for name, found in committed_rows(engine).items() if found}


class TestIdentityFirst:
    """Their user and our organization, in the transaction that they have begun."""

    FOUNDED: Final = {"usr": 1, "org": 1, "mem": 1, "tup": 1}

    def found(self, identity: PostgresIdentityStore, name: str = "Ann") -> None:
        org = repository_on(identity._conn).create_org(identity.create_user().id).org
        with pytest.raises(NotFoundError):
            repository_on(identity._conn).add_member(org.id, new_id("usr"), Role.MEMBER)
        identity.create_user(display_name=name)

    def test_is_both(self, identity: PostgresIdentityStore, clean_engine: Engine) -> None:
        with identity._conn.transaction():
            self.found(identity)
            assert status(identity._conn) is OPEN
            assert kept(clean_engine) == {}
        assert kept(clean_engine) == self.FOUNDED | {"usr": 2}

    def test_is_neither_when_they_roll_back(
        self, identity: PostgresIdentityStore, clean_engine: Engine
    ) -> None:
        with identity._conn.transaction(force_rollback=True):
            self.found(identity)
        assert kept(clean_engine) == {}

    def test_is_neither_when_they_are_refused(
        self, identity: PostgresIdentityStore, clean_engine: Engine
    ) -> None:
        with pytest.raises(psycopg.DataError), identity._conn.transaction():
            self.found(identity, "A\0nn")
        assert kept(clean_engine) == {}

    def test_a_savepoint_of_theirs_takes_ours_along(
        self, identity: PostgresIdentityStore, clean_engine: Engine
    ) -> None:
        with identity._conn.transaction():
            ann = identity.create_user()
            with identity._conn.transaction(force_rollback=True):
                repository_on(identity._conn).create_org(ann.id)
            repository_on(identity._conn).create_org(ann.id)
        assert kept(clean_engine) == self.FOUNDED

    def test_a_session_lends_what_we_visit(self, clean_engine: Engine) -> None:
        with Session(clean_engine) as session, session.begin():
            with neighbour(session) as connection:
                ann = PostgresIdentityStore(connection).create_user()
                repository_on(connection).create_org(ann.id)
            assert kept(clean_engine) == {}
        assert kept(clean_engine) == self.FOUNDED


@every_operation
def test_an_operation_in_an_open_transaction_ends_with_it(
    connection: Connection[Any], clean_engine: Engine, operation: Operation
) -> None:
    with Session(clean_engine) as session, session.begin():
        call = operation.stage(session)
    before = committed_rows(clean_engine)

    with connection.transaction(force_rollback=True):
        call(repository_on(connection))
        assert status(connection) is OPEN
        assert committed_rows(clean_engine) == before

    assert committed_rows(clean_engine) == before


@every_operation
def test_an_operation_where_nothing_is_open_is_a_transaction_of_its_own(
    connection: Connection[Any], clean_engine: Engine, operation: Operation
) -> None:
    with Session(clean_engine) as session, session.begin():
        call = operation.stage(session)
    before = committed_rows(clean_engine)

    result = call(repository_on(connection))

    assert status(connection) is IDLE
    truth = committed_rows(clean_engine)
    assert truth != before
    for entity in entities_in(result):
        assert inspect(entity).detached
        assert unloaded_columns(entity) == set()
        assert untruths_of(entity, truth) == []


def test_reads_and_refusals_leave_a_connection_as_they_find_it(
    connection: Connection[Any], clean_engine: Engine
) -> None:
    with Session(clean_engine) as session, session.begin():
        org = make_org(session)
        org_id = org.id
    tenancy = repository_on(connection)

    for expected in (IDLE, OPEN):
        assert tenancy.get_org(org_id).id == org_id
        assert status(connection) is expected
        with pytest.raises(NotFoundError):
            tenancy.add_member(org_id, new_id("usr"), Role.MEMBER)
        assert status(connection) is expected
        connection.execute("BEGIN" if connection.autocommit else "SELECT 1")


def test_a_transaction_that_has_failed_is_its_owners_to_end(connection: Connection[Any]) -> None:
    connection.execute("BEGIN" if connection.autocommit else "SELECT 1")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")

    with pytest.raises(DBAPIError, match="transaction is aborted"):
        repository_on(connection).list_orgs()

    assert status(connection) is FAILED
    connection.rollback()
    assert repository_on(connection).list_orgs().data == []


def test_a_pipeline_is_no_place_for_operations(connection: Connection[Any]) -> None:
    with connection.pipeline(), pytest.raises(InvalidRequestError, match="pipeline mode"):
        repository_on(connection).list_orgs()


def test_what_the_schema_refuses_at_the_commit_is_said_by_whoever_commits(
    connection: Connection[Any], clean_engine: Engine
) -> None:
    def break_in(session: Session, _: TenancyChange) -> None:
        session.execute(text("DELETE FROM tup"))

    with Session(clean_engine) as session, session.begin():
        ann = make_user(session).id
    tenancy = repository_on(connection, policy=Policy(on_change=break_in))

    with pytest.raises(PreconditionError) as refusal:
        tenancy.create_org(ann)
    assert refusal.value.details["reason"] == "membership_tuple"
    assert status(connection) is IDLE

    with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
        tenancy.create_org(ann)
    assert kept(clean_engine) == {"usr": 1}


SERIALIZATION_FAILURE: Final = text("DO $$ BEGIN RAISE 'no' USING ERRCODE = '40001'; END $$")
HANG_UP: Final = text("SELECT pg_terminate_backend(pg_backend_pid())")


def doing(*statements: Executable) -> Policy:
    """Return a policy that has an operation execute one of these more each time."""
    more = iter(statements)
    return Policy(on_change=lambda session, _: [session.execute(s) for s in islice(more, 1)])


def test_only_who_owns_the_transaction_tries_again(
    connection: Connection[Any], clean_engine: Engine
) -> None:
    with Session(clean_engine) as session, session.begin():
        ann = make_user(session).id

    for _ in range(2):
        repository_on(connection, policy=doing(SERIALIZATION_FAILURE)).create_org(ann)
    with pytest.raises(DBAPIError, match="no"), connection.transaction():
        repository_on(connection, policy=doing(SERIALIZATION_FAILURE)).create_org(ann)

    assert kept(clean_engine) == {"usr": 1, "org": 2, "mem": 2, "tup": 2}


def test_a_connection_that_is_lost_says_so(clean_engine: Engine) -> None:
    with Session(clean_engine) as session, session.begin():
        ann = make_user(session).id
    with closing(psycopg.connect(address(clean_engine.url))) as connection:
        with pytest.raises(DBAPIError, match="terminating connection"):
            repository_on(connection, policy=doing(HANG_UP)).create_org(ann)
        assert connection.closed


def test_one_dialect_serves_all_connections(clean_engine: Engine, tmp_path: Path) -> None:
    visits.engine.cache_clear()
    statements = []
    for visit in range(3):
        trace = tmp_path / str(visit)
        with (
            closing(psycopg.connect(address(clean_engine.url))) as connection,
            trace.open("w") as file,
        ):
            handlers = [*connection._notice_handlers]
            connection.pgconn.trace(file.fileno())
            repository_on(connection).list_orgs()
            connection.pgconn.untrace()
            assert connection._notice_handlers == handlers
        statements.append(len(re.findall("\t(Parse|Query)\t", trace.read_text())))

    first, *others = statements
    assert first > 3  # it asks which server this is, and how it is set up
    assert others == [4, 4]  # BEGIN, whether rows are hidden, what it is about, COMMIT


def test_only_psycopgs_connections_are_visited(session: Session) -> None:
    with neighbour(session) as connection:
        for refused in (session, session.connection(), connection.cursor()):
            with pytest.raises(TypeError, match=r"must be a psycopg\.Connection"):
                repository_on(cast("Any", refused))
        with pytest.raises(TypeError, match=r"must be a psycopg\.AsyncConnection"):
            aio.repository_on(connection)


class TestAsync:
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    async def connection(
        self, clean_engine: Engine, autocommit: bool
    ) -> AsyncIterator[AsyncConnection[Any]]:
        connection: AsyncConnection[Any] = await psycopg.AsyncConnection.connect(
            address(clean_engine.url),
            autocommit=autocommit,
            row_factory=cast("AsyncRowFactory[Any]", dict_row),
        )
        async with connection:
            yield connection
            assert status(connection) is IDLE
            assert connection.autocommit is autocommit

    async def test_joins_what_is_open_or_begins_and_commits(
        self, connection: AsyncConnection[Any], clean_engine: Engine
    ) -> None:
        ann, tenancy = new_id("usr"), aio.repository_on(connection)
        add = "INSERT INTO usr (id) VALUES (%s)"

        async def work(*, fail: bool) -> None:
            async with connection.transaction(force_rollback=fail):
                await connection.execute(add, [decode(ann).uuid])
                org = (await tenancy.create_org(ann)).org
                with pytest.raises(NotFoundError):
                    await tenancy.add_member(org.id, new_id("usr"), Role.MEMBER)
                assert (await tenancy.get_org(org.id)).id == org.id
                assert status(connection) is OPEN
                assert kept(clean_engine) == {}

        await work(fail=True)
        assert kept(clean_engine) == {}
        await work(fail=False)
        assert kept(clean_engine) == {"usr": 1, "org": 1, "mem": 1, "tup": 1}

        again = aio.repository_on(connection, policy=doing(SERIALIZATION_FAILURE))
        org = (await again.create_org(ann)).org
        with pytest.raises(SoleOwnerError):
            await tenancy.self_leave((await tenancy.list_members(org.id)).data[0].id)
        assert kept(clean_engine) == {"usr": 1, "org": 2, "mem": 2, "tup": 2}

    async def test_whoever_is_cancelled_while_they_wait_leaves_nothing_open(
        self, connection: AsyncConnection[Any], clean_engine: Engine
    ) -> None:
        with Session(clean_engine) as session, session.begin():
            org_id = make_org(session).id
        with clean_engine.begin() as other:
            other.execute(text("SELECT 1 FROM org FOR UPDATE"))
            waiting = asyncio.ensure_future(aio.repository_on(connection).suspend_org(org_id))
            pid = connection.info.backend_pid
            await asyncio.to_thread(await_blocked, clean_engine, pid)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        assert status(connection) is IDLE
        assert (await aio.repository_on(connection).suspend_org(org_id)).status == "suspended"
