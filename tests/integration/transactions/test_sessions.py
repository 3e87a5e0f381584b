"""Every kind of Session that an application may bring, and what it does with statements."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest
from sqlalchemy import Delete, Insert, Update, create_engine, event, false, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, scoped_session, sessionmaker, with_loader_criteria
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import (
    Base,
    DuplicateMembershipError,
    ForbiddenError,
    Membership,
    NotFoundError,
    Organization,
    OrgSlugConflictError,
    PreconditionError,
    Role,
    SoleOwnerError,
    TenancyError,
    TenancyRepository,
    TenancyStore,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.support.adopter import AdopterBase, Note
from tests.support.cluster import on_one_server
from tests.support.counting import sent
from tests.support.invariants import breaches
from tests.support.operations import OPERATIONS, Operation, make_invitation, owner_of
from tests.support.rows import committed_rows, rows, untruths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL, Connection, Engine

    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
    from tests.support.operations import Call


def run_every_operation(session: Session, tenancy_session: Any = None) -> None:
    """Stage and make every call in one transaction, with a row of the application's beside it."""
    tenancy = TenancyRepository(tenancy_session or session)
    session.add(Note(text="mine"))
    for operation in OPERATIONS:
        result = operation.stage(session)(tenancy)
        assert result is not None
        assert untruths(session, rows(session.connection(bind_arguments={"mapper": Base}))) == []


def assert_kept(db: Engine) -> None:
    kept = committed_rows(db)
    assert len(kept["org"]) >= len(OPERATIONS)
    assert all(kept.values())


@pytest.mark.parametrize("options", [{}, {"autoflush": False, "expire_on_commit": False}], ids=str)
def test_with_its_usual_options(
    db: Engine, sessions: sessionmaker[Session], options: dict[str, Any]
) -> None:
    with sessions(**options) as session:
        run_every_operation(session)
        session.commit()

        assert untruths(session, committed_rows(db)) == []
    assert_kept(db)


@pytest.mark.parametrize(
    "mode", ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]
)
def test_bound_to_a_connection(
    db: Engine,
    mode: Literal["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"],
) -> None:
    with db.connect() as connection:
        transaction = connection.begin()
        with Session(connection, join_transaction_mode=mode) as session:
            run_every_operation(session)
            assert transaction.is_active
            session.commit()
        if transaction.is_active:
            transaction.commit()
    assert_kept(db)


def test_scoped(db: Engine, sessions: sessionmaker[Session]) -> None:
    registry = scoped_session(sessions)

    run_every_operation(registry(), registry)

    registry.commit()
    registry.remove()
    assert_kept(db)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_with_our_tables_in_one_database_and_theirs_in_another(
    clean_engine: Engine, new_database: NewDatabase, first: str
) -> None:
    their_engine = create_engine(new_database(), poolclass=NullPool)
    AdopterBase.metadata.create_all(their_engine, tables=[AdopterBase.metadata.tables["note"]])
    with Session(binds={Base: clean_engine, AdopterBase: their_engine}) as session:
        if first == "theirs":
            session.add(Note(text="first"))
            session.flush()
        for operation in OPERATIONS:
            operation.stage(session)(TenancyRepository(session))
        with session.begin_nested() as savepoint:
            session.add(Note(text="gone"))
            make_org(session, slug="gone")
            savepoint.rollback()
        session.add(Note(text="last"))
        session.commit()

        texts = session.scalars(select(Note.text).order_by(Note.text)).all()
        assert texts == (["first", "last"] if first == "theirs" else ["last"])
    assert_kept(clean_engine)
    assert "gone" not in {org.slug for org in committed_rows(clean_engine)["org"]}


def test_with_each_of_our_classes_bound_by_itself(db: Engine) -> None:
    with Session(binds=dict.fromkeys(Base.registry.mappers, db)) as session:
        for operation in OPERATIONS:
            operation.stage(session)(TenancyRepository(session))
        session.commit()
    assert_kept(db)


@on_one_server("Citus commits in two phases itself")
def test_in_two_phases(db: Engine) -> None:
    with db.connect() as connection:
        if connection.exec_driver_sql("SHOW max_prepared_transactions").scalar_one() == "0":
            pytest.skip("this server has max_prepared_transactions = 0: no two-phase commit")
    with Session(db, twophase=True) as session:
        run_every_operation(session)
        session.prepare()
        session.commit()
    assert_kept(db)


def test_with_autobegin_off_is_told_to_begin(db: Engine) -> None:
    with Session(db, autobegin=False) as session:
        with session.begin():
            creator = make_user(session).id

        with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
            TenancyRepository(session).create_org(creator)

        with session.begin():
            TenancyRepository(session).create_org(creator)
    assert len(committed_rows(db)["org"]) == 1


