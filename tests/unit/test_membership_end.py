"""The rules of leaving, of removal, and of handing ownership on."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    ForbiddenError,
    NotFoundError,
    PreconditionError,
    Role,
    RoleHierarchyError,
    SoleOwnerError,
    Status,
    new_id,
)
from tests.support.entities import EARLIER, LATER, NOW, TICK, a_member, an_org, refused

NOT_OWNER = [role for role in Role if role is not Role.OWNER]


@pytest.mark.parametrize("role", NOT_OWNER)
def test_whoever_is_no_owner_leaves_and_names_no_heir(role: Role) -> None:
    membership = a_member(role)
    heir = a_member()
    promoted = membership.leave(other_owners=[], transfer_to=heir.usr_id, heir=heir, at=LATER)
    assert promoted is None
    assert heir.role is Role.MEMBER
    assert (membership.status, membership.removed_by) == (Status.REVOKED, None)
    assert (membership.role, membership.updated_at) == (role, LATER)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
def test_an_organization_takes_its_memberships_along(role: Role, status: Status) -> None:
    membership = a_member(role, status)
    membership.end(LATER)
    assert (membership.status, membership.removed_by) == (Status.REVOKED, None)
    assert (membership.role, membership.updated_at) == (role, LATER)


def test_who_left_before_has_not_ended_with_the_organization() -> None:
    membership = a_member(status=Status.REVOKED)
    with refused(PreconditionError, membership, reason="mem_not_active"):
        membership.end(LATER)


@pytest.mark.parametrize("transfer_to", ["nobody", "the leaver", "a member"])
def test_an_owner_among_others_leaves_whatever_heir_is_named(transfer_to: str) -> None:
    owner, heir = a_member(Role.OWNER), a_member()
    named = {"nobody": None, "the leaver": owner.usr_id, "a member": heir.usr_id}[transfer_to]
    promoted = owner.leave(
        other_owners=[a_member(Role.OWNER)], transfer_to=named, heir=heir, at=LATER
    )
    assert promoted is None
    assert (owner.status, heir.role, heir.status) == (Status.REVOKED, Role.MEMBER, Status.ACTIVE)


@pytest.mark.parametrize("role", NOT_OWNER)
def test_the_last_owner_leaves_by_making_an_heir_owner(role: Role) -> None:
    org = an_org()
    owner, heir = a_member(Role.OWNER, org=org), a_member(role, org=org, invited_by=new_id("usr"))
    promoted = owner.leave(other_owners=[], transfer_to=heir.usr_id, heir=heir, at=LATER)

    assert promoted is not None
    assert (promoted.role, promoted.status) == (Role.OWNER, Status.ACTIVE)
    assert (promoted.replaces, promoted.usr_id) == (heir.id, heir.usr_id)
    assert promoted.invited_by == heir.invited_by
    assert promoted.created_at == LATER
    assert (heir.role, heir.status) == (role, Status.REVOKED)
    assert (owner.role, owner.status, owner.removed_by) == (Role.OWNER, Status.REVOKED, None)


def test_the_last_owner_must_name_an_heir() -> None:
    owner = a_member(Role.OWNER)
    with refused(SoleOwnerError, owner):
        owner.leave(other_owners=[], transfer_to=None, heir=None, at=LATER)


def test_the_last_owner_is_not_their_own_heir() -> None:
    owner = a_member(Role.OWNER)
    with refused(PreconditionError, owner, reason="self_transfer"):
        owner.leave(other_owners=[], transfer_to=owner.usr_id, heir=None, at=LATER)


def test_the_heir_must_be_an_active_member() -> None:
    owner = a_member(Role.OWNER)
    with refused(NotFoundError, owner):
        owner.leave(other_owners=[], transfer_to=new_id("usr"), heir=None, at=LATER)


def test_an_heir_is_younger_as_owner_than_before_whatever_the_clock_says() -> None:
    owner, heir = a_member(Role.OWNER), a_member()
    promoted = owner.leave(other_owners=[], transfer_to=heir.usr_id, heir=heir, at=EARLIER)
    assert promoted is not None
    assert promoted.created_at == NOW + TICK


def _verdict(admin: Role, target: Role) -> tuple[Any, str | None] | None:
    """What the specification says of one removal; ``None`` where it is allowed."""
    if admin not in (Role.OWNER, Role.ADMIN):
        return ForbiddenError, None
    return {
        Role.OWNER: (RoleHierarchyError, None),
        Role.VIEWER: (PreconditionError, "scope_mismatch"),
        Role.EDITOR: (PreconditionError, "scope_mismatch"),
    }.get(target)


@pytest.mark.parametrize("admin_role, role", list(product(Role, Role)))
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
def test_the_hierarchy_of_removal(admin_role: Role, role: Role, status: Status) -> None:
    admin, target = a_member(admin_role), a_member(role, status)
    verdict = _verdict(admin_role, role)
    if verdict:
        error, reason = verdict
        with refused(error, admin, target, reason=reason):
            target.remove(admin, admin_usr_id=admin.usr_id, at=LATER)
        return
    target.remove(admin, admin_usr_id=admin.usr_id, at=LATER)
    assert (target.status, target.role) == (Status.REVOKED, role)
    assert (target.removed_by, target.updated_at) == (admin.usr_id, LATER)


@pytest.mark.parametrize("role", Role)
def test_a_stranger_removes_nobody(role: Role) -> None:
    target = a_member(role)
    with refused(ForbiddenError, target):
        target.remove(None, admin_usr_id=new_id("usr"), at=LATER)


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.REVOKED])
def test_an_administrator_of_old_removes_nobody(status: Status) -> None:
    admin, target = a_member(Role.OWNER, status), a_member()
    with refused(ForbiddenError, target):
        target.remove(admin, admin_usr_id=admin.usr_id, at=LATER)


@pytest.mark.parametrize("role", Role)
def test_a_revoked_membership_is_not_removed_again_whoever_asks(role: Role) -> None:
    target = a_member(role, Status.REVOKED)
    with refused(PreconditionError, target, reason="mem_not_active"):
        target.remove(None, admin_usr_id=new_id("usr"), at=LATER)


def test_an_administrator_may_remove_themselves() -> None:
    admin = a_member(Role.ADMIN)
    admin.remove(admin, admin_usr_id=admin.usr_id, at=LATER)
    assert (admin.status, admin.removed_by) == (Status.REVOKED, admin.usr_id)


@pytest.mark.parametrize("role", NOT_OWNER)
def test_ownership_goes_over_in_two_successors(role: Role) -> None:
    org = an_org()
    donor, target = a_member(Role.OWNER, org=org), a_member(role, org=org)
    demoted, owner = donor.transfer_ownership(target, org_id=org.id, at=LATER)

    assert (demoted.role, demoted.replaces) == (Role.MEMBER, donor.id)
    assert (owner.role, owner.replaces) == (Role.OWNER, target.id)
    assert {donor.status, target.status} == {Status.REVOKED}
    assert {demoted.status, owner.status} == {Status.ACTIVE}
    assert (donor.role, target.role) == (Role.OWNER, role)
    assert demoted.created_at == owner.created_at == LATER


def test_a_target_that_owns_already_stays_as_it_is() -> None:
    org = an_org()
    donor, target = a_member(Role.OWNER, org=org), a_member(Role.OWNER, org=org)
    demoted, owner = donor.transfer_ownership(target, org_id=org.id, at=LATER)
    assert owner is target
    assert (target.status, target.updated_at) == (Status.ACTIVE, NOW)
    assert (demoted.role, donor.status) == (Role.MEMBER, Status.REVOKED)


def test_both_successors_of_a_transfer_are_younger_whatever_the_clock_says() -> None:
    org = an_org()
    donor, target = a_member(Role.OWNER, org=org), a_member(org=org)
    demoted, owner = donor.transfer_ownership(target, org_id=org.id, at=EARLIER)
    assert demoted.created_at == owner.created_at == NOW + TICK


TRANSFER_CHECKS = [
    "from_not_active",
    "to_not_active",
    "org_mismatch",
    "from_not_owner",
    "self_transfer",
]


@pytest.mark.parametrize("first", range(len(TRANSFER_CHECKS)), ids=TRANSFER_CHECKS)
@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.REVOKED])
def test_the_first_of_several_flaws_of_a_transfer_decides(first: int, status: Status) -> None:
    flaws = TRANSFER_CHECKS[first:]
    org = an_org()
    donor = a_member(Role.ADMIN if "from_not_owner" in flaws else Role.OWNER, org=org)
    target = a_member(
        org=an_org() if "org_mismatch" in flaws else org,
        usr_id=donor.usr_id,
    )
    donor.status = status if "from_not_active" in flaws else Status.ACTIVE
    target.status = status if "to_not_active" in flaws else Status.ACTIVE
    with refused(PreconditionError, donor, target, reason=flaws[0]):
        donor.transfer_ownership(target, org_id=org.id, at=LATER)


@pytest.mark.parametrize("meant", ["the donor's", "the target's", "a third"])
def test_a_transfer_names_the_organization_of_both(meant: str) -> None:
    donor, target = a_member(Role.OWNER), a_member()
    org_id = {"the donor's": donor.org_id, "the target's": target.org_id}.get(meant, new_id("org"))
    with refused(PreconditionError, donor, target, reason="org_mismatch"):
        donor.transfer_ownership(target, org_id=org_id, at=LATER)


def test_two_memberships_in_another_organization_than_the_one_that_is_named() -> None:
    org = an_org()
    donor, target = a_member(Role.OWNER, org=org), a_member(org=org)
    with refused(PreconditionError, donor, target, reason="org_mismatch"):
        donor.transfer_ownership(target, org_id=new_id("org"), at=LATER)


def test_the_refusal_of_a_second_membership_names_user_and_organization() -> None:
    membership = a_member()
    error = membership.already_active()
    assert type(error) is DuplicateMembershipError
    assert error.details == {"usr_id": membership.usr_id, "org_id": membership.org_id}
