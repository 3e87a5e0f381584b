"""Leaving, being removed and handing ownership over: what each writes."""

from __future__ import annotations

from datetime import datetime
from itertools import product

import pytest

from flametrench_tenancy_sqlalchemy import (
    Membership,
    Role,
    Status,
    TenancyRepository,
    new_id,
)
from tests.support.sql import Row
from tests.support.stage import DAY, NOW, TICK, Stage, mem, role_of, tup

LATER = NOW + DAY
OTHER_ROLES = [role for role in Role if role is not Role.OWNER]
REVOKED = {"status": "revoked", "updated_at": LATER}


def succession(old: Membership, new: Membership, role: Role) -> dict[str, Row | None]:
    """Return what is written where a membership is replaced by one in another role."""
    kept = {"replaces": old.id, "invited_by": old.invited_by}
    return {
        old.id: REVOKED,
        new.id: mem(old.usr_id, old.org_id, role, LATER, **kept),
        role_of(old): None,
        role_of(old, role): tup(at=LATER),
    }


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("named", ["nobody", "a member", "the leaver", "the owner", "a stranger"])
def test_leaving_ends_the_membership_in_nobodys_name_and_ignores_an_heir_while_an_owner_remains(
    named: str, role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    leaving = stage.member(org, role)
    heirs = {
        "nobody": None,
        "a member": stage.member(org).usr_id,
        "the leaver": leaving.usr_id,
        "the owner": stage.owner(org).usr_id,
        "a stranger": new_id("usr"),
    }
    stage.clock.now = LATER
    with stage.writes() as written:
        assert tenancy.self_leave(leaving.id, transfer_to=heirs[named]) is leaving
    assert written == {leaving.id: REVOKED, role_of(leaving): None}
    assert leaving.status is Status.REVOKED


@pytest.mark.parametrize("role", OTHER_ROLES)
def test_a_last_owner_leaves_once_their_heir_is_owner(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    owner = stage.owner(org)
    heir = tenancy.add_member(org.id, stage.user(), role, invited_by=stage.user())
    stage.clock.now = LATER
    with stage.writes() as written:
        assert tenancy.self_leave(owner.id, transfer_to=heir.usr_id) is owner
    promoted = tenancy.find_membership(org.id, heir.usr_id)
    assert promoted is not None
    left = {owner.id: REVOKED, role_of(owner): None}
    assert written == left | succession(heir, promoted, Role.OWNER)


@pytest.mark.parametrize(
    "acting, role",
    list(product([Role.OWNER, Role.ADMIN], [Role.ADMIN, Role.MEMBER, Role.GUEST])),
)
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
def test_an_administrator_removes_in_their_own_name(
    status: Status, acting: Role, role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    admin, target = stage.member(org, acting), stage.member(org, role, status)
    stage.clock.now = LATER
    with stage.writes() as written:
        assert tenancy.admin_remove(target.id, admin.usr_id) is target
    withdrawn = {role_of(target): None} if status is Status.ACTIVE else {}
    assert written == {target.id: REVOKED | {"removed_by": admin.usr_id}, **withdrawn}
    assert target.removed_by == admin.usr_id


def test_removing_a_suspended_member_leaves_their_later_membership_its_tuple(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    suspended = stage.member(org, Role.MEMBER, Status.SUSPENDED)
    stage.member(org, Role.MEMBER, usr_id=suspended.usr_id)
    founder = stage.owner(org).usr_id
    with stage.writes() as written:
        tenancy.admin_remove(suspended.id, founder)
    assert written == {suspended.id: {"status": "revoked", "removed_by": founder}}


def test_an_administrator_may_remove_themself(stage: Stage, tenancy: TenancyRepository) -> None:
    admin = stage.member(stage.org(), Role.ADMIN)
    assert tenancy.admin_remove(admin.id, admin.usr_id).removed_by == admin.usr_id


@pytest.mark.parametrize("role", Role)
def test_the_donor_becomes_member_and_the_target_owner_unless_they_are(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    donor = stage.owner(org)
    target = tenancy.add_member(org.id, stage.user(), role, invited_by=stage.user())
    stage.clock.now = LATER
    with stage.writes() as written:
        result = tenancy.transfer_ownership(org.id, donor.id, target.id)
    expected = succession(donor, result.from_membership, Role.MEMBER)
    if role is Role.OWNER:
        assert result.to_membership is target
    else:
        expected |= succession(target, result.to_membership, Role.OWNER)
    assert written == expected


@pytest.mark.parametrize("time", [NOW - DAY, NOW, NOW + TICK], ids=str)
def test_history_reads_in_order_whatever_the_clock_says(
    time: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    donor, target = stage.owner(org), stage.member(org)
    stage.clock.now = time
    result = tenancy.transfer_ownership(org.id, donor.id, target.id)
    for new in (result.from_membership, result.to_membership):
        assert (new.created_at, new.updated_at) == (NOW + TICK, NOW + TICK)
