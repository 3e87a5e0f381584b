"""self_leave and admin_remove on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from flametrench_tenancy_sqlalchemy import (
    ForbiddenError,
    Membership,
    NotFoundError,
    Organization,
    PreconditionError,
    Role,
    RoleHierarchyError,
    SoleOwnerError,
    Status,
    TenancyRepository,
    new_id,
)
from tests.support.actors import every_unauthorized_actor
from tests.support.sql import bare, grants_on, stored
from tests.support.stage import DAY, NOW, Stage

LATER = NOW + DAY
INACTIVE = [Status.SUSPENDED, Status.REVOKED]
ADMINISTRATORS = [Role.OWNER, Role.ADMIN]
REMOVABLE = [Role.ADMIN, Role.MEMBER, Role.GUEST]


@pytest.mark.parametrize("role", Role)
def test_leaving_revokes_the_membership_in_nobodys_name_and_takes_the_tuple_away(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    membership = stage.member(org, role)
    row = stored(stage.session, "mem", membership.id)
    founder = bare(stage.owner(org).usr_id)
    stage.clock.now = LATER
    assert tenancy.self_leave(membership.id) is membership
    after = row | {"status": "revoked", "removed_by": None, "updated_at": LATER}
    assert stored(stage.session, "mem", membership.id) == after
    assert grants_on(stage.session, org.id) == {(founder, "owner", founder)}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_a_last_owner_leaves_once_their_heir_is_owner(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, inviter = stage.org(), stage.user()
    owner = stage.owner(org)
    heir = tenancy.add_member(org.id, stage.user(), role, invited_by=inviter)
    row = stored(stage.session, "mem", heir.id)
    stage.clock.now = LATER
    tenancy.self_leave(owner.id, transfer_to=heir.usr_id)
    left = stored(stage.session, "mem", owner.id)
    assert (left["status"], left["removed_by"], left["updated_at"]) == ("revoked", None, LATER)
    revoked = {"status": "revoked", "removed_by": None, "updated_at": LATER}
    assert stored(stage.session, "mem", heir.id) == row | revoked
    promoted = tenancy.find_membership(org.id, heir.usr_id)
    assert promoted is not None
    assert stored(stage.session, "mem", promoted.id) == row | {
        "id": bare(promoted.id),
        "role": "owner",
        "replaces": bare(heir.id),
        "created_at": LATER,
        "updated_at": LATER,
    }
    assert grants_on(stage.session, org.id) == {(bare(heir.usr_id), "owner", None)}


@pytest.mark.parametrize("leaver", [Role.OWNER, Role.MEMBER])
@pytest.mark.parametrize("named", ["a member", "the leaver", "another owner", "nobody known"])
def test_an_heir_is_ignored_while_another_owner_remains(
    named: str, leaver: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    leaving, member = stage.member(org, leaver), stage.member(org)
    heirs = {
        "a member": member.usr_id,
        "the leaver": leaving.usr_id,
        "another owner": stage.owner(org).usr_id,
        "nobody known": new_id("usr"),
    }
    row = stored(stage.session, "mem", member.id)
    tenancy.self_leave(leaving.id, transfer_to=heirs[named])
    assert stored(stage.session, "mem", member.id) == row
    founder = bare(stage.owner(org).usr_id)
    assert grants_on(stage.session, org.id) == {
        (founder, "owner", founder),
        (bare(member.usr_id), "member", None),
    }


def test_self_leave_does_not_find_what_is_not_there(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id("mem")
    with stage.refuses(NotFoundError, parameter="mem_id", id=unknown):
        tenancy.self_leave(unknown)


@pytest.mark.parametrize("status", INACTIVE)
def test_only_an_active_member_leaves(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    mem_id = stage.member(stage.org(), status=status).id
    with stage.refuses(PreconditionError, "mem_not_active", mem_id=mem_id, status=status):
        tenancy.self_leave(mem_id)


def test_a_membership_that_is_not_active_is_refused_before_a_missing_owner(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    owner = stage.owner(stage.org(Status.REVOKED))
    for heir in (None, owner.usr_id, new_id("usr")):
        with stage.refuses(PreconditionError, "mem_not_active", mem_id=owner.id):
            tenancy.self_leave(owner.id, transfer_to=heir)


def test_a_last_owner_does_not_leave_without_an_heir(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    stage.member(org, Role.OWNER, Status.SUSPENDED)
    stage.member(org, Role.OWNER, Status.REVOKED)
    stage.member(org, Role.ADMIN)
    mem_id = stage.owner(org).id
    with stage.refuses(SoleOwnerError, mem_id=mem_id, org_id=org.id):
        tenancy.self_leave(mem_id)


def test_a_last_owner_is_not_their_own_heir(stage: Stage, tenancy: TenancyRepository) -> None:
    owner = stage.owner(stage.org())
    with stage.refuses(PreconditionError, "self_transfer"):
        tenancy.self_leave(owner.id, transfer_to=owner.usr_id)


@pytest.mark.parametrize("status", INACTIVE)
def test_an_heir_needs_an_active_membership_there(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    owner, former = stage.owner(org), stage.member(org, status=status)
    for heir in (former.usr_id, stage.member(stage.org()).usr_id, new_id("usr")):
        with stage.refuses(NotFoundError, parameter="transfer_to", id=heir, org_id=org.id):
            tenancy.self_leave(owner.id, transfer_to=heir)


@pytest.mark.parametrize("acting, role", list(product(ADMINISTRATORS, REMOVABLE)))
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
def test_an_administrator_removes_in_their_own_name(
    status: Status, acting: Role, role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    admin, target = stage.member(org, acting), stage.member(org, role, status)
    row = stored(stage.session, "mem", target.id)
    stage.clock.now = LATER
    assert tenancy.admin_remove(target.id, admin.usr_id) is target
    assert stored(stage.session, "mem", target.id) == row | {
        "status": "revoked",
        "removed_by": bare(admin.usr_id),
        "updated_at": LATER,
    }
    assert target.removed_by == admin.usr_id
    founder = bare(stage.owner(org).usr_id)
    assert grants_on(stage.session, org.id) == {
        (founder, "owner", founder),
        (bare(admin.usr_id), acting.value, None),
    }


def test_removing_a_suspended_member_leaves_their_later_membership_its_tuple(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    founder = stage.owner(org).usr_id
    suspended = stage.member(org, Role.MEMBER, Status.SUSPENDED)
    stage.member(org, Role.MEMBER, usr_id=suspended.usr_id)
    before = grants_on(stage.session, org.id)

    tenancy.admin_remove(suspended.id, founder)

    assert stored(stage.session, "mem", suspended.id)["status"] == "revoked"
    assert grants_on(stage.session, org.id) == before


def test_an_administrator_may_remove_themselves(stage: Stage, tenancy: TenancyRepository) -> None:
    admin = stage.member(stage.org(), Role.ADMIN)
    assert tenancy.admin_remove(admin.id, admin.usr_id).removed_by == admin.usr_id


@every_unauthorized_actor
@pytest.mark.parametrize("role", Role)
def test_who_is_no_administrator_is_refused_whatever_the_target_is(
    role: Role,
    actor: Callable[[Stage, Organization], str],
    stage: Stage,
    tenancy: TenancyRepository,
) -> None:
    org = stage.org()
    target, usr_id = stage.member(org, role), actor(stage, org)
    with stage.refuses(ForbiddenError, usr_id=usr_id, org_id=org.id):
        tenancy.admin_remove(target.id, usr_id)


def test_admin_remove_does_not_find_what_is_not_there(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id("mem")
    with stage.refuses(NotFoundError, parameter="mem_id", id=unknown):
        tenancy.admin_remove(unknown, new_id("usr"))


@pytest.mark.parametrize("role", Role)
def test_a_revoked_membership_is_refused_before_the_actor_is_looked_at(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    mem_id = stage.member(org, role, Status.REVOKED).id
    for usr_id in (stage.owner(org).usr_id, new_id("usr")):
        with stage.refuses(PreconditionError, "mem_not_active", mem_id=mem_id):
            tenancy.admin_remove(mem_id, usr_id)


@pytest.mark.parametrize("acting", ADMINISTRATORS)
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
def test_an_owner_is_not_removed(
    status: Status, acting: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    admin, target = stage.member(org, acting), stage.member(org, Role.OWNER, status)
    with stage.refuses(RoleHierarchyError, mem_id=target.id):
        tenancy.admin_remove(target.id, admin.usr_id)


def test_an_owner_does_not_remove_themselves(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    owner: Membership = stage.owner(org)
    stage.member(org, Role.OWNER)
    with stage.refuses(RoleHierarchyError, mem_id=owner.id):
        tenancy.admin_remove(owner.id, owner.usr_id)


@pytest.mark.parametrize("acting", ADMINISTRATORS)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
def test_a_role_outside_the_hierarchy_is_not_an_administrators_to_remove(
    role: Role, acting: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    admin, target = stage.member(org, acting), stage.member(org, role)
    with stage.refuses(PreconditionError, "scope_mismatch"):
        tenancy.admin_remove(target.id, admin.usr_id)
