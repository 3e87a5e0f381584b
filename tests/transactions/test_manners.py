"""The caller's transaction stays theirs: nothing is committed, rolled back or closed for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.exc import DataError, IntegrityError
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
from flametrench_tenancy_sqlalchemy._integrity import constraint_name
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.support.adopter import Note, Project
from tests.support.operations import every_operation
from tests.support.rows import committed_rows, rows
from tests.support.statements import struck

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tests.support.operations import Call


class GuestHouse(Session):
    """A Session whose door the guests must leave alone."""

    locked = False

    def _refuse(self, what: str) -> None:
        assert not self.locked, f"the operation called {what}()"

    def commit(self) -> None:
        self._refuse("commit")
        super().commit()

    def rollback(self) -> None:
        self._refuse("rollback")
        super().rollback()

    def close(self) -> None:
        self._refuse("close")
        super().close()

    def invalidate(self) -> Never:
        raise AssertionError

    def expunge_all(self) -> None:
        self._refuse("expunge_all")
        super().expunge_all()


@every_operation
class TestTheTransaction:
    def test_stays_open_after_an_operation(
        self, db: Engine, call: Call, endings: Counter[str]
    ) -> None:
        before = committed_rows(db)
        with GuestHouse(db) as session:
            transaction = session.begin()
            session.add(Note(text="mine"))
            session.flush()
            endings.clear()
            session.locked = True

            call(TenancyRepository(session))

            session.locked = False
            assert not endings
            assert session.get_transaction() is transaction
            assert session.get_nested_transaction() is None
            assert committed_rows(db) == before
            assert session.scalars(select(Note.text)).all() == ["mine"]

    def test_stays_open_after_an_operation_that_fails(
        self, db: Engine, call: Call, endings: Counter[str]
    ) -> None:
        with GuestHouse(db) as session:
            transaction = session.begin()
            session.add(Note(text="mine"))
            session.flush()
            before = rows(session.connection())
            endings.clear()
            session.locked = True

            with (
                struck(session.connection(), 3, instead="SELECT 1 / 0"),
                pytest.raises(DataError),
            ):
                call(TenancyRepository(session))

            session.locked = False
            assert not endings
            assert session.get_transaction() is transaction
            assert session.get_nested_transaction() is None
            assert rows(session.connection()) == before
            assert session.scalars(select(Note.text)).all() == ["mine"]
            session.commit()
        with Session(db) as session:
            assert session.scalars(select(Note.text)).all() == ["mine"]


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
    refusal: Callable[[Session], tuple[type[TenancyError], Call]],
    autoflush: bool,
    flushed: bool,
) -> None:
    with Session(db) as session, session.begin():
        error, call = refusal(session)
        org_id = make_org(session).id
    with Session(db, autoflush=autoflush) as session:
        project = Project(name="mine", org_id=org_id)
        session.add(project)
        if flushed:
            session.flush()

        with pytest.raises(error):
            call(TenancyRepository(session))

        assert project in session
        project.name = "still mine"
        session.commit()
    with Session(db) as session:
        (row,) = session.scalars(select(Project))
        assert (row.name, row.org_id) == ("still mine", org_id)


def test_several_operations_go_back_with_the_callers_savepoint(db: Engine) -> None:
    with Session(db) as session:
        tenancy = TenancyRepository(session)
        first = make_org(session, name="first")
        before = rows(session.connection())
        savepoint = session.begin_nested()
        second = make_org(session, name="second")
        member = make_member(session, second)
        tenancy.change_role(member.id, Role.OWNER)
        tenancy.suspend_org(first.id)

        savepoint.rollback()

        assert rows(session.connection()) == before
        assert tenancy.suspend_org(first.id) is first
        session.commit()
    assert [org.name for org in committed_rows(db)["org"]] == ["first"]


@every_operation
def test_what_the_callers_pending_row_breaks_is_theirs_to_see(db: Engine, call: Call) -> None:
    with Session(db) as session, session.begin():
        session.add(Note(text="once"))
    before = committed_rows(db)
    with Session(db) as session:
        session.add(Note(text="once"))

        with pytest.raises(IntegrityError) as refusal:
            call(TenancyRepository(session))

        assert constraint_name(refusal.value) == "note_text_key"
        assert refusal.value.__cause__ is refusal.value.orig
        session.rollback()
    assert committed_rows(db) == before


def test_a_user_missing_from_the_callers_pending_row_is_theirs_to_see(db: Engine) -> None:
    with Session(db) as session, session.begin():
        creator = make_user(session).id
    with Session(db) as session:
        session.add(Project(name="mine", lead_id=new_id("usr")))

        with pytest.raises(IntegrityError) as refusal:
            TenancyRepository(session).create_org(creator)

        assert constraint_name(refusal.value) == "project_lead_id_fkey"


def test_the_callers_unflushed_change_to_our_object_is_not_lost(db: Engine) -> None:
    with Session(db, autoflush=False) as session:
        org = make_org(session)
        org.name = "Renamed by hand"

        TenancyRepository(session).suspend_org(org.id)

        assert org.name == "Renamed by hand"
        session.commit()
    assert [row.name for row in committed_rows(db)["org"]] == ["Renamed by hand"]


def test_a_refused_operation_leaves_what_the_caller_has_loaded_at_hand(db: Engine) -> None:
    with Session(db) as session:
        error, call = _duplicate_member(session)
        (org,) = session.scalars(select(Organization))

        with pytest.raises(error):
            call(TenancyRepository(session))

        assert inspect(org).expired_attributes == set()
