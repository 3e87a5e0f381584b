"""An operation in the caller's transaction is a savepoint of it, and no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Never

import pytest
from sqlalchemy import event, insert, inspect, select
from sqlalchemy.exc import DataError, IntegrityError, InternalError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    NotFoundError,
    Organization,
    OrgSlugConflictError,
    PreconditionError,
    Role,
    TenancyError,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.support.adopter import Note, Project
from tests.support.operations import every_operation
from tests.support.rows import committed_rows, rows
from tests.support.statements import seen_by_server, struck

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from sqlalchemy import Engine
    from sqlalchemy.orm import sessionmaker

    from tests.support.operations import Call, Operation


def forbidden(*_: object) -> Never:
    raise AssertionError("the operation ended what the caller began")


def savepoint_of(statements: list[str], operation: str) -> str:
    """Return the name of the savepoint with which an operation begins; all taken are released."""
    about = [statement for statement in statements if "SAVEPOINT" in statement]
    match = re.fullmatch(rf"SAVEPOINT (ft_{operation}_[0-9a-f]{{8}})", statements[0])
    assert match, statements[0]
    taken = [each for each in about if each.startswith("SAVEPOINT ft_")]
    assert sorted(f"RELEASE {each}" for each in taken) == sorted(
        each for each in about if each.startswith("RELEASE")
    )
    return match[1]


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@every_operation
def test_the_transaction_stays_open_and_the_savepoint_is_released(
    operation: Operation,
    fails: bool,
    call: Call,
    *,
    db: Engine,
    observer: Engine,
    sessions: sessionmaker[Session],
    endings: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = committed_rows(db)
    db.dispose()  # psycopg forgets at a rollback what it has prepared, which the server would show
    with sessions() as session:
        transaction = session.begin()
        session.add(Note(text="mine"))
        session.flush()
        connection = session.connection()
        endings.clear()

        with monkeypatch.context() as door, seen_by_server(connection, observer) as statements:
            for what in ("commit", "rollback", "close", "invalidate", "expunge_all"):
                door.setattr(session, what, forbidden)
            if fails:
                with (
                    struck(connection, 3, instead="SELECT 1 / 0"),
                    pytest.raises(DataError, match="division by zero"),
                ):
                    call(TenancyRepository(session))
            else:
                call(TenancyRepository(session))

        assert not endings
        assert session.get_transaction() is transaction
        assert session.get_nested_transaction() is None
        name = savepoint_of(statements, operation.name)
        assert statements[-1] == f"RELEASE SAVEPOINT {name}"
        assert statements.count(f"ROLLBACK TO SAVEPOINT {name}") == fails
        assert (rows(connection) == before) == fails
        assert committed_rows(db) == before
        assert session.scalars(select(Note.text)).all() == ["mine"]
        session.commit()
        assert (committed_rows(db) == before) == fails


def _duplicate_member(session: Session) -> tuple[type[TenancyError], Call]:
    member = make_member(session, make_org(session))
    org_id, usr_id = member.org_id, member.usr_id
    return DuplicateMembershipError, lambda t: t.add_member(org_id, usr_id, Role.ADMIN)


def _taken_slug(session: Session) -> tuple[type[TenancyError], Call]:
    make_org(session, slug="acme")
    usr_id = make_user(session).id
    return OrgSlugConflictError, lambda t: t.create_org(usr_id, slug="acme")


def _malformed_slug(session: Session) -> tuple[type[TenancyError], Call]:
    # Refused before the operation has asked the database for anything.
    usr_id = make_user(session).id
    return PreconditionError, lambda t: t.create_org(usr_id, slug="No Slug")


def _unknown_creator(session: Session) -> tuple[type[TenancyError], Call]:
    return NotFoundError, lambda t: t.create_org(new_id("usr"))


def _unknown_org(session: Session) -> tuple[type[TenancyError], Call]:
    return NotFoundError, lambda t: t.revoke_org(new_id("org"))


@pytest.mark.parametrize(
    "refusal", [_duplicate_member, _taken_slug, _malformed_slug, _unknown_creator, _unknown_org]
)
@pytest.mark.parametrize("autoflush", [True, False])
@pytest.mark.parametrize("flushed", [True, False], ids=["flushed", "pending"])
def test_the_callers_rows_survive_a_refused_operation(
    db: Engine,
    sessions: sessionmaker[Session],
    refusal: Callable[[Session], tuple[type[TenancyError], Call]],
    autoflush: bool,
    flushed: bool,
) -> None:
    with Session(db) as session, session.begin():
        error, call = refusal(session)
        org_id = make_org(session).id
    with sessions(autoflush=autoflush) as session:
        (org, *_) = session.scalars(select(Organization))
        project = Project(name="mine", org_id=org_id)
        session.add(project)
        if flushed:
            session.flush()

        with pytest.raises(error):
            call(TenancyRepository(session))

        assert project in session
        assert inspect(org).expired_attributes == set()
        project.name = "still mine"
        session.commit()
    with Session(db) as session:
        (row,) = session.scalars(select(Project))
        assert (row.name, row.org_id) == ("still mine", org_id)


def test_several_operations_go_back_with_the_callers_savepoint(
    sessions: sessionmaker[Session],
) -> None:
    with sessions() as session:
        tenancy = TenancyRepository(session)
        first = make_org(session, name="first")
        before = rows(session.connection())
        savepoint = session.begin_nested()
        second = make_org(session, name="second")
        tenancy.change_role(make_member(session, second).id, Role.OWNER)
        tenancy.suspend_org(first.id)

        savepoint.rollback()

        assert rows(session.connection()) == before
        assert tenancy.suspend_org(first.id) is first


@pytest.mark.parametrize(
    "broken, constraint",
    [
        (lambda: Note(text="once"), "note_text_key"),
        # None of the users whom the operation refers to.
        (lambda: Project(name="mine", lead_id=new_id("usr")), "project_lead_id_fkey"),
    ],
)
def test_what_the_callers_pending_row_breaks_is_theirs_to_see(
    db: Engine, sessions: sessionmaker[Session], broken: Callable[[], Any], constraint: str
) -> None:
    with Session(db) as session, session.begin():
        session.add(Note(text="once"))
        creator = make_user(session).id
    before = committed_rows(db)
    with sessions() as session:
        session.add(broken())

        with pytest.raises(IntegrityError) as refusal:
            TenancyRepository(session).create_org(creator)

        assert constraint in str(refusal.value.orig)
        assert refusal.value.__cause__ is refusal.value.orig
    assert committed_rows(db) == before


def test_the_callers_unflushed_change_to_our_object_is_not_lost(
    db: Engine, sessions: sessionmaker[Session]
) -> None:
    with sessions(autoflush=False) as session:
        org = make_org(session)
        org.name = "Renamed by hand"

        TenancyRepository(session).suspend_org(org.id)

        assert org.name == "Renamed by hand"
        session.commit()
    assert [row.name for row in committed_rows(db)["org"]] == ["Renamed by hand"]


def test_savepoints_of_the_application_keep_their_names(db: Engine, observer: Engine) -> None:
    with Session(db) as session:
        connection = session.connection()

        @event.listens_for(session, "pending_to_persistent")
        def audit(session: Session, entity: object) -> None:
            with connection.begin_nested():
                connection.execute(insert(Note), {"text": f"new {entity!r}"})

        with seen_by_server(connection, observer) as statements, session.begin_nested():
            make_org(session)
            with session.begin_nested():
                make_user(session)

    taken = [s for s in statements if s.startswith("SAVEPOINT")]
    released = {s.removeprefix("RELEASE ") for s in statements if s.startswith("RELEASE")}
    assert set(taken) == released
    assert len(taken) == len(set(taken)) >= 5
    (ours,) = [i for i, statement in enumerate(taken) if "ft_create_org_" in statement]
    others = [statement for i, statement in enumerate(taken) if i != ours]
    assert all(re.fullmatch(r"SAVEPOINT sa_savepoint_\d+", statement) for statement in others)
    # The hook's savepoint was taken while the operation's own one was open.
    end = statements.index(f"RELEASE {taken[ours]}")
    assert statements.index(taken[ours]) < statements.index(taken[ours + 1]) < end


def test_an_aborted_transaction_is_reported_as_such(db: Engine) -> None:
    with Session(db) as session:
        creator = make_user(session).id
        session.commit()
        with pytest.raises(DataError):
            session.connection().exec_driver_sql("SELECT 1 / 0")

        with pytest.raises(InternalError, match="aborted") as refusal:
            TenancyRepository(session).create_org(creator)

        assert str(refusal.value.statement).startswith("SAVEPOINT ft_create_org_")
        session.rollback()
        TenancyRepository(session).create_org(creator)
