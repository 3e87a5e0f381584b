"""`TenancyStore`: each operation in a transaction of its own; `unit_of_work`: several in one."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import flametrench_tenancy
import pytest
import stamina
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine, event, inspect, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, ResourceClosedError
from sqlalchemy.orm import Session, object_session, scoped_session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    InMemoryTenancyStore,
    Membership,
    NotFoundError,
    Organization,
    Role,
    SoleOwnerError,
    Status,
    TenancyRepository,
    TenancyStore,
    User,
    new_id,
    unit_of_work,
)
from flametrench_tenancy_sqlalchemy.repository.kinds import Kind, kind_of
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.support.adopter import Note
from tests.support.calls import CALLS, call
from tests.support.counting import sent
from tests.support.operations import every_operation, representative
from tests.support.races import DONE, SERIALIZATION_FAILURE, verdict
from tests.support.results import entities_in, unloaded_columns
from tests.support.rows import committed_rows, rows, untruths_of
from tests.support.stage import NOW, Stage
from tests.support.statements import await_blocked, backend_pid

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from tests.support.operations import Call

KINDS = {name: kind_of(getattr(TenancyRepository, name)) for name in CALLS}
READS = [name for name, kind in KINDS.items() if kind is not Kind.WRITES]
ONE = {"begin": 1, "checkout": 1, "checkin": 1}


def notes(db: Engine) -> list[str]:
    with Session(db) as session:
        return list(session.scalars(select(Note.text).order_by(Note.text)))


@pytest.fixture
def owners(db: Engine) -> list[str]:
    """The memberships of two owners of one organization."""
    with Session(db) as session, session.begin():
        org = make_org(session)
        make_member(session, org, role=Role.OWNER)
        return list(session.scalars(select(Membership.id).order_by(Membership.id)))


@pytest.mark.parametrize("make", [lambda: TenancyStore(sessionmaker()), InMemoryTenancyStore])
def test_keeps_the_protocol_of_the_reference_package(make: Callable[[], object]) -> None:
    assert isinstance(make(), flametrench_tenancy.TenancyStore)


@every_operation
def test_an_operation_is_one_transaction_that_commits_and_returns_what_stays_readable(
    db: Engine, sessions: sessionmaker[Session], call: Call, endings: Counter[str]
) -> None:
    before = committed_rows(db)
    endings.clear()

    with sent(db) as statements:
        result = call(TenancyStore(sessions))

    assert endings == {**ONE, "commit": 1}
    truth = committed_rows(db)
    assert truth != before
    assert result in (2, 3) or entities_in(result)  # so many have expired, or are erased
    for entity in entities_in(result):
        assert inspect(entity).detached
        assert unloaded_columns(entity) == set()
        assert untruths_of(entity, truth) == []
        assert repr(entity)
    # Longer statements, and those with more parameters, psycopg reads anew each time.
    sizes = [(len(one), len(set(re.findall(r"%\(\w+\)s", one)))) for one in statements]
    assert [size for size in sizes if size[0] > 4096 or size[1] > 50] == []


@representative
def test_an_operation_leaves_nothing_when_it_does_not_come_to_the_commit(
    db: Engine, sessions: sessionmaker[Session], call: Call, endings: Counter[str]
) -> None:
    before = committed_rows(db)

    @event.listens_for(sessions, "before_commit")
    def fail(session: Session) -> None:
        assert rows(session.connection()) != before
        raise LookupError

    endings.clear()
    with pytest.raises(LookupError):
        call(TenancyStore(sessions))

    assert endings == {**ONE, "rollback": 1}
    assert committed_rows(db) == before


@pytest.mark.parametrize("name", ["add_member", "create_invitation"])
@pytest.mark.parametrize("fault", ["a listener that fails", "a value that cannot be read"])
def test_what_fails_when_the_result_is_loaded_leaves_nothing(
    db: Engine, sessions: sessionmaker[Session], name: str, fault: str
) -> None:
    with Session(db) as session, session.begin():
        given = CALLS[name](Stage(session))
        if "value" in fault:
            session.execute(text("UPDATE org SET created_at = 'infinity'"))

    def fail(*_: object) -> None:
        raise LookupError

    if "listener" in fault:
        event.listen(Organization, "load", fail)
    with db.connect() as connection:
        before = connection.scalars(text("SELECT count(*) FROM mem, inv")).all()
    try:
        with pytest.raises((LookupError, DBAPIError, ValueError, OverflowError)):
            getattr(TenancyStore(sessions), name)(**given)
    finally:
        if "listener" in fault:
            event.remove(Organization, "load", fail)

    with db.connect() as connection:
        assert connection.scalars(text("SELECT count(*) FROM mem, inv")).all() == before


def test_a_refusal_to_write_is_rolled_back_and_what_is_asked_afterwards_committed(
    sessions: sessionmaker[Session], endings: Counter[str]
) -> None:
    store = TenancyStore(sessions)
    with pytest.raises(NotFoundError):
        store.revoke_org(new_id("org"))
    assert endings == {**ONE, "rollback": 1}

    endings.clear()
    with pytest.raises(NotFoundError, match="usr_"):
        store.create_org(new_id("usr"))
    assert endings == {**dict.fromkeys(ONE, 2), "rollback": 1, "commit": 1}


@pytest.mark.parametrize("name", READS)
def test_a_read_goes_where_its_kind_goes_and_ends_with_a_commit(
    db: Engine, observer: Engine, endings: Counter[str], name: str
) -> None:
    with Session(observer) as session, session.begin():
        given = CALLS[name](Stage(session))
    elsewhere: Any = {KINDS[name].value: sessionmaker(db)}
    store = TenancyStore(sessionmaker(observer), clock=lambda: NOW, **elsewhere)

    with sent(observer) as written:
        call(cast("TenancyRepository", store), name, given)

    assert written == []
    assert endings == {**ONE, "commit": 1}


def test_a_guard_does_not_go_where_other_reads_go() -> None:
    guards = {name for name, kind in KINDS.items() if kind is Kind.GUARDS}
    assert guards == {"require_role", "role_of", "find_membership"}


def test_a_refused_read_ends_with_a_commit(db: Engine, endings: Counter[str]) -> None:
    with pytest.raises(NotFoundError):
        TenancyStore(sessionmaker(db)).get_org(new_id("org"))

    assert endings == {**ONE, "commit": 1}


@every_operation
def test_a_write_does_not_go_where_reads_go(db: Engine, observer: Engine, call: Call) -> None:
    with sent(observer) as read:
        call(TenancyStore(sessionmaker(db), reads=sessionmaker(observer)))

    assert read == []


@contextmanager
def transactions_of(engine: Engine) -> Iterator[list[bool]]:
    """Collect for each statement whether a transaction goes on after it."""
    seen: list[bool] = []

    def note(conn: Any, cursor: Any, *_: Any) -> None:
        seen.append(cursor.connection.info.transaction_status is TransactionStatus.INTRANS)

    event.listen(engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "after_cursor_execute", note)


@pytest.mark.parametrize("on", ["engine", "options"])
def test_on_an_engine_in_autocommit_a_read_is_one_wait_and_a_write_has_a_transaction(
    db: Engine, sessions: sessionmaker[Session], on: str
) -> None:
    level = {"isolation_level": "AUTOCOMMIT"}
    engine = create_engine(db.url, **level) if on == "engine" else db.execution_options(**level)
    engine.connect().close()  # so that it knows its server
    store = TenancyStore(lambda: sessions(bind=engine), clock=lambda: NOW)
    for name in ("suspend_membership", "add_members", "revoke_org", "accept_invitation"):
        with Session(db) as session, session.begin():
            given = CALLS[name](Stage(session))
        before = committed_rows(db)
        with transactions_of(engine) as in_transaction:
            getattr(store, name)(**given)
        assert in_transaction
        assert all(in_transaction)
        assert committed_rows(db) != before

    with transactions_of(engine) as in_transaction:
        org_id = store.list_orgs().data[0].id
        store.get_org(org_id)
    assert in_transaction == [False, False]
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection.autocommit is True  # type: ignore[union-attr]
    if on == "engine":
        engine.dispose()


class TestAFactory:
    """What returns a new Session for each call."""

    @pytest.fixture
    def usr_id(self, db: Engine) -> str:
        with Session(db) as session, session.begin():
            session.add(Note(text="there"))
            return make_user(session).id

    def test_may_leave_beginning_to_us_or_begin_itself(self, db: Engine, usr_id: str) -> None:
        def begun() -> Session:
            session = Session(db)
            session.begin()
            return session

        for factory in (sessionmaker(db, autobegin=False), begun):
            org = TenancyStore(factory).create_org(usr_id).org
            assert TenancyStore(factory).get_org(org.id).id == org.id
            with pytest.raises(NotFoundError):
                TenancyStore(factory).create_org(new_id("usr"))
            with pytest.raises(NotFoundError):
                TenancyStore(factory).get_org(new_id("org"))
        assert len(committed_rows(db)["org"]) == 2

    def test_is_no_scoped_session_which_is_in_use(self, db: Engine, usr_id: str) -> None:
        scoped = scoped_session(sessionmaker(db))

        for use in (
            lambda: TenancyStore(scoped),  # type: ignore[arg-type, unused-ignore]
            lambda: TenancyStore(sessionmaker(db), reads=scoped),
            lambda: TenancyStore(sessionmaker(db), guards=scoped),
            lambda: unit_of_work(scoped).__enter__(),
        ):
            with pytest.raises(TypeError, match="scoped_session"):
                use()

        TenancyRepository(scoped).create_org(usr_id)
        scoped.rollback()
        assert committed_rows(db)["org"] == []

    @pytest.mark.parametrize("what", ["new", "dirty", "deleted"])
    def test_does_not_return_a_session_with_pending_changes(
        self, db: Engine, usr_id: str, what: str
    ) -> None:
        session = Session(db)
        note = session.scalars(select(Note)).one()
        if what == "new":
            session.add(Note(text="mine"))
        elif what == "dirty":
            note.text = "changed"
        else:
            session.delete(note)

        with pytest.raises(InvalidRequestError, match="pending changes"):
            TenancyStore(lambda: session).create_org(usr_id)

        assert notes(db) == ["there"]
        assert committed_rows(db)["org"] == []

    @pytest.mark.parametrize("usr_known", [True, False])
    def test_gets_its_session_back_as_it_was(
        self, db: Engine, usr_id: str, usr_known: bool
    ) -> None:
        session = Session(db)
        store = TenancyStore(lambda: session)

        if usr_known:
            store.create_org(usr_id)
        else:
            with pytest.raises(NotFoundError):
                store.create_org(new_id("usr"))

        assert session.expire_on_commit is True
        assert "get_bind" not in vars(session)


@pytest.mark.parametrize("note", ["mine", "there"])
def test_rows_that_the_application_adds_meanwhile_share_the_fate_of_the_operation(
    db: Engine, sessions: sessionmaker[Session], note: str
) -> None:
    with Session(db) as session, session.begin():
        session.add(Note(text="there"))
        mem_id = make_member(session, make_org(session)).id
    store, before = TenancyStore(sessions), committed_rows(db)

    def add_note(target: Membership, *_: object) -> None:
        if session := object_session(target):
            session.add(Note(text=note))

    event.listen(Membership.status, "set", add_note)
    try:
        if note == "there":
            with pytest.raises(IntegrityError):
                store.suspend_membership(mem_id)
        else:
            store.suspend_membership(mem_id)
    finally:
        event.remove(Membership.status, "set", add_note)

    assert (committed_rows(db) == before) == (note == "there")
    assert notes(db) == sorted({note, "there"})


def test_rows_that_the_application_adds_beside_a_read_are_written(
    db: Engine, owners: list[str]
) -> None:
    def add_note(target: Membership, *_: object) -> None:
        cast("Session", object_session(target)).add(Note(text="read"))

    event.listen(Membership, "load", add_note)
    try:
        TenancyStore(sessionmaker(db)).get_membership(owners[0])
    finally:
        event.remove(Membership, "load", add_note)

    assert notes(db) == ["read"]


@contextmanager
def between_the_locks(engine: Engine, interfere: Callable[[Connection], None]) -> Iterator[None]:
    """Interfere in each transaction after its first lock and before its second one."""
    statements = 0

    def begin(connection: Connection) -> None:
        nonlocal statements
        statements = 0

    def on_statement(connection: Connection, *_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == 2:
            interfere(connection)

    event.listen(engine, "begin", begin)
    event.listen(engine, "before_cursor_execute", on_statement)
    yield
    event.remove(engine, "begin", begin)
    event.remove(engine, "before_cursor_execute", on_statement)


class TestAConflict:
    """The other owner's row changes after the operation has taken its snapshot."""

    def leave(
        self, db: Engine, observer: Engine, owners: list[str], times: int, **store: Any
    ) -> int:
        """Let an owner leave while somebody interferes so often; return the attempts it took."""
        attempts: list[int] = []

        def interfere(connection: Connection) -> None:
            attempts.append(backend_pid(connection))
            if len(attempts) <= times:
                change = update(Membership).where(Membership.id == owners[1])
                with observer.begin() as other:
                    other.execute(change.values(updated_at=text("clock_timestamp()")))

        repeatable = db.execution_options(isolation_level="REPEATABLE READ")
        with between_the_locks(repeatable, interfere):
            tenancy = TenancyStore(sessionmaker(repeatable), **store)
            ended = verdict(lambda: tenancy.self_leave(owners[0]))
        if ended != DONE:
            assert ended == SERIALIZATION_FAILURE
            assert {row.status for row in committed_rows(db)["mem"]} == {"active"}
            return -len(attempts)
        statuses = {row.id: row.status for row in committed_rows(db)["mem"]}
        assert [statuses[id_] for id_ in owners] == ["revoked", "active"]
        return len(attempts)

    def test_is_tried_again_until_there_is_none_or_it_does_not_end(
        self, db: Engine, observer: Engine, owners: list[str]
    ) -> None:
        assert self.leave(db, observer, owners, times=10, attempts=3) == -3
        assert self.leave(db, observer, owners, times=2) == 3

    def test_is_tried_as_often_as_an_applications_tests_say(
        self, db: Engine, observer: Engine, owners: list[str]
    ) -> None:
        stamina.set_active(False)
        try:
            assert self.leave(db, observer, owners, times=1) == -1
        finally:
            stamina.set_active(True)
        with stamina.set_testing(True, attempts=1):
            assert self.leave(db, observer, owners, times=1) == -1

    def test_that_is_a_deadlock_is_tried_again(
        self, db: Engine, observer: Engine, owners: list[str]
    ) -> None:
        lock = select(Membership.id).with_for_update()
        attempts: list[int] = []

        with observer.connect() as other, ThreadPoolExecutor(1) as pool:
            other.execute(text("SET LOCAL deadlock_timeout = '1h'"))
            other.execute(lock.where(Membership.id == owners[1]))
            pid = backend_pid(other)

            def close_the_circle(connection: Connection) -> None:
                attempts.append(backend_pid(connection))
                if len(attempts) == 1:
                    connection.connection.cursor().execute("SET LOCAL deadlock_timeout = '1ms'")
                    pool.submit(release_after, lock.where(Membership.id == owners[0]))
                    await_blocked(observer, pid)

            def release_after(statement: Any) -> None:
                other.execute(statement)
                other.rollback()

            with between_the_locks(db, close_the_circle):
                TenancyStore(sessionmaker(db)).self_leave(owners[0])

        assert len(attempts) == 2
        statuses = {row.id: row.status for row in committed_rows(db)["mem"]}
        assert [statuses[id_] for id_ in owners] == ["revoked", "active"]

    def test_of_another_kind_is_not_tried_again(self, db: Engine, owners: list[str]) -> None:
        attempts: list[int] = []

        def fail(connection: Connection) -> None:
            attempts.append(backend_pid(connection))
            connection.exec_driver_sql("SELECT 1 / 0")

        with between_the_locks(db, fail), pytest.raises(DBAPIError, match="division by zero"):
            TenancyStore(sessionmaker(db)).self_leave(owners[0])

        assert len(attempts) == 1


