"""Wherever the id of a user goes in, the user goes in as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, inspect
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    ActingTenancy,
    InMemoryTenancyStore,
    Membership,
    NewMember,
    Organization,
    Policy,
    Role,
    TenancyChange,
    TenancyRepository,
    TenancyStore,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.calls import CALLS, call, parameters
from tests.support.counting import sent
from tests.support.stage import DAY, Stage

NAMES = ("creator", "usr_id", "invited_by", "transfer_to", "admin_usr_id", "as_usr_id")
PLACES = [
    (operation, name) for operation in CALLS for name in parameters(operation) if name in NAMES
]


@pytest.mark.parametrize("operation, parameter", PLACES)
def test_an_operation_takes_a_user_for_their_id(
    operation: str, parameter: str, stage: Stage
) -> None:
    changes: list[TenancyChange] = []
    tenancy = stage.by(Policy(on_change=lambda _, change: changes.append(change)))
    arguments = CALLS[operation](stage)
    user = stage.session.get_one(User, arguments[parameter])

    def ended(given: object) -> list[Any]:
        return _ended(stage, lambda: call(tenancy, operation, arguments | {parameter: given}))

    assert ended(user) == ended(user.id)
    assert len({change.actor for change in changes}) <= 1


def _ended(stage: Stage, act: Callable[[], Any]) -> list[Any]:
    """Do something as if it were never done, and return the users of the tables afterwards."""
    savepoint = stage.session.begin_nested()
    act()
    rows = stage.session.query(
        *(Membership.usr_id, Membership.invited_by, Membership.removed_by, Membership.status)
    ).order_by(Membership.id)
    ended = [tuple(row) for row in rows]
    savepoint.rollback()
    return ended


def test_so_do_the_rows_of_sets_and_heirs(stage: Stage, tenancy: TenancyRepository) -> None:
    org, owner, ann, bob = stage.org(), *(make_user(stage.session) for _ in range(3))
    rows = [(owner, "owner"), NewMember(ann, "guest", invited_by=owner), {"usr_id": bob}]
    rows[2] |= {"role": "guest", "invited_by": ann}  # type: ignore[operator]
    added = tenancy.add_members(org.id, rows, invited_by=bob, all_or_nothing=True)  # type: ignore[arg-type]
    joined = [outcome.unwrap() for outcome in added]
    assert [membership.usr_id for membership in joined] == [owner.id, ann.id, bob.id]
    assert [membership.invited_by for membership in joined] == [bob.id, owner.id, ann.id]
    requests = [("a@example.com", "guest", stage.clock.now + DAY)]
    (offered,) = tenancy.create_invitations(org.id, requests, owner)
    assert offered.unwrap().invited_by == owner.id
    own = tenancy.create_org(ann).org
    tenancy.add_member(own.id, bob, "guest")
    tenancy.offboard_user(ann, heirs={own.id: bob})
    assert tenancy.role_of(own.id, bob) is Role.OWNER


def test_so_does_who_acts(stage: Stage, tenancy: TenancyRepository) -> None:
    user, other = make_user(stage.session), make_user(stage.session)
    acting: ActingTenancy = tenancy.acting_as(user)
    org = acting.create_org().org
    assert acting.usr_id == user.id
    assert acting.add_member(org.id, other, "owner").invited_by == user.id
    assert acting.find_membership(org.id, other) is not None


def _pending(session: Session) -> User:
    user = User(id=new_id("usr"))
    session.add(user)
    return user


def _expired(session: Session) -> User:
    user = make_user(session)
    session.expire(user)
    return user


def _detached(session: Session) -> User:
    user = _expired(session)
    session.expunge(user)
    return user


@pytest.mark.parametrize("make", [_pending, make_user, _expired, _detached])
def test_whatever_session_they_are_in(
    make: Callable[[Session], User], stage: Stage, tenancy: TenancyRepository
) -> None:
    user = make(stage.session)
    pending = inspect(user).pending
    with sent(stage.session) as seen:
        membership = tenancy.create_org(user).owner_membership
    assert len(seen) == (2 if pending else 1)  # their own row, and nothing to find out who they are
    assert (membership.usr_id,) == inspect(user).identity


def test_a_read_sends_a_pending_user_before_it_asks_for_them(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    assert tenancy.list_memberships(_pending(stage.session)).data == []


@pytest.mark.parametrize("kind", [TenancyStore, InMemoryTenancyStore])
def test_a_store_takes_a_user_of_another_session(kind: Any, clean_engine: Engine) -> None:
    sessions = sessionmaker(clean_engine)
    with sessions.begin() as session:
        user = make_user(session)
    store = kind() if kind is InMemoryTenancyStore else kind(sessions)
    org: Organization = store.create_org(user).org
    assert (store.require_role(org.id, user, "owner").usr_id,) == inspect(user).identity
