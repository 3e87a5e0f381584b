"""suspend_membership and reinstate_membership on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import load_only

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    NotFoundError,
    PreconditionError,
    Role,
    SoleOwnerError,
    Status,
    TenancyRepository,
    Tuple,
    new_id,
)
from tests.support.sql import bare, grants_on, stored
from tests.support.stage import DAY, NOW, Stage

LATER = NOW + DAY
INACTIVE = [Status.SUSPENDED, Status.REVOKED]


@pytest.mark.parametrize("role", Role)
def test_suspending_changes_the_status_and_takes_the_tuple_away(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    membership = stage.member(org, role)
    row = stored(stage.session, "mem", membership.id)
    founder = bare(stage.owner(org).usr_id)
    stage.clock.now = LATER
    assert tenancy.suspend_membership(membership.id) is membership
    assert membership.status is Status.SUSPENDED
    after = row | {"status": "suspended", "updated_at": LATER}
    assert stored(stage.session, "mem", membership.id) == after
    assert grants_on(stage.session, org.id) == {(founder, "owner", founder)}


def test_a_tuple_that_the_session_has_loaded_in_part_is_no_obstacle(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), Role.MEMBER)
    in_part = select(Tuple).options(load_only(Tuple.relation))
    held = stage.session.scalars(in_part).all()
    assert tenancy.suspend_membership(membership.id).status is Status.SUSPENDED
    del held


@pytest.mark.parametrize("role", Role)
def test_reinstating_brings_the_status_and_the_tuple_back(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    membership = stage.member(org, role, Status.SUSPENDED)
    row = stored(stage.session, "mem", membership.id)
    founder = bare(stage.owner(org).usr_id)
    stage.clock.now = LATER
    assert tenancy.reinstate_membership(membership.id) is membership
    assert membership.status is Status.ACTIVE
    after = row | {"status": "active", "updated_at": LATER}
    assert stored(stage.session, "mem", membership.id) == after
    assert grants_on(stage.session, org.id) == {
        (founder, "owner", founder),
        (bare(membership.usr_id), role.value, None),
    }


def test_the_clocks_time_stands_even_when_the_clock_stands_still(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org())
    tenancy.suspend_membership(membership.id)
    assert stored(stage.session, "mem", membership.id)["updated_at"] == NOW
    tenancy.reinstate_membership(membership.id)
    assert stored(stage.session, "mem", membership.id)["updated_at"] == NOW


def test_a_membership_that_is_not_there_is_not_found(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id("mem")
    with stage.refuses(NotFoundError, parameter="mem_id", id=unknown):
        tenancy.suspend_membership(unknown)
    with stage.refuses(NotFoundError, parameter="mem_id", id=unknown):
        tenancy.reinstate_membership(unknown)


@pytest.mark.parametrize("status", INACTIVE)
def test_only_an_active_membership_is_suspended(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    mem_id = stage.member(stage.org(), status=status).id
    with stage.refuses(PreconditionError, "mem_not_active", mem_id=mem_id, status=status):
        tenancy.suspend_membership(mem_id)


def test_a_membership_that_is_not_active_is_refused_before_a_missing_owner(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    mem_id = stage.owner(stage.org(Status.REVOKED)).id
    with stage.refuses(PreconditionError, "mem_not_active", mem_id=mem_id):
        tenancy.suspend_membership(mem_id)


def test_the_last_active_owner_is_not_suspended(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    stage.member(org, Role.OWNER, Status.SUSPENDED)
    stage.member(org, Role.OWNER, Status.REVOKED)
    stage.member(org, Role.ADMIN)
    stage.member(stage.org(), Role.OWNER)
    mem_id = stage.owner(org).id
    with stage.refuses(SoleOwnerError, mem_id=mem_id, org_id=org.id):
        tenancy.suspend_membership(mem_id)


def test_an_owner_beside_another_is_suspended(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    other = stage.member(org, Role.OWNER)
    assert tenancy.suspend_membership(stage.owner(org).id).status is Status.SUSPENDED
    assert grants_on(stage.session, org.id) == {(bare(other.usr_id), "owner", None)}


@pytest.mark.parametrize("org_status", Status)
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.REVOKED])
def test_only_a_suspended_membership_is_reinstated_in_whatever_organization(
    status: Status, org_status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    membership = stage.member(org, status=status)
    stage.set_status(org, org_status)
    with stage.refuses(PreconditionError, "invalid_transition", mem_id=membership.id):
        tenancy.reinstate_membership(membership.id)


def test_nobody_is_reinstated_while_the_organization_is_suspended_duplicate_or_not(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    lone, doubled = (stage.member(org, status=Status.SUSPENDED) for _ in range(2))
    stage.member(org, usr_id=doubled.usr_id)
    tenancy.suspend_org(org.id)
    for membership in (lone, doubled):
        with stage.refuses(PreconditionError, "org_not_active", org_id=org.id):
            tenancy.reinstate_membership(membership.id)


def test_nobody_is_reinstated_beside_their_active_membership(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    suspended = stage.member(org, status=Status.SUSPENDED)
    stage.member(org, Role.ADMIN, usr_id=suspended.usr_id)
    with stage.refuses(DuplicateMembershipError, usr_id=suspended.usr_id, org_id=org.id):
        tenancy.reinstate_membership(suspended.id)
