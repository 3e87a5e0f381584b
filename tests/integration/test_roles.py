"""change_role on PostgreSQL: revoke and re-add."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise, permutations

import pytest

from flametrench_tenancy_sqlalchemy import (
    NotFoundError,
    PreconditionError,
    Role,
    SoleOwnerError,
    Status,
    TenancyRepository,
    new_id,
)
from tests.support.sql import bare, everything, grants_on, stored
from tests.support.stage import DAY, NOW, TICK, Stage

LATER = NOW + DAY


@pytest.mark.parametrize("old, new", list(permutations(Role, 2)))
def test_a_changed_role_is_a_new_row_that_replaces_the_old_one(
    old: Role, new: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, usr_id, inviter = stage.org(), stage.user(), stage.user()
    membership = tenancy.add_member(org.id, usr_id, old, invited_by=inviter)
    row = stored(stage.session, "mem", membership.id)
    founder = bare(stage.owner(org).usr_id)
    stage.clock.now = LATER
    successor = tenancy.change_role(membership.id, new)
    assert stored(stage.session, "mem", membership.id) == row | {
        "status": "revoked",
        "removed_by": None,
        "updated_at": LATER,
    }
    assert stored(stage.session, "mem", successor.id) == row | {
        "id": bare(successor.id),
        "role": new.value,
        "replaces": bare(membership.id),
        "created_at": LATER,
        "updated_at": LATER,
    }
    assert (successor.usr_id, successor.org_id) == (usr_id, org.id)
    assert (successor.replaces, successor.invited_by) == (membership.id, inviter)
    assert successor.id > membership.id
    assert grants_on(stage.session, org.id) == {
        (founder, "owner", founder),
        (bare(usr_id), new.value, None),
    }


@pytest.mark.parametrize(
    "time, expected",
    [
        (NOW, NOW + TICK),
        (NOW - timedelta(hours=1), NOW + TICK),
        (NOW + TICK, NOW + TICK),
        (NOW + 2 * TICK, NOW + 2 * TICK),
    ],
    ids=["frozen", "behind", "just enough", "ahead"],
)
def test_history_reads_in_order_whatever_the_clock_says(
    time: datetime, expected: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org())
    stage.clock.now = time
    successor = tenancy.change_role(membership.id, Role.ADMIN)
    assert stored(stage.session, "mem", successor.id)["created_at"] == expected
    assert stored(stage.session, "mem", successor.id)["updated_at"] == expected
    assert stored(stage.session, "mem", membership.id)["updated_at"] == time


def test_a_frozen_clock_still_makes_a_chain_of_roles(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    chain = [stage.member(stage.org(), Role.GUEST)]
    for role in (Role.MEMBER, Role.EDITOR, Role.ADMIN, Role.OWNER, Role.GUEST):
        chain.append(tenancy.change_role(chain[-1].id, role))
    for older, newer in pairwise(stored(stage.session, "mem", m.id) for m in chain):
        assert newer["replaces"] == older["id"]
        assert newer["created_at"] == older["created_at"] + TICK
        assert (older["status"], older["removed_by"]) == ("revoked", None)
    assert chain[-1].status is Status.ACTIVE


@pytest.mark.parametrize("role", Role)
def test_the_role_held_already_changes_nothing(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), role)
    rows = everything(stage.session)
    stage.clock.now = LATER
    assert tenancy.change_role(membership.id, role) is membership
    assert everything(stage.session) == rows


def test_a_last_owner_may_be_made_owner(stage: Stage, tenancy: TenancyRepository) -> None:
    owner = stage.owner(stage.org())
    rows = everything(stage.session)
    assert tenancy.change_role(owner.id, "owner") is owner
    assert everything(stage.session) == rows


def test_an_owner_beside_another_may_step_down(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    owner, other = stage.owner(org), stage.member(org, Role.OWNER)
    tenancy.change_role(owner.id, Role.GUEST)
    assert grants_on(stage.session, org.id) == {
        (bare(other.usr_id), "owner", None),
        (bare(owner.usr_id), "guest", None),
    }


def test_change_role_does_not_find_what_is_not_there(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id("mem")
    with stage.refuses(NotFoundError, parameter="mem_id", id=unknown):
        tenancy.change_role(unknown, Role.ADMIN)


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.REVOKED])
@pytest.mark.parametrize("role", Role)
def test_a_membership_that_is_not_active_is_refused_even_its_own_role(
    role: Role, status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    mem_id = stage.member(stage.org(), Role.GUEST, status).id
    with stage.refuses(PreconditionError, "mem_not_active", mem_id=mem_id, status=status):
        tenancy.change_role(mem_id, role)


def test_a_membership_that_is_not_active_is_refused_before_a_missing_owner(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    mem_id = stage.owner(stage.org(Status.REVOKED)).id
    with stage.refuses(PreconditionError, "mem_not_active", mem_id=mem_id):
        tenancy.change_role(mem_id, Role.ADMIN)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_the_last_active_owner_stays_owner(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    stage.member(org, Role.OWNER, Status.SUSPENDED)
    stage.member(org, Role.OWNER, Status.REVOKED)
    stage.member(org, Role.ADMIN)
    stage.member(stage.org(), Role.OWNER)
    mem_id = stage.owner(org).id
    with stage.refuses(SoleOwnerError, mem_id=mem_id, org_id=org.id):
        tenancy.change_role(mem_id, role)
