"""Connections that are lost, statements that take too long, and a second thread in the Session."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    Base,
    LockTimeoutError,
    OutcomeUnknownError,
    TenancyRepository,
    TenancyStore,
    Tuple,
)
from flametrench_tenancy_sqlalchemy._integrity import sqlstate
from tests.support.adopter import Note
from tests.support.invariants import breaches
from tests.support.operations import OPERATIONS, representative
from tests.support.rows import committed_rows, rows, untruths
from tests.support.statements import await_blocked, backend_pid, struck, terminate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from sqlalchemy import Connection, Engine

    from tests.support.operations import Call

QUERY_CANCELED = "57014"
BY_NAME = {operation.name: operation for operation in OPERATIONS}

Run: TypeAlias = "Callable[[sessionmaker[Session], Call], None]"


def in_the_callers_transaction(sessions: sessionmaker[Session], call: Call) -> None:
    with sessions.begin() as session:
        call(TenancyRepository(session))


def standalone(sessions: sessionmaker[Session], call: Call) -> None:
    call(TenancyStore(sessions))


def outcome(call: Callable[[], object]) -> DBAPIError | None:
    """Return the database's error that a call ended with, if it did."""
    try:
        call()
    except DBAPIError as exc:
        return exc
    return None


either_form = pytest.mark.parametrize("run", [in_the_callers_transaction, standalone])


@pytest.fixture(params=["before", "during"])
def kill(request: pytest.FixtureRequest, observer: Engine) -> dict[str, Any]:
    """How the connection is lost at a statement; after it is before the next, or the commit."""
    if request.param == "during":
        return {"instead": "SELECT pg_terminate_backend(pg_backend_pid())"}
    return {"before": lambda connection: terminate(observer, backend_pid(connection))}


@either_form
@representative
def test_a_connection_lost_at_any_statement(
    db: Engine, sessions: sessionmaker[Session], call: Call, run: Run, kill: dict[str, Any]
) -> None:
    before = committed_rows(db)
    loss: DBAPIError | None = None

    for at in count(1):
        with struck(db, at, **kill) as strike:
            loss = outcome(partial(run, sessions, call))
        if not strike.fell:
            break
        assert isinstance(loss, DBAPIError)
        assert loss.connection_invalidated
        assert committed_rows(db) == before  # read through the same engine

    assert loss is None
    assert at > 1
    assert committed_rows(db) != before


@either_form
@pytest.mark.parametrize("lost", ["before the commit", "before the operation"])
@pytest.mark.parametrize("operation", [BY_NAME["change_role"]], ids=str)
def test_a_connection_lost_around_the_operation(
    db: Engine,
    observer: Engine,
    sessions: sessionmaker[Session],
    call: Call,
    run: Run,
    *,
    lost: str,
) -> None:
    before = committed_rows(db)

    def kill(connection: Connection) -> None:
        terminate(observer, backend_pid(connection))

    db.dispose()
    if lost == "before the operation":
        with db.connect() as connection:
            pid = backend_pid(connection)
        terminate(observer, pid)
    else:
        event.listen(db, "commit", kill)
    unknown = run is standalone and lost == "before the commit"
    try:
        with pytest.raises(OutcomeUnknownError if unknown else OperationalError) as loss:
            run(sessions, call)
    finally:
        if lost == "before the commit":
            event.remove(db, "commit", kill)

    cause = loss.value.__cause__ if unknown else loss.value
    assert isinstance(cause, OperationalError)
    assert cause.connection_invalidated
    assert committed_rows(db) == before
    run(sessions, call)
    assert committed_rows(db) != before


@contextmanager
def everything_locked(observer: Engine) -> Iterator[None]:
    """Have all rows of all tables locked by somebody else."""
    with observer.begin() as other:
        for table in Base.metadata.sorted_tables:
            other.execute(select(table.c.id).with_for_update())
        yield


@either_form
@representative
def test_a_connection_lost_while_it_waits_for_a_lock(
    db: Engine, observer: Engine, sessions: sessionmaker[Session], call: Call, run: Run
) -> None:
    before = committed_rows(db)
    pids: list[int] = []

    @event.listens_for(db, "before_cursor_execute")  # a listener for "begin" would bring one about
    def remember(connection: Connection, *_: object) -> None:
        pids.append(backend_pid(connection))

    with ThreadPoolExecutor(1) as pool, everything_locked(observer):
        running = pool.submit(run, sessions, call)
        while not pids:
            assert not running.done()
        await_blocked(observer, pids[0])
        terminate(observer, pids[0])
        loss = running.exception(timeout=60)

    event.remove(db, "before_cursor_execute", remember)
    assert isinstance(loss, OperationalError)
    assert loss.connection_invalidated
    assert committed_rows(db) == before


