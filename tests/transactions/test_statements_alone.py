"""A statement that is all of an operation needs no transaction around it, unless one is wanted."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, create_engine, event, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, object_session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    Membership,
    NotFoundError,
    Organization,
    PreconditionError,
    Role,
    Status,
    TenancyError,
    TenancyStore,
    new_id,
)
from flametrench_tenancy_sqlalchemy.store import ONE_STATEMENT, READS
from flametrench_tenancy_sqlalchemy.unit_of_work import commits_by_itself
from tests.support.adopter import Note
from tests.support.calls import CALLS, call
from tests.support.rows import committed_rows
from tests.support.stage import NOW, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.support.calls import Arguments

LISTENERS = [
    ("session", "after_transaction_create"),
    ("session", "after_begin"),
    ("session", "do_orm_execute"),
    ("session", "before_attach"),
    ("session", "after_attach"),
    ("session", "transient_to_pending"),
    ("session", "before_flush"),
    ("session", "after_flush"),
    ("session", "after_flush_postexec"),
    ("session", "pending_to_persistent"),
    ("session", "persistent_to_deleted"),
    ("session", "deleted_to_detached"),
    ("session", "before_commit"),
    ("pool", "connect"),
    ("pool", "checkout"),
    ("engine", "engine_connect"),
    ("engine", "begin"),
    ("engine", "commit"),
    ("engine", "rollback"),
]
CHANGES = ("INSERT", "UPDATE", "DELETE")
NAMES = sorted(operation.__name__ for operation in ONE_STATEMENT | READS)


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[tuple[str, bool]]]:
    """Collect statements, each with whether a transaction goes on after it."""
    seen: list[tuple[str, bool]] = []

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        status = cursor.connection.info.transaction_status
        seen.append((statement, status is TransactionStatus.INTRANS))

    event.listen(engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "after_cursor_execute", note)


def store_of(engine: Engine) -> TenancyStore:
    """Return a store at the stage's time."""
    return TenancyStore(sessionmaker(engine), clock=lambda: NOW)


@pytest.fixture
def warm(db: Engine) -> Engine:
    """An engine that has been connected once, and knows what its server is like."""
    db.connect().close()
    return db


@pytest.fixture
def arguments(name: str, db: Engine) -> Arguments:
    """What an operation is called with, committed as far as it has to be there."""
    with Session(db) as session, session.begin():
        return CALLS[name](Stage(session))


@pytest.fixture
def org_id(db: Engine) -> str:
    """An organization that is there already."""
    with Session(db) as session, session.begin():
        return Stage(session).org().id


@pytest.mark.parametrize("name", NAMES)
def test_is_sent_without_a_transaction(warm: Engine, name: str, arguments: Arguments) -> None:
    with statements_of(warm) as statements:
        call(store_of(warm), name, arguments)  # type: ignore[arg-type]

    assert statements
    assert not [statement for statement, in_transaction in statements if in_transaction]


@pytest.mark.parametrize(
    "name, parameter",
    [
        ("create_org", "creator"),
        ("add_member", "org_id"),
        ("add_member", "usr_id"),
        ("add_member", "invited_by"),
        ("create_invitation", "org_id"),
        ("create_invitation", "invited_by"),
    ],
)
def test_is_the_only_one_that_changes_anything_and_changes_nothing_when_refused(
    warm: Engine, name: str, parameter: str, arguments: Arguments
) -> None:
    type_ = "org" if parameter == "org_id" else "usr"
    before = committed_rows(warm)

    with statements_of(warm) as statements, pytest.raises(NotFoundError) as refusal:
        call(store_of(warm), name, arguments | {parameter: new_id(type_)})  # type: ignore[arg-type]

    assert refusal.value.details["parameter"] == parameter
    assert committed_rows(warm) == before
    later = [statement for statement, _ in statements[1:]]
    assert not [each for each in later if any(word in each for word in CHANGES)]


@pytest.mark.parametrize("whose, name", LISTENERS)
def test_has_a_transaction_where_somebody_listens_for_it(
    warm: Engine, org_id: str, whose: str, name: str
) -> None:
    factory = sessionmaker(warm)
    target: Any = {"session": factory, "engine": warm, "pool": warm.pool}[whose]

    def listener(*_: object) -> None:
        """Do nothing, but be there."""

    event.listen(target, name, listener)
    try:
        with statements_of(warm) as statements:
            TenancyStore(factory).get_org(org_id)
    finally:
        event.remove(target, name, listener)

    assert [in_transaction for _, in_transaction in statements] == [True]