def test_that_commit_each_statement_can_read_and_are_told_why_they_cannot_write(db: Engine) -> None:
    with Session(db) as session, session.begin():
        org = make_org(session)
        org_id, usr_id = org.id, make_user(session).id
    before = committed_rows(db)

    with Session(db.execution_options(isolation_level="AUTOCOMMIT")) as session:
        tenancy = TenancyRepository(session)
        assert tenancy.get_org(org_id).id == org_id
        with pytest.raises(InvalidRequestError, match="add_member needs a transaction"):
            tenancy.add_member(org_id, usr_id, Role.MEMBER)

    assert committed_rows(db) == before


# A leader and a follower, as SQLAlchemy's documentation shows it.


@pytest.fixture
def follower(database_url: URL) -> Iterator[Engine]:
    """An engine that can only read."""
    engine = create_engine(database_url, execution_options={"postgresql_readonly": True})
    yield engine
    engine.dispose()


def _by_its_state(session: Session, clause: Any) -> bool:
    return session._flushing or isinstance(clause, Update | Delete)


def _by_the_clause(session: Session, clause: Any) -> bool:
    return clause is None or isinstance(clause, Insert | Update | Delete)


@pytest.fixture(params=[_by_its_state, _by_the_clause])
def routed(
    request: pytest.FixtureRequest, sessions: sessionmaker[Session], db: Engine, follower: Engine
) -> sessionmaker[Session]:
    """Sessions that choose an engine for each statement."""

    def get_bind(self: Session, mapper: Any = None, *, clause: Any = None, **_: Any) -> Engine:
        assert mapper is None or mapper.class_  # a mapper it is, as in the documentation
        return db if request.param(self, clause) else follower

    return sessionmaker(class_=type("Routing", (sessions.class_,), {"get_bind": get_bind}))


def refused_calls(session: Session) -> list[tuple[type[TenancyError], Call]]:
    """Return calls that are refused, at every place where that may be found out."""
    org = make_org(session, slug="taken")
    invitation = make_invitation(session, org)
    org_id, inv_id, identifier = org.id, invitation.id, invitation.identifier
    usr_id = make_member(session, org).usr_id
    suspended = make_member(session, org)
    mem_id, theirs = suspended.id, suspended.usr_id
    TenancyRepository(session).suspend_membership(mem_id)
    owner_id = TenancyRepository(session).list_members(org_id, limit=1).data[0].id
    again = [(usr_id, Role.GUEST)]
    accepting = {"as_usr_id": theirs, "accepting_identifier": identifier}
    return [
        (SoleOwnerError, lambda t: t.self_leave(owner_id)),
        (DuplicateMembershipError, lambda t: t.add_member(org_id, *again[0])),
        (DuplicateMembershipError, lambda t: t.add_members(org_id, again, all_or_nothing=True)),
        (NotFoundError, lambda t: t.add_member(org_id, new_id("usr"), Role.GUEST)),
        (NotFoundError, lambda t: t.revoke_org(new_id("org"))),
        (OrgSlugConflictError, lambda t: t.create_org(usr_id, slug="taken")),
        (ForbiddenError, lambda t: t.admin_remove(owner_id, usr_id)),
        (PreconditionError, lambda t: t.change_role(mem_id, Role.ADMIN)),
        (PreconditionError, lambda t: t.accept_invitation(inv_id, **accepting)),
    ]


def test_that_route_ask_the_leader_which_membership_hands_ownership_on(
    db: Engine, follower: Engine, routed: sessionmaker[Session]
) -> None:
    with Session(db) as session, session.begin():
        heir = make_member(session, make_org(session))
        org_id, mem_id, owner = heir.org_id, heir.id, owner_of(session, heir.organization)

    with sent(follower) as asked, routed.begin() as session:
        TenancyRepository(session).acting_as(owner).transfer_ownership(org_id, mem_id)

    assert asked == []


@pytest.mark.parametrize("standalone", [False, True], ids=["nested", "standalone"])
def test_that_route_send_all_of_an_operation_to_the_leader_and_route_as_before_afterwards(
    db: Engine, follower: Engine, routed: sessionmaker[Session], standalone: bool
) -> None:
    with Session(db) as session, session.begin():
        calls = [operation.stage(session) for operation in OPERATIONS]
        refused = refused_calls(session)

    def run(call: Call) -> None:
        if standalone:
            call(TenancyStore(routed))
            return
        with routed.begin() as session:
            try:
                call(TenancyRepository(session))
            finally:
                session.scalars(select(Note.text)).all()
                assert asked == ["SELECT note.text \nFROM note"]
                assert session.get_bind(Organization.__mapper__, clause=select(1)) is follower
                assert "get_bind" not in vars(session)
                asked.clear()

    with sent(follower) as asked:
        for call in calls:
            run(call)
        for error, call in refused:
            with pytest.raises(error):
                run(call)
        assert asked == []
    assert_kept(db)


