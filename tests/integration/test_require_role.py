"""require_role on PostgreSQL: the request guard."""

from __future__ import annotations

from itertools import product

import pytest

from flametrench_tenancy_sqlalchemy import (
    ForbiddenError,
    PreconditionError,
    Role,
    Status,
    TenancyRepository,
    new_id,
)
from tests.support.stage import Stage

INACTIVE = [Status.SUSPENDED, Status.REVOKED]


@pytest.mark.parametrize("role", Role)
def test_any_active_member_passes_where_no_role_is_named(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), role)
    assert tenancy.require_role(membership.org_id, membership.usr_id) is membership


@pytest.mark.parametrize("held, named", list(product(Role, Role)))
def test_only_the_roles_that_are_named_pass(
    held: Role, named: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), held)
    org_id, usr_id = membership.org_id, membership.usr_id
    if held is named:
        assert tenancy.require_role(org_id, usr_id, named) is membership
    else:
        with stage.refuses(ForbiddenError, org_id=org_id, usr_id=usr_id, roles=[named]):
            tenancy.require_role(org_id, usr_id, named)


def test_one_of_the_roles_is_enough_and_words_will_do(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), Role.ADMIN)
    guard = (membership.org_id, membership.usr_id)
    assert tenancy.require_role(*guard, Role.OWNER, "admin") is membership
    with stage.refuses(ForbiddenError, roles=[Role.OWNER, Role.EDITOR]):
        tenancy.require_role(*guard, "owner", Role.EDITOR)


@pytest.mark.parametrize("status", INACTIVE)
def test_a_membership_that_is_not_active_does_not_pass(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    membership = stage.member(stage.org(), status=status)
    with stage.refuses(ForbiddenError, usr_id=membership.usr_id):
        tenancy.require_role(membership.org_id, membership.usr_id)


@pytest.mark.parametrize("status", INACTIVE)
def test_nobody_passes_into_an_organization_that_is_not_active(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    owner = stage.owner(stage.org(status))
    with stage.refuses(ForbiddenError, org_id=owner.org_id):
        tenancy.require_role(owner.org_id, owner.usr_id, Role.OWNER)


def test_a_membership_elsewhere_does_not_pass(stage: Stage, tenancy: TenancyRepository) -> None:
    org, owner = stage.org(), stage.owner(stage.org())
    for org_id, usr_id in (
        (org.id, owner.usr_id),
        (org.id, new_id("usr")),
        (new_id("org"), owner.usr_id),
    ):
        with stage.refuses(ForbiddenError, org_id=org_id, usr_id=usr_id):
            tenancy.require_role(org_id, usr_id)


def test_an_unknown_role_is_a_mistake_of_the_caller_even_beside_a_known_one(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    owner = stage.owner(stage.org())
    with stage.refuses(PreconditionError, "role_format", parameter="roles"):
        tenancy.require_role(owner.org_id, owner.usr_id, Role.OWNER, "boss")