@representative
def test_a_lock_that_is_not_to_be_had_in_time(
    db: Engine, observer: Engine, sessions: sessionmaker[Session], call: Call
) -> None:
    with sessions() as session:
        session.add(Note(text="mine"))
        session.flush()
        session.execute(text("SET LOCAL lock_timeout = '20ms'"))
        before = rows(session.connection())

        with everything_locked(observer), pytest.raises(LockTimeoutError):
            call(TenancyRepository(session))

        assert rows(session.connection()) == before
        assert untruths(session, before) == []
        call(TenancyRepository(session))
        session.commit()
    assert committed_rows(db) != before


@representative
def test_a_statement_that_takes_too_long(
    db: Engine, sessions: sessionmaker[Session], call: Call
) -> None:
    before = committed_rows(db)

    def set_timeout(connection: Connection) -> None:
        connection.connection.cursor().execute("SET LOCAL statement_timeout = '10ms'")

    with sessions() as session:
        session.add(Note(text="mine"))
        session.flush()
        for at in count(2):  # the first one is the savepoint
            with struck(db, at, before=set_timeout, instead="SELECT pg_sleep(60)") as strike:
                delay = outcome(partial(call, TenancyRepository(session)))
            if not strike.fell:
                break
            assert isinstance(delay, OperationalError)
            assert sqlstate(delay) == QUERY_CANCELED
            assert rows(session.connection()) == before
            assert untruths(session, before) == []

        assert at > 3
        assert session.scalars(select(Note.text)).all() == ["mine"]
        session.commit()
    assert committed_rows(db) != before


@pytest.mark.parametrize(
    "setting, error",
    [("lock_timeout", LockTimeoutError), ("statement_timeout", OperationalError)],
)
@pytest.mark.parametrize("operation", [BY_NAME["add_member"]], ids=str)
def test_a_last_statement_that_waits_for_somebody_else(
    db: Engine,
    observer: Engine,
    sessions: sessionmaker[Session],
    call: Call,
    *,
    setting: str,
    error: type[Exception],
) -> None:
    """The tuple that a new member gets is just being written by another client."""
    with sessions() as session:
        savepoint = session.begin_nested()
        call(TenancyRepository(session))
        granted = session.execute(select(Tuple.__table__).order_by(Tuple.id.desc())).mappings()
        grant = dict(granted.first() or {})
        savepoint.rollback()
        before = rows(session.connection())
        session.execute(text(f"SET LOCAL {setting} = '100ms'"))

        with observer.begin() as other:
            other.execute(insert(Base.metadata.tables["tup"]), grant)
            with pytest.raises(error):
                call(TenancyRepository(session))
            other.rollback()

        assert rows(session.connection()) == before
        call(TenancyRepository(session))
        session.commit()
    assert [row.relation for row in committed_rows(db)["tup"]] == ["owner", "admin"]


class Halt:
    """A statement at which a thread stops until it is told to go on."""

    def __init__(self, at: int) -> None:
        self._left = at
        self._thread: int | None = None
        self._going = threading.Event()
        self.reached = threading.Event()

    def run(self, call: Call, session: Session) -> None:
        self._thread = threading.get_ident()
        try:
            call(TenancyRepository(session))
        finally:
            self.reached.set()

    def on_statement(self, *_: object) -> None:
        if threading.get_ident() == self._thread:
            self._left -= 1
            if self._left == 0:
                self.reached.set()
                assert self._going.wait(10)

    def resume(self, future: Future[None]) -> BaseException | None:
        self._going.set()
        return future.exception(10)


@representative
@pytest.mark.parametrize("at", range(1, 8))
def test_a_second_thread_in_the_middle_of_an_operation(
    db: Engine, sessions: sessionmaker[Session], call: Call, at: int
) -> None:
    """It meets SQLAlchemy's error, or luck, and does no damage."""
    with Session(db) as session, session.begin():
        intruding = BY_NAME["add_member"].stage(session)
    before = committed_rows(db)
    with sessions() as session, ThreadPoolExecutor(1) as pool:
        halt = Halt(at)
        event.listen(session.connection(), "before_cursor_execute", halt.on_statement)
        first = pool.submit(halt.run, call, session)
        assert halt.reached.wait(10)

        try:
            intruding(TenancyRepository(session))
            let_in = True
        except InvalidRequestError:
            let_in = False

        assert halt.resume(first) is None
        assert untruths(session, rows(session.connection())) == []
        session.commit()

    after = committed_rows(db)
    joined = [row for row in after["mem"] if row.role == "admin" and row.invited_by]
    assert len(joined) == let_in
    assert after != before
    with db.connect() as connection:
        assert breaches(connection) == []
