"""add_member, get_membership and find_membership on PostgreSQL."""

from __future__ import annotations

from enum import Enum

import pytest

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    NotFoundError,
    PreconditionError,
    Role,
    Status,
    TenancyRepository,
    new_id,
)
from tests.support.sql import bare, grants_on, stored
from tests.support.stage import DAY, NOW, Stage

INACTIVE = [Status.SUSPENDED, Status.REVOKED]


class PeersRole(Enum):
    """Another package's enumeration of the same words."""

    EDITOR = "editor"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("invited", [True, False])
def test_add_member_writes_a_membership_and_its_tuple(
    role: Role, invited: bool, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, usr_id = stage.org(), stage.user()
    founder = stage.owner(org).usr_id
    inviter = founder if invited else None
    membership = tenancy.add_member(org.id, usr_id, role, invited_by=inviter)
    inviter_uuid = bare(founder) if invited else None
    assert stored(stage.session, "mem", membership.id) == {
        "id": bare(membership.id),
        "usr_id": bare(usr_id),
        "org_id": bare(org.id),
        "role": role.value,
        "status": "active",
        "replaces": None,
        "invited_by": inviter_uuid,
        "removed_by": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert grants_on(stage.session, org.id) == {
        (bare(founder), "owner", bare(founder)),
        (bare(usr_id), role.value, inviter_uuid),
    }


def test_add_member_returns_what_it_wrote(stage: Stage, tenancy: TenancyRepository) -> None:
    org, usr_id, inviter = stage.org(), stage.user(), stage.user()
    membership = tenancy.add_member(org.id, usr_id, Role.ADMIN, invited_by=inviter)
    assert membership.id.startswith("mem_")
    assert (membership.org_id, membership.usr_id) == (org.id, usr_id)
    assert (membership.role, membership.status) == (Role.ADMIN, Status.ACTIVE)
    assert (membership.invited_by, membership.organization) == (inviter, org)


@pytest.mark.parametrize("role", [Role.EDITOR, "editor", PeersRole.EDITOR])
def test_a_role_may_be_given_as_its_word_or_as_another_packages_enum(
    role: Role | str, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = tenancy.add_member(stage.org().id, stage.user(), role)
    assert membership.role is Role.EDITOR
    assert tenancy.change_role(membership.id, role) is membership


@pytest.mark.parametrize("status", INACTIVE)
def test_a_membership_that_is_not_active_does_not_keep_its_user_out(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    old = stage.member(org, Role.GUEST, status)
    row = stored(stage.session, "mem", old.id)
    stage.clock.now += DAY
    new = tenancy.add_member(org.id, old.usr_id, Role.ADMIN)
    assert new.id > old.id
    assert new.replaces is None
    assert stored(stage.session, "mem", old.id) == row


def test_a_user_may_be_a_member_of_many_organizations(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org())
    other = stage.org()
    assert tenancy.add_member(other.id, membership.usr_id, Role.GUEST).org_id == other.id


def test_add_member_does_not_find_an_organization_that_is_not_there(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown, stranger = new_id("org"), new_id("usr")
    with stage.refuses(NotFoundError, parameter="org_id", id=unknown):
        tenancy.add_member(unknown, stranger, Role.MEMBER)


@pytest.mark.parametrize("status", INACTIVE)
def test_nobody_joins_an_organization_that_is_not_active(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org(status)
    for usr_id in (stage.user(), stage.owner(org).usr_id, new_id("usr")):
        with stage.refuses(PreconditionError, "org_not_active", org_id=org.id, status=status):
            tenancy.add_member(org.id, usr_id, Role.MEMBER, invited_by=new_id("usr"))


def test_add_member_misses_the_user_before_the_inviter(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, unknown = stage.org(), new_id("usr")
    for inviter in (None, stage.user(), new_id("usr")):
        with stage.refuses(NotFoundError, parameter="usr_id", id=unknown):
            tenancy.add_member(org.id, unknown, Role.MEMBER, invited_by=inviter)


def test_add_member_misses_the_inviter_before_it_minds_the_duplicate(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, unknown = stage.org(), new_id("usr")
    for usr_id in (stage.user(), stage.member(org).usr_id):
        with stage.refuses(NotFoundError, parameter="invited_by", id=unknown):
            tenancy.add_member(org.id, usr_id, Role.MEMBER, invited_by=unknown)


@pytest.mark.parametrize("role", Role)
def test_a_user_is_an_active_member_once(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    usr_id, inviter = stage.member(org, role).usr_id, stage.owner(org).usr_id
    for again in Role:
        with stage.refuses(DuplicateMembershipError, usr_id=usr_id, org_id=org.id):
            tenancy.add_member(org.id, usr_id, again, invited_by=inviter)


@pytest.mark.parametrize("status", Status)
def test_a_membership_is_found_by_id_in_any_status(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), status=status)
    found = tenancy.get_membership(membership.id)
    assert (found.id, found.status) == (membership.id, status)


def test_get_membership_does_not_find_what_is_not_there(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id("mem")
    with stage.refuses(NotFoundError, parameter="mem_id", id=unknown):
        tenancy.get_membership(unknown)


def test_find_membership_finds_the_active_one(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    suspended = stage.member(org, status=Status.SUSPENDED)
    active = stage.member(org, Role.GUEST, usr_id=suspended.usr_id)
    stage.member(org, Role.GUEST)
    assert tenancy.find_membership(org.id, active.usr_id) is active


@pytest.mark.parametrize("status", INACTIVE)
def test_find_membership_finds_none_where_none_is_active(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, elsewhere = stage.org(), stage.member(stage.org())
    former = stage.member(org, status=status)
    for usr_id in (former.usr_id, elsewhere.usr_id, new_id("usr")):
        assert tenancy.find_membership(org.id, usr_id) is None
    assert tenancy.find_membership(new_id("org"), elsewhere.usr_id) is None


def test_members_are_counted_in_one_status_or_all(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    for status in (Status.ACTIVE, Status.SUSPENDED, Status.SUSPENDED):
        stage.member(org, status=status)
    stage.member(stage.org())
    assert tenancy.count_members(org.id) == 4
    assert tenancy.count_members(org.id, status=Status.ACTIVE) == 2
    assert tenancy.count_members(org.id, status="suspended") == 2
    assert tenancy.count_members(org.id, status=Status.REVOKED) == 0


def test_the_members_of_no_organization_are_not_counted(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id("org")
    for status in (None, Status.ACTIVE):
        with stage.refuses(NotFoundError, parameter="org_id", id=unknown):
            tenancy.count_members(unknown, status=status)
