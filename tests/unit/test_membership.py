"""The rules of a membership: joining, roles, suspension, leaving, removal, handing ownership on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import permutations, product
from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import Membership, PreTuple, Role, Status, new_id
from flametrench_tenancy_sqlalchemy.models.tuple import TupleKey
from tests.support.entities import EARLIER, LATER, NOW, TICK, a_member, an_org, refused

INACTIVE = [Status.SUSPENDED, Status.REVOKED]
NOT_OWNER = [role for role in Role if role is not Role.OWNER]


def _leave(
    membership: Membership, heir: str | None = None, found: Membership | None = None, **given: Any
) -> Membership | None:
    """Leave as the last owner, unless other owners are given."""
    last: dict[str, Any] = {"other_owners": [], "at": LATER}
    return membership.leave(transfer_to=heir, heir=found, **last | given)


@pytest.mark.parametrize("role", Role)
def test_joining_makes_an_active_membership(role: Role) -> None:
    org, usr_id, inviter = an_org(), new_id("usr"), new_id("usr")
    membership = Membership.join(org, usr_id, role, invited_by=inviter, at=NOW)
    assert membership.id.startswith("mem_")
    assert (membership.usr_id, membership.org_id) == (usr_id, org.id)
    assert (membership.role, membership.status) == (role, Status.ACTIVE)
    assert (membership.replaces, membership.removed_by) == (None, None)
    assert membership.invited_by == inviter
    assert membership.created_at == membership.updated_at == NOW
    assert membership.grant == PreTuple(role.value, "org", org.id)
    assert membership.tuple_key == TupleKey.of(usr_id, membership.grant)


@pytest.mark.parametrize("status", INACTIVE)
def test_nobody_joins_or_comes_back_to_an_organization_that_is_not_active(status: Status) -> None:
    with refused("precondition.org_not_active"):
        Membership.join(an_org(status), new_id("usr"), Role.MEMBER, at=NOW)
    membership = a_member(status=Status.SUSPENDED, org=an_org())
    membership.organization.status = status
    with refused("precondition.org_not_active", membership):
        membership.reinstate(LATER)


@pytest.mark.parametrize("role, status", list(product(Role, Status)))
def test_who_counts_as_owner_and_who_as_administrator(role: Role, status: Status) -> None:
    membership = a_member(role, status)
    active = status is Status.ACTIVE
    assert membership.is_active_owner == (active and role is Role.OWNER)
    assert membership.is_administrator == (active and role in (Role.OWNER, Role.ADMIN))


@pytest.mark.parametrize("old, new", list(permutations(Role, 2)))
def test_a_changed_role_is_a_successor(old: Role, new: Role) -> None:
    inviter = new_id("usr")
    membership = a_member(old, invited_by=inviter)
    successor = membership.change_role(new, other_owners=[a_member(Role.OWNER)], at=LATER)

    assert (membership.role, membership.status) == (old, Status.REVOKED)
    assert (membership.removed_by, membership.updated_at) == (None, LATER)
    assert (successor.role, successor.status) == (new, Status.ACTIVE)
    assert successor.replaces == membership.id != successor.id
    assert successor.predecessor is membership
    assert (successor.usr_id, successor.org_id) == (membership.usr_id, membership.org_id)
    assert successor.organization is membership.organization
    assert (successor.invited_by, successor.removed_by) == (inviter, None)
    assert successor.created_at == successor.updated_at == LATER


@pytest.mark.parametrize("role", Role)
def test_the_same_role_changes_nothing_not_even_for_the_last_owner(role: Role) -> None:
    membership = a_member(role)
    assert membership.change_role(role, other_owners=[], at=LATER) is membership
    assert (membership.status, membership.updated_at) == (Status.ACTIVE, NOW)


@pytest.mark.parametrize("at", [EARLIER, NOW, NOW + TICK])
def test_a_successor_is_younger_even_where_the_clock_stands_still_or_runs_backwards(
    at: datetime,
) -> None:
    org = an_org()
    changed = a_member().change_role(Role.ADMIN, other_owners=[], at=at)
    heir = a_member(org=org)
    promoted = _leave(a_member(Role.OWNER, org=org), heir.usr_id, heir, at=at)
    donor, target = a_member(Role.OWNER, org=org), a_member(org=org)
    both = donor.transfer_ownership(target, org_id=org.id, at=at)
    assert {m.created_at for m in (changed, promoted, *both) if m} == {NOW + TICK}


@pytest.mark.parametrize(
    "change",
    [
        *(lambda m, r=r: m.change_role(r, other_owners=[], at=LATER) for r in NOT_OWNER),
        lambda m: m.suspend(other_owners=[], at=LATER),
        _leave,
    ],
    ids=[*NOT_OWNER, "suspend", "leave"],
)
def test_only_an_active_membership_changes_and_the_last_owner_stays(
    change: Callable[[Membership], object],
) -> None:
    owner = a_member(Role.OWNER)
    with refused("forbidden.sole_owner", owner):
        change(owner)
    for owner.status in INACTIVE:  # which is asked first
        with refused("precondition.mem_not_active", owner):
            change(owner)
        with refused("precondition.mem_not_active", owner):
            owner.change_role(Role.OWNER, other_owners=[], at=LATER)


def test_only_a_suspended_membership_is_reinstated_and_that_is_asked_first() -> None:
    membership = a_member(Role.GUEST)
    membership.suspend(other_owners=[], at=LATER)
    assert (membership.status, membership.updated_at) == (Status.SUSPENDED, LATER)
    membership.reinstate(LATER + TICK)
    assert (membership.status, membership.updated_at) == (Status.ACTIVE, LATER + TICK)
    assert (membership.role, membership.created_at) == (Role.GUEST, NOW)
    membership.organization.status = Status.SUSPENDED
    for membership.status in (Status.ACTIVE, Status.REVOKED):
        with refused("precondition.invalid_transition", membership):
            membership.reinstate(LATER)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("named", ["nobody", "themselves", "a member"])
def test_who_is_not_the_last_owner_leaves_whatever_heir_they_name(role: Role, named: str) -> None:
    membership, heir = a_member(role), a_member()
    usr_id = {"nobody": None, "themselves": membership.usr_id}.get(named, heir.usr_id)
    others = [a_member(Role.OWNER)] if role is Role.OWNER else []
    assert _leave(membership, usr_id, heir, other_owners=others) is None
    assert (heir.role, heir.status) == (Role.MEMBER, Status.ACTIVE)
    assert (membership.status, membership.removed_by) == (Status.REVOKED, None)
    assert (membership.role, membership.updated_at) == (role, LATER)


@pytest.mark.parametrize("role", NOT_OWNER)
def test_the_last_owner_leaves_by_making_an_heir_owner(role: Role) -> None:
    org = an_org()
    owner, heir = a_member(Role.OWNER, org=org), a_member(role, org=org, invited_by=new_id("usr"))
    promoted = _leave(owner, heir.usr_id, heir)
    assert promoted is not None
    assert (promoted.role, promoted.status) == (Role.OWNER, Status.ACTIVE)
    assert (promoted.replaces, promoted.usr_id) == (heir.id, heir.usr_id)
    assert (promoted.invited_by, promoted.created_at) == (heir.invited_by, LATER)
    assert (heir.role, heir.status) == (role, Status.REVOKED)
    assert (owner.role, owner.status, owner.removed_by) == (Role.OWNER, Status.REVOKED, None)


def test_the_heir_of_the_last_owner_is_another_active_member() -> None:
    owner = a_member(Role.OWNER)
    with refused("precondition.self_transfer", owner):
        _leave(owner, owner.usr_id)
    with refused("not_found", owner):
        _leave(owner, new_id("usr"))


@pytest.mark.parametrize("admin_role, role", list(product([None, *Role], Role)))
@pytest.mark.parametrize("admin_status, status", list(product(Status, Status)))
def test_the_hierarchy_of_removal(
    admin_role: Role | None, role: Role, admin_status: Status, status: Status
) -> None:
    admin = a_member(admin_role, admin_status) if admin_role else None
    target, usr_id = a_member(role, status), admin.usr_id if admin else new_id("usr")
    refusal = None
    if status is Status.REVOKED:
        refusal = "precondition.mem_not_active"
    elif admin_role not in (Role.OWNER, Role.ADMIN) or admin_status is not Status.ACTIVE:
        refusal = "forbidden"
    elif role is Role.OWNER:
        refusal = "forbidden.role_hierarchy"
    elif role in (Role.VIEWER, Role.EDITOR):
        refusal = "precondition.scope_mismatch"
    if refusal:
        with refused(refusal, target):
            target.remove(admin, admin_usr_id=usr_id, at=LATER)
        return
    target.remove(admin, admin_usr_id=usr_id, at=LATER)
    assert (target.status, target.role) == (Status.REVOKED, role)
    assert (target.removed_by, target.updated_at) == (usr_id, LATER)


@pytest.mark.parametrize("role", Role)
def test_ownership_goes_over_in_two_successors_unless_the_target_owns_already(role: Role) -> None:
    org = an_org()
    donor, target = a_member(Role.OWNER, org=org), a_member(role, org=org)
    demoted, owner = donor.transfer_ownership(target, org_id=org.id, at=LATER)
    assert (demoted.role, demoted.replaces) == (Role.MEMBER, donor.id)
    assert (donor.role, donor.status, demoted.created_at) == (Role.OWNER, Status.REVOKED, LATER)
    assert {demoted.status, owner.status} == {Status.ACTIVE}
    assert (owner.role, target.role) == (Role.OWNER, role)
    if role is Role.OWNER:
        assert owner is target
        assert target.updated_at == NOW
    else:
        assert (owner.replaces, owner.created_at) == (target.id, LATER)
        assert target.status is Status.REVOKED


@pytest.mark.parametrize("status", INACTIVE)
def test_the_first_of_several_flaws_of_a_transfer_decides(status: Status) -> None:
    org = an_org()
    donor = a_member(Role.OWNER, org=org)
    target = a_member(org=org, usr_id=donor.usr_id)
    # Each flaw beside those above it.
    for entity, attribute, value, reason in (
        (target, "role", Role.MEMBER, "self_transfer"),
        (donor, "role", Role.ADMIN, "from_not_owner"),
        (target, "org_id", new_id("org"), "org_mismatch"),
        (target, "status", status, "to_not_active"),
        (donor, "status", status, "from_not_active"),
    ):
        setattr(entity, attribute, value)
        with refused(f"precondition.{reason}", donor, target):
            donor.transfer_ownership(target, org_id=org.id, at=LATER)


def test_a_transfer_names_the_organization_of_both() -> None:
    donor, stranger, neighbour = a_member(Role.OWNER), a_member(), a_member()
    neighbour.org_id = donor.org_id
    for target, org_id in (
        (stranger, donor.org_id),
        (stranger, stranger.org_id),
        (stranger, new_id("org")),
        (neighbour, new_id("org")),
    ):
        with refused("precondition.org_mismatch", donor, target):
            donor.transfer_ownership(target, org_id=org_id, at=LATER)


def test_the_refusal_of_a_second_membership_names_user_and_organization() -> None:
    membership = a_member()
    error = membership.already_active()
    assert error.code == "conflict.duplicate_membership"
    assert error.details == {"usr_id": membership.usr_id, "org_id": membership.org_id}


@pytest.mark.parametrize("role,status", list(product(Role, [Status.ACTIVE, Status.SUSPENDED])))
def test_an_organization_takes_its_memberships_along(role: Role, status: Status) -> None:
    membership = a_member(role, status)
    membership.end(LATER)
    assert (membership.status, membership.removed_by) == (Status.REVOKED, None)
    assert (membership.role, membership.updated_at) == (role, LATER)
    with refused("precondition.mem_not_active", membership):
        membership.end(LATER)