def test_has_a_transaction_where_the_class_of_the_session_takes_part_in_it(
    warm: Engine, org_id: str
) -> None:
    class TellingSession(Session):
        def connection(self, *args: Any, **options: Any) -> Connection:
            connection = super().connection(*args, **options)
            connection.exec_driver_sql("SET LOCAL application_name = 'told'")
            return connection

    with statements_of(warm) as statements:
        TenancyStore(sessionmaker(warm, class_=TellingSession)).get_org(org_id)

    assert statements
    assert all(in_transaction for _, in_transaction in statements)


def _at_another_level(db: Engine) -> sessionmaker[Session]:
    return sessionmaker(
        create_engine(db.url, poolclass=NullPool, isolation_level="REPEATABLE READ")
    )


def _with_the_level_in_options(db: Engine) -> sessionmaker[Session]:
    return sessionmaker(db.execution_options(isolation_level="SERIALIZABLE"))


def _read_only(db: Engine) -> sessionmaker[Session]:
    return sessionmaker(db.execution_options(postgresql_readonly=True))


def _of_a_first_connection(db: Engine) -> sessionmaker[Session]:
    return sessionmaker(create_engine(db.url, poolclass=NullPool))


@pytest.mark.parametrize(
    "make",
    [_at_another_level, _with_the_level_in_options, _read_only, _of_a_first_connection],
)
def test_has_the_transaction_that_the_engine_asks_for(
    warm: Engine, org_id: str, make: Callable[[Engine], sessionmaker[Session]]
) -> None:
    factory = make(warm)
    engine = factory().get_bind()
    with statements_of(engine) as statements:  # type: ignore[arg-type]
        TenancyStore(factory).get_org(org_id)

    assert statements[-1][1]


def test_stays_in_the_transaction_of_a_connection(warm: Engine, org_id: str) -> None:
    with warm.connect() as connection, connection.begin() as transaction:
        factory = sessionmaker(connection, join_transaction_mode="create_savepoint")
        owner = TenancyStore(factory).list_members(org_id).data[0].usr_id
        new = TenancyStore(factory).create_org(owner).org.id
        transaction.rollback()

    with pytest.raises(NotFoundError):
        TenancyStore(sessionmaker(warm)).get_org(new)


def test_row_level_security_sees_who_is_calling(warm: Engine, org_id: str) -> None:
    # The pattern of applications with many tenants: told at the beginning, for its length.
    factory = sessionmaker(warm)
    told: list[str | None] = []

    @event.listens_for(factory, "after_begin")
    def tell(session: Session, transaction: object, connection: Any) -> None:
        connection.execute(text("SELECT set_config('app.tenant', :id, true)"), {"id": org_id})

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "FROM org" in statement:
            told.append(
                cursor.connection.execute("SELECT current_setting('app.tenant')").fetchone()[0]
            )

    event.listen(warm, "after_cursor_execute", note)
    try:
        TenancyStore(factory).get_org(org_id)
    finally:
        event.remove(warm, "after_cursor_execute", note)

    assert told == [org_id]


class TestARefusedNewcomer:
    @pytest.fixture
    def store(self, warm: Engine) -> TenancyStore:
        return TenancyStore(sessionmaker(warm))

    @pytest.fixture
    def usr_id(self, warm: Engine) -> str:
        with Session(warm) as session, session.begin():
            return Stage(session).user()

    def test_leaves_nothing_in_a_suspended_organization(
        self, warm: Engine, store: TenancyStore, org_id: str, usr_id: str
    ) -> None:
        owner = store.list_members(org_id).data[0].usr_id
        store.suspend_org(org_id)
        before = committed_rows(warm)

        with pytest.raises(PreconditionError) as refusal:
            store.add_member(org_id, usr_id, Role.MEMBER)
        assert refusal.value.reason == "org_not_active"
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        with pytest.raises(PreconditionError):
            store.create_invitation(org_id, "a@example.com", Role.MEMBER, owner, tomorrow)

        assert committed_rows(warm) == before

    def test_leaves_nothing_where_he_is_already(
        self, warm: Engine, store: TenancyStore, org_id: str, usr_id: str
    ) -> None:
        store.add_member(org_id, usr_id, Role.MEMBER)
        before = committed_rows(warm)

        with pytest.raises(DuplicateMembershipError):
            store.add_member(org_id, usr_id, Role.ADMIN)

        assert committed_rows(warm) == before

    def test_takes_no_connection_with_him(
        self, warm: Engine, store: TenancyStore, org_id: str
    ) -> None:
        with pytest.raises(NotFoundError):
            store.add_member(org_id, new_id("usr"), Role.MEMBER)

        with statements_of(warm) as statements, warm.connect() as connection:
            level = connection.scalar(text("SHOW transaction_isolation"))
        assert level == "read committed"
        assert statements == [("SHOW transaction_isolation", True)]