REFERENCES = [
    *(("create_org", "creator"), ("create_invitation", "invited_by")),
    *(("add_member", "usr_id"), ("add_member", "invited_by")),
]


@pytest.mark.parametrize("standalone", [True, False])
@pytest.mark.parametrize("name, parameter", REFERENCES)
def test_a_user_who_comes_just_before_we_ask_who_is_missing_was_not_there(
    db: Engine,
    observer: Engine,
    sessions: sessionmaker[Session],
    name: str,
    parameter: str,
    *,
    standalone: bool,
) -> None:
    with Session(observer) as session, session.begin():
        given = CALLS[name](Stage(session)) | {parameter: new_id("usr")}
    before = committed_rows(db)
    come: list[str] = []

    def register(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT usr.id") and not come:
            with Session(observer) as session, session.begin():
                session.add(User(id=given[parameter]))
            come.append(given[parameter])

    event.listen(db, "before_cursor_execute", register)
    session = sessions()
    forms: dict[bool, Any] = {
        True: TenancyStore(sessions, clock=lambda: NOW),
        False: TenancyRepository(session, clock=lambda: NOW),
    }
    try:
        with pytest.raises(NotFoundError) as refusal:
            getattr(forms[standalone], name)(**given)
    finally:
        session.close()
        event.remove(db, "before_cursor_execute", register)

    assert come == [given[parameter]]
    assert refusal.value.details == {"parameter": parameter, "id": given[parameter]}
    after = committed_rows(db)
    assert len(after.pop("usr")) == len(before.pop("usr")) + 1
    assert after == before


class TestAUnitOfWork:
    """Several operations and the application's own rows in one transaction."""

    @pytest.fixture
    def users(self, db: Engine) -> list[str]:
        with Session(db) as session, session.begin():
            return [make_user(session).id for _ in range(2)]

    def test_commits_everything_at_the_end(
        self, db: Engine, sessions: sessionmaker[Session], users: list[str], endings: Counter[str]
    ) -> None:
        with unit_of_work(sessions) as tenancy:
            created = tenancy.create_org(users[0])
            tenancy.session.add(Note(text="mine"))
            with pytest.raises(SoleOwnerError):
                tenancy.self_leave(created.owner_membership.id)
            tenancy.add_member(created.org.id, users[1], Role.MEMBER)
            assert committed_rows(db)["org"] == []
            endings.clear()

        assert endings == {"commit": 1, "checkin": 1}
        kept = committed_rows(db)
        assert [row.status for row in kept["mem"]] == [Status.ACTIVE] * 2
        assert len(kept["org"]) == 1
        assert len(kept["tup"]) == 2
        assert notes(db) == ["mine"]

    def test_rolls_everything_back_after_an_error(self, db: Engine, users: list[str]) -> None:
        def work() -> None:
            with unit_of_work(sessionmaker(db)) as tenancy:
                tenancy.create_org(users[0])
                tenancy.session.add(Note(text="mine"))
                raise LookupError

        with pytest.raises(LookupError):
            work()

        assert committed_rows(db)["org"] == []
        assert notes(db) == []

    @pytest.mark.parametrize("end, kept", [("commit", 1), ("rollback", 0)])
    def test_refuses_to_go_on_once_the_block_ended_its_transaction(
        self, db: Engine, users: list[str], end: str, kept: int
    ) -> None:
        with unit_of_work(sessionmaker(db)) as tenancy:
            tenancy.create_org(users[0])
            getattr(tenancy.session, end)()
            with pytest.raises(InvalidRequestError, match="closed transaction inside context"):
                tenancy.create_org(users[1])

        assert len(committed_rows(db)["org"]) == kept


def test_a_closed_session_or_connection_refuses_to_work(db: Engine) -> None:
    with Session(db) as session, session.begin():
        usr_id = make_user(session).id
    session = Session(db, close_resets_only=False)
    session.close()
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        TenancyRepository(session).create_org(usr_id)

    with db.connect() as connection:
        session = Session(connection)
        TenancyRepository(session).create_org(usr_id)
    with session, pytest.raises(ResourceClosedError, match="Connection is closed"):
        TenancyRepository(session).create_org(usr_id)

    assert committed_rows(db)["org"] == []
