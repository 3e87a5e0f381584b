"""The rules of a membership while it lasts: joining, roles, suspension."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import permutations

import pytest

from flametrench_tenancy_sqlalchemy import (
    Membership,
    PreconditionError,
    PreTuple,
    Role,
    SoleOwnerError,
    Status,
    new_id,
)
from flametrench_tenancy_sqlalchemy.models.tuple import TupleKey
from tests.support.entities import EARLIER, LATER, NOW, TICK, a_member, an_org, refused

INACTIVE = [Status.SUSPENDED, Status.REVOKED]


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


@pytest.mark.parametrize("status", INACTIVE)
def test_nobody_joins_an_organization_that_is_not_active(status: Status) -> None:
    with refused(PreconditionError, reason="org_not_active"):
        Membership.join(an_org(status), new_id("usr"), Role.MEMBER, at=NOW)


@pytest.mark.parametrize("role", Role)
def test_its_grant_is_its_role_on_the_organization(role: Role) -> None:
    membership = a_member(role)
    assert membership.grant == PreTuple(role.value, "org", membership.org_id)
    assert membership.tuple_key == TupleKey.of(membership.usr_id, membership.grant)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("status", Status)
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


@pytest.mark.parametrize("at", [EARLIER, NOW])
def test_a_successor_is_younger_even_where_the_clock_stands_still_or_runs_backwards(
    at: datetime,
) -> None:
    membership = a_member()
    successor = membership.change_role(Role.ADMIN, other_owners=[], at=at)
    assert successor.created_at == NOW + TICK


def test_a_history_reads_in_order_under_a_clock_that_only_runs_backwards() -> None:
    history = [a_member(Role.OWNER)]
    others = [a_member(Role.OWNER)]
    for steps, role in enumerate([Role.ADMIN, Role.MEMBER, Role.OWNER, Role.GUEST], start=1):
        at = NOW - steps * TICK
        history.append(history[-1].change_role(role, other_owners=others, at=at))
    times = [membership.created_at for membership in history]
    assert times == sorted(set(times))
    assert [m.id for m in history[:-1]] == [m.replaces for m in history[1:]]


def test_the_first_change_of_an_instant_does_not_wait_for_the_clock() -> None:
    assert a_member().change_role(Role.ADMIN, other_owners=[], at=NOW + TICK).created_at == (
        NOW + TICK
    )


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_the_last_owner_stays_owner(role: Role) -> None:
    owner = a_member(Role.OWNER)
    with refused(SoleOwnerError, owner):
        owner.change_role(role, other_owners=[], at=LATER)


def test_the_last_owner_is_not_suspended() -> None:
    owner = a_member(Role.OWNER)
    with refused(SoleOwnerError, owner):
        owner.suspend(other_owners=[], at=LATER)


@pytest.mark.parametrize("status", INACTIVE)
@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.change_role(Role.ADMIN, other_owners=[], at=LATER),
        lambda m: m.change_role(m.role, other_owners=[], at=LATER),
        lambda m: m.suspend(other_owners=[], at=LATER),
        lambda m: m.leave(other_owners=[], transfer_to=None, heir=None, at=LATER),
    ],
    ids=["change_role", "same_role", "suspend", "leave"],
)
def test_only_an_active_membership_changes_and_that_is_asked_first(
    change: Callable[[Membership], object], status: Status
) -> None:
    owner = a_member(Role.OWNER, status)
    with refused(PreconditionError, owner, reason="mem_not_active"):
        change(owner)


@pytest.mark.parametrize("role", Role)
def test_suspension_and_reinstatement(role: Role) -> None:
    membership = a_member(role)
    membership.suspend(other_owners=[a_member(Role.OWNER)], at=LATER)
    assert (membership.status, membership.updated_at) == (Status.SUSPENDED, LATER)
    membership.reinstate(LATER + TICK)
    assert (membership.status, membership.updated_at) == (Status.ACTIVE, LATER + TICK)
    assert (membership.role, membership.created_at) == (role, NOW)


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.REVOKED])
def test_only_a_suspended_membership_is_reinstated_and_that_is_asked_first(status: Status) -> None:
    membership = a_member(status=status)
    membership.organization.status = Status.SUSPENDED
    with refused(PreconditionError, membership, reason="invalid_transition"):
        membership.reinstate(LATER)


@pytest.mark.parametrize("status", INACTIVE)
def test_nobody_is_reinstated_in_an_organization_that_is_not_active(status: Status) -> None:
    membership = a_member(status=Status.SUSPENDED)
    membership.organization.status = status
    with refused(PreconditionError, membership, reason="org_not_active"):
        membership.reinstate(LATER)
