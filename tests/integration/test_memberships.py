"""Memberships: what joining, changing roles and suspending writes, and the request guard."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from itertools import permutations, product

import pytest
from sqlalchemy import select
from sqlalchemy.orm import load_only

from flametrench_tenancy_sqlalchemy import (
    ForbiddenError,
    PreconditionError,
    Role,
    Status,
    TenancyRepository,
    Tuple,
    new_id,
)
from tests.support.stage import DAY, NOW, TICK, Stage, mem, role_of, tup

LATER = NOW + DAY
INACTIVE = [Status.SUSPENDED, Status.REVOKED]


class PeersRole(Enum):
    """Another package's enumeration of the same words."""

    EDITOR = "editor"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("invited", [True, False])
@pytest.mark.parametrize("former", [None, *INACTIVE])
def test_a_user_joins_whatever_they_have_been_before(
    former: Status | None, invited: bool, role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    usr_id = stage.member(org, Role.GUEST, former).usr_id if former else stage.user()
    stage.member(stage.org(), usr_id=usr_id)
    inviter = stage.owner(org).usr_id if invited else None
    stage.clock.now = LATER
    with stage.writes() as written:
        joined = tenancy.add_member(org.id, usr_id, role, invited_by=inviter)
    assert written == {
        joined.id: mem(usr_id, org.id, role, LATER, invited_by=inviter),
        role_of(joined, role): tup(inviter, LATER),
    }
    assert (joined.role, joined.status, joined.organization) == (role, Status.ACTIVE, org)


@pytest.mark.parametrize("role", [Role.EDITOR, "editor", PeersRole.EDITOR])
def test_a_role_may_be_given_as_its_word_or_as_another_packages_enum(
    role: Role | str, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = tenancy.add_member(stage.org().id, stage.user(), role)
    assert membership.role is Role.EDITOR
    assert tenancy.change_role(membership.id, role) is membership


@pytest.mark.parametrize("time", [NOW - DAY, NOW, NOW + TICK, LATER], ids=str)
@pytest.mark.parametrize("old, new", list(permutations(Role, 2)))
def test_a_changed_role_is_a_new_row_that_replaces_the_old_one(
    old: Role, new: Role, time: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, inviter = stage.org(), stage.user()
    membership = tenancy.add_member(org.id, stage.user(), old, invited_by=inviter)
    stage.clock.now = time
    with stage.writes() as written:
        successor = tenancy.change_role(membership.id, new)
    touched = {} if time == NOW else {"updated_at": time}
    # History reads in order whatever the clock says.
    at = max(time, NOW + TICK)
    kept = {"replaces": membership.id, "invited_by": inviter}
    assert written == {
        membership.id: {"status": "revoked", **touched},
        successor.id: mem(membership.usr_id, org.id, new, at, **kept),
        role_of(membership): None,
        role_of(successor): tup(at=time),
    }
    assert successor.id > membership.id
    assert (successor.role, successor.organization) == (new, org)


def test_a_frozen_clock_still_makes_a_chain_of_roles(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    newest = stage.member(stage.org(), Role.GUEST)
    for step, role in enumerate((Role.MEMBER, Role.EDITOR, Role.OWNER, Role.GUEST), 1):
        newest = tenancy.change_role(newest.id, role)
        assert newest.created_at == NOW + step * TICK


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("is_last_owner", [False, True])
def test_the_role_held_already_changes_nothing(
    is_last_owner: bool, role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    membership = stage.owner(org) if is_last_owner else stage.member(org, role)
    stage.clock.now = LATER
    with stage.writes() as written:
        assert tenancy.change_role(membership.id, membership.role.value) is membership
    assert written == {}


def test_an_owner_beside_another_steps_down_or_is_suspended(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    owner, second, third = stage.owner(org), *(stage.member(org, Role.OWNER) for _ in range(2))
    assert tenancy.change_role(owner.id, Role.GUEST).role is Role.GUEST
    assert tenancy.suspend_membership(second.id).status is Status.SUSPENDED
    assert third.is_active_owner


@pytest.mark.parametrize("time", [NOW, LATER], ids=["at once", "later"])
@pytest.mark.parametrize("role", Role)
def test_suspending_takes_the_tuple_away_and_reinstating_brings_it_back(
    role: Role, time: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), role)
    stage.clock.now = time
    touched = {} if time == NOW else {"updated_at": time}
    with stage.writes() as written:
        assert tenancy.suspend_membership(membership.id) is membership
    assert written == {membership.id: {"status": "suspended", **touched}, role_of(membership): None}
    with stage.writes() as written:
        assert tenancy.reinstate_membership(membership.id) is membership
    assert written == {membership.id: {"status": "active"}, role_of(membership): tup(at=time)}
    assert membership.status is Status.ACTIVE


def test_a_tuple_that_the_session_has_loaded_in_part_is_no_obstacle(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org())
    held = stage.session.scalars(select(Tuple).options(load_only(Tuple.relation))).all()
    assert tenancy.suspend_membership(membership.id).status is Status.SUSPENDED
    del held


@pytest.mark.parametrize("status", Status)
def test_a_membership_is_found_by_id_in_any_status_and_by_its_user_while_it_is_active(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    membership = stage.member(org, status=status)
    stage.member(org, Role.GUEST)
    stage.session.expire_all()
    assert tenancy.get_membership(membership.id) is membership
    assert membership.status is status
    found = tenancy.find_membership(org.id, membership.usr_id)
    assert found is (membership if status is Status.ACTIVE else None)
    if found is None:
        again = stage.member(org, Role.ADMIN, usr_id=membership.usr_id)
        assert tenancy.find_membership(org.id, again.usr_id) is again
    for org_id, usr_id in [
        (stage.org().id, membership.usr_id),
        (org.id, new_id("usr")),
        (new_id("org"), membership.usr_id),
    ]:
        assert tenancy.find_membership(org_id, usr_id) is None


def test_members_are_counted_in_one_status_or_all(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    for status in (Status.ACTIVE, Status.SUSPENDED, Status.SUSPENDED):
        stage.member(org, status=status)
    stage.member(stage.org())
    assert tenancy.count_members(org.id) == 4
    assert tenancy.count_members(org.id, status=Status.ACTIVE) == 2
    assert tenancy.count_members(org.id, status="suspended") == 2
    assert tenancy.count_members(org.id, status=Status.REVOKED) == 0


@pytest.mark.parametrize("held, named", list(product(Role, [*Role, None])))
def test_only_the_roles_that_are_named_pass_or_any_if_none_is(
    held: Role, named: Role | None, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), held)
    org_id, usr_id = membership.org_id, membership.usr_id
    if named in (held, None):
        assert tenancy.require_role(org_id, usr_id, *([named] if named else [])) is membership
    else:
        with stage.refuses(ForbiddenError, org_id=org_id, usr_id=usr_id, roles=[named]):
            tenancy.require_role(org_id, usr_id, named or "")


def test_one_of_the_roles_is_enough_and_words_will_do(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), Role.ADMIN)
    guard = (membership.org_id, membership.usr_id)
    assert tenancy.require_role(*guard, Role.OWNER, "admin") is membership
    with stage.refuses(ForbiddenError, roles=[Role.OWNER, Role.EDITOR]):
        tenancy.require_role(*guard, "owner", Role.EDITOR)
    with stage.refuses(PreconditionError, "role_format", parameter="roles"):
        tenancy.require_role(*guard, Role.ADMIN, "boss")


def test_nobody_passes_without_an_active_membership_in_that_active_organization(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, elsewhere = stage.org(), stage.owner(stage.org()).usr_id
    former = [stage.member(org, status=status).usr_id for status in INACTIVE]
    inside = [(owner.org_id, owner.usr_id) for owner in map(stage.owner, map(stage.org, INACTIVE))]
    there = [(org.id, usr_id) for usr_id in [*former, elsewhere, new_id("usr")]]
    for org_id, usr_id in [*inside, *there, (new_id("org"), elsewhere)]:
        with stage.refuses(ForbiddenError, org_id=org_id, usr_id=usr_id):
            tenancy.require_role(org_id, usr_id)
