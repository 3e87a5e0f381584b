"""Every operation of the repository has its door, with the same signature and types."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, assert_type

import pytest

from flametrench_tenancy_sqlalchemy import (
    AcceptInvitationResult,
    CreateOrgResult,
    InMemoryTenancyStore,
    Invitation,
    InvitationRequest,
    Membership,
    Organization,
    Outcome,
    Page,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
    TenancyStore,
    TransferOwnershipResult,
    Tuple,
)
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyRepository, AsyncTenancyStore
from tests.support.calls import CALLS

if TYPE_CHECKING:
    from datetime import datetime

AWAITED = [AsyncTenancyRepository, AsyncTenancyStore]
DOORS = [*AWAITED, TenancyStore, InMemoryTenancyStore]


def public_functions(form: type) -> dict[str, Any]:
    return {
        name: function
        for name, function in inspect.getmembers(form, inspect.isfunction)
        if not name.startswith("_")
    }


def test_the_operations_that_tests_run_on_every_door_are_all_there_are() -> None:
    assert public_functions(TenancyRepository).keys() == CALLS.keys()


@pytest.mark.parametrize("form", DOORS)
def test_a_form_has_a_door_for_every_operation_and_no_other(form: type) -> None:
    assert public_functions(form).keys() == public_functions(TenancyRepository).keys()


@pytest.mark.parametrize("form", DOORS)
@pytest.mark.parametrize("name", CALLS)
def test_a_door_leads_to_its_operation(form: type, name: str) -> None:
    door, operation = getattr(form, name), getattr(TenancyRepository, name)
    assert inspect.unwrap(door) is operation
    assert inspect.signature(door) == inspect.signature(operation)
    assert inspect.getdoc(door) == inspect.getdoc(operation)


@pytest.mark.parametrize("form", AWAITED)
@pytest.mark.parametrize("name", CALLS)
def test_an_asynchronous_door_is_awaited(form: type, name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(form, name))


async def what_type_checkers_see_of_organizations(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore,
) -> None:
    assert_type(await tenancy.create_org("usr_", name="Acme", slug="acme"), CreateOrgResult)
    assert_type(await tenancy.get_org("org_"), Organization)
    assert_type(await tenancy.get_org_by_slug("acme"), Organization)
    assert_type(await tenancy.update_org("org_", name=None), Organization)
    assert_type(await tenancy.suspend_org("org_"), Organization)
    assert_type(await tenancy.reinstate_org("org_"), Organization)
    assert_type(await tenancy.revoke_org("org_"), Organization)
    assert_type(await tenancy.list_orgs(limit=2, query="a"), Page[Organization])
    # Each of these comments is an error of its own once there is nothing to ignore.
    await tenancy.get_org()  # type: ignore[call-arg]  # the id is missing
    await tenancy.get_org(7)  # type: ignore[arg-type]  # ids are texts
    await tenancy.update_org("org_", nome="Acme")  # type: ignore[call-arg]  # it is name


async def what_type_checkers_see_of_memberships(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore,
) -> None:
    assert_type(await tenancy.add_member("org_", "usr_", Role.MEMBER), Membership)
    assert_type(await tenancy.get_membership("mem_"), Membership)
    assert_type(await tenancy.find_membership("org_", "usr_"), Membership | None)
    assert_type(await tenancy.require_role("org_", "usr_", Role.OWNER, "admin"), Membership)
    assert_type(await tenancy.list_members("org_", status=Status.ACTIVE), Page[Membership])
    assert_type(await tenancy.list_memberships("usr_"), Page[Membership])
    assert_type(await tenancy.change_role("mem_", Role.ADMIN), Membership)
    assert_type(await tenancy.suspend_membership("mem_"), Membership)
    assert_type(await tenancy.reinstate_membership("mem_"), Membership)
    assert_type(await tenancy.self_leave("mem_", transfer_to="usr_"), Membership)
    assert_type(await tenancy.admin_remove("mem_", "usr_"), Membership)
    assert_type(await tenancy.transfer_ownership("org_", "mem_", "mem_"), TransferOwnershipResult)


async def what_type_checkers_see_of_sets(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore, request: InvitationRequest
) -> None:
    added = await tenancy.add_members("org_", [("usr_", Role.OWNER), ("usr_", "admin")])
    assert_type(added, list[Outcome[Membership]])
    assert_type(added[0].unwrap(), Membership)
    invited = await tenancy.create_invitations("org_", [request], "usr_", all_or_nothing=True)
    assert_type(invited, list[Outcome[Invitation]])
    assert_type(await tenancy.change_roles({"mem_": "owner"}), list[Outcome[Membership]])
    assert_type(await tenancy.remove_members(["mem_"], "usr_"), list[Outcome[Membership]])


async def what_type_checkers_see_of_invitations_and_tuples(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore, later: datetime, grant: PreTuple
) -> None:
    assert_type(
        await tenancy.create_invitation(
            "org_", "newbie@example.com", Role.GUEST, "usr_", later, pre_tuples=[grant]
        ),
        Invitation,
    )
    assert_type(await tenancy.get_invitation("inv_"), Invitation)
    assert_type(await tenancy.list_invitations("org_"), Page[Invitation])
    assert_type(await tenancy.accept_invitation("inv_"), AcceptInvitationResult)
    assert_type(await tenancy.decline_invitation("inv_", as_usr_id="usr_"), Invitation)
    assert_type(await tenancy.revoke_invitation("inv_", "usr_"), Invitation)
    assert_type(await tenancy.expire_invitations(limit=10), int)
    assert_type(await tenancy.list_tuples_for_subject("usr", "usr_"), list[Tuple])
    assert_type(await tenancy.list_tuples_for_object("org", "org_", relation="owner"), list[Tuple])