class TestRowsThatTheApplicationAddsMeanwhile:
    @pytest.fixture
    def mem_id(self, warm: Engine) -> str:
        with Session(warm) as session, session.begin():
            stage = Stage(session)
            return stage.member(stage.org()).id

    @pytest.fixture(params=["a note", "a note that is there already"])
    def note(self, warm: Engine, request: pytest.FixtureRequest) -> Iterator[str]:
        """What is added whenever the status of a membership of a Session changes."""
        if "already" in request.param:
            with Session(warm) as session, session.begin():
                session.add(Note(text=request.param))

        def add_note(target: Membership, *_: object) -> None:
            session = object_session(target)
            if session is not None:
                session.add(Note(text=request.param))

        event.listen(Membership.status, "set", add_note)
        yield request.param
        event.remove(Membership.status, "set", add_note)

    def test_share_the_fate_of_the_operation(self, warm: Engine, note: str, mem_id: str) -> None:
        store = store_of(warm)
        before = committed_rows(warm)

        if "already" in note:
            with pytest.raises(IntegrityError):
                store.suspend_membership(mem_id)
            assert committed_rows(warm) == before
        else:
            store.suspend_membership(mem_id)
            assert store.get_membership(mem_id).status is Status.SUSPENDED
        with Session(warm) as session:
            assert session.scalars(select(Note.text)).all() == [note]

    def test_are_written_beside_a_read_too(self, warm: Engine, org_id: str) -> None:
        def add_note(target: Organization, context: object, *_: object) -> None:
            session = object_session(target)
            assert session is not None
            session.add(Note(text="read"))

        event.listen(Organization, "load", add_note)
        try:
            store_of(warm).get_org(org_id)
        finally:
            event.remove(Organization, "load", add_note)

        with Session(warm) as session:
            assert session.scalars(select(Note.text)).all() == ["read"]


class ConflictOfOthersError(TenancyError):
    """What a listener raises: one of ours, from another operation."""


@pytest.mark.parametrize("name", ["add_member", "change_role", "self_leave"])
def test_an_error_after_the_commit_is_raised_as_it_is(
    warm: Engine, name: str, arguments: Arguments
) -> None:
    before = committed_rows(warm)
    factory = sessionmaker(warm)

    @event.listens_for(factory, "after_commit")
    def fail(session: Session) -> None:
        raise ConflictOfOthersError("of another operation")

    with pytest.raises(ConflictOfOthersError):
        call(TenancyStore(factory, clock=lambda: NOW), name, arguments)  # type: ignore[arg-type]

    assert committed_rows(warm) != before


@pytest.mark.parametrize("on", ["engine", "options"])
@pytest.mark.parametrize("name", ["suspend_membership", "add_members", "revoke_org"])
def test_has_a_transaction_on_an_engine_that_has_none(
    db: Engine, name: str, on: str, arguments: Arguments
) -> None:
    level = {"isolation_level": "AUTOCOMMIT"}
    engine = create_engine(db.url, **level) if on == "engine" else db.execution_options(**level)
    listening = sessionmaker(engine)
    event.listen(listening, "before_flush", lambda *_: None)  # so it does not stand alone

    with statements_of(engine) as statements:
        call(TenancyStore(listening, clock=lambda: NOW), name, arguments)  # type: ignore[arg-type]

    assert statements
    assert all(in_transaction for _, in_transaction in statements)
    with engine.connect() as connection:
        assert commits_by_itself(connection)
    engine.dispose()