# What an application adds to every query of its own.

CRITERIA: list[Any] = [
    lambda: with_loader_criteria(Membership, Membership.status == "active"),
    lambda: with_loader_criteria(
        Membership, lambda cls: cls.status != "suspended", include_aliases=True
    ),
    lambda: with_loader_criteria(Membership, Membership.role != "owner", include_aliases=True),
    lambda: with_loader_criteria(Base, lambda cls: false(), include_aliases=True),
]


@pytest.mark.parametrize("criteria", CRITERIA, ids=["active", "present", "not owners", "nothing"])
@pytest.mark.parametrize("standalone", [False, True], ids=["nested", "standalone"])
def test_that_filter_what_they_load_do_not_change_what_an_operation_decides(
    db: Engine, sessions: sessionmaker[Session], criteria: Callable[[], Any], standalone: bool
) -> None:
    with Session(db) as session, session.begin():
        calls = [operation.stage(session) for operation in OPERATIONS]
        refused = refused_calls(session)
        org = make_org(session)
        leaving = make_member(session, org, role=Role.OWNER).id
        admin = owner_of(session, org)
        removed = make_member(session, org).id
    before = committed_rows(db)

    @event.listens_for(sessions, "do_orm_execute")
    def hide(state: Any) -> None:
        if state.is_select:
            state.statement = state.statement.options(criteria())

    def run(call: Call) -> None:
        if standalone:
            call(TenancyStore(sessions))
            return
        with sessions.begin() as session:
            call(TenancyRepository(session))

    for error, call in refused:
        with pytest.raises(error):
            run(call)
    assert committed_rows(db) == before
    for call in [
        *calls,
        lambda t: t.self_leave(leaving),
        lambda t: t.admin_remove(removed, admin),
    ]:
        run(call)
    with db.connect() as connection:
        assert breaches(connection) == []


# An application that says who is calling, once in a transaction.


def _at_its_first_statement(told: Callable[[Any], None]) -> list[tuple[str, Callable[..., Any]]]:
    def before_execute(connection: Connection, clause: Any, *_: Any) -> None:
        if getattr(clause, "is_select", False):
            told(connection)

    def before_cursor_execute(connection: Connection, cursor: Any, sql: str, *_: Any) -> None:
        if "SAVEPOINT" not in sql:
            told(connection)

    def do_execute(cursor: Any, sql: str, parameters: Any, context: Any) -> None:
        if "SAVEPOINT" not in sql:
            told(context.root_connection)

    return [
        ("before_execute", before_execute),
        ("before_cursor_execute", before_cursor_execute),
        ("do_execute", do_execute),
    ]


@contextmanager
def _telling(target: Any, kind: str) -> Iterator[None]:
    transactions: list[object] = []

    def told(connection: Connection) -> None:
        transaction = connection.get_transaction()
        if transaction not in transactions:
            transactions.append(transaction)
            connection.connection.cursor().execute("SET LOCAL app.tenant = 'acme'")

    listener = dict(_at_its_first_statement(told))[kind]
    event.listen(target, kind, listener)
    try:
        yield
    finally:
        event.remove(target, kind, listener)


@pytest.mark.parametrize(
    "kind, on",
    [
        *((kind, on) for kind in ("before_execute", "before_cursor_execute") for on in ("e", "c")),
        ("do_execute", "e"),
    ],
)
def test_whose_listeners_say_who_is_calling_say_so_still_after_a_refusal(
    db: Engine, sessions: sessionmaker[Session], kind: str, on: str
) -> None:
    with Session(db) as session, session.begin():
        refused = refused_calls(session)
    for error, call in refused:
        with sessions() as session:
            with _telling(db if on == "e" else session.connection(), kind), pytest.raises(error):
                call(TenancyRepository(session))

            assert session.scalar(text("SELECT current_setting('app.tenant', true)")) == "acme"


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.name == "add_member"])
def test_row_level_security_sees_who_is_calling(
    db: Engine, sessions: sessionmaker[Session], operation: Operation
) -> None:
    with Session(db) as session, session.begin():
        call = operation.stage(session)
    told: list[str | None] = []

    @event.listens_for(sessions, "after_begin")
    def tell(session: Session, transaction: object, connection: Connection) -> None:
        connection.execute(text("SELECT set_config('app.tenant', 'acme', true)"))

    def note(conn: Any, cursor: Any, *_: Any) -> None:
        row = cursor.connection.execute("SELECT current_setting('app.tenant', true)").fetchone()
        told.append(row[0])

    event.listen(db, "after_cursor_execute", note)
    try:
        call(TenancyStore(sessions))
        TenancyStore(sessions).list_orgs()
        with pytest.raises(TenancyError):
            call(TenancyStore(sessions))
    finally:
        event.remove(db, "after_cursor_execute", note)

    assert len(told) > 5
    assert set(told) == {"acme"}
