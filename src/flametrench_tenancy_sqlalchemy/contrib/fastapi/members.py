"""The endpoints of an organization's members."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ...repository import TenancyRepository
from ...values import Status
from .access import (
    MANAGERS,
    member,
    membership_of,
    require_caller,
    require_own,
    require_reach,
)
from .dependencies import Caller, Endpoint
from .schemas import LeaveIn, MemberIn, MembershipOut, PageInfo, PageOut, RoleIn


def add_routes(router: APIRouter, endpoint: Endpoint) -> None:
    """Add the endpoints of members to a router."""

    @router.get("/orgs/{org_id}/members")
    async def list_members(
        org_id: str,
        cursor: str | None = None,
        limit: int = 50,
        status: Status | None = None,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> PageOut[MembershipOut]:
        """List an organization's memberships for its members."""

        def action(tenancy: TenancyRepository) -> PageOut[MembershipOut]:
            member(tenancy, org_id, caller)
            page = tenancy.list_members(org_id, cursor=cursor, limit=limit, status=status)
            return PageOut(
                data=[MembershipOut.model_validate(membership) for membership in page],
                page=PageInfo(next_cursor=page.next_cursor),
            )

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/members", status_code=201)
    async def add_member(
        org_id: str,
        body: MemberIn,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> MembershipOut:
        """Make a user a member, in a role within the caller's reach."""
        require_caller(caller, usr_id=body.invited_by)

        def action(tenancy: TenancyRepository) -> MembershipOut:
            require_reach(member(tenancy, org_id, caller, *MANAGERS), body.role)
            added = tenancy.add_member(org_id, body.usr_id, body.role, invited_by=caller.usr_id)
            return MembershipOut.model_validate(added)

        return await endpoint.perform(session, action)

    @router.get("/orgs/{org_id}/members/{mem_id}")
    async def get_member(
        org_id: str, mem_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> MembershipOut:
        """Show a membership to the organization's members."""

        def action(tenancy: TenancyRepository) -> MembershipOut:
            member(tenancy, org_id, caller)
            return MembershipOut.model_validate(membership_of(tenancy, org_id, mem_id))

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/members/{mem_id}/change-role")
    async def change_role(
        org_id: str,
        mem_id: str,
        body: RoleIn,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> MembershipOut:
        """Change a member's role, from and to what is within the caller's reach."""

        def action(tenancy: TenancyRepository) -> MembershipOut:
            actor = member(tenancy, org_id, caller, *MANAGERS)
            require_reach(actor, membership_of(tenancy, org_id, mem_id).role, body.new_role)
            return MembershipOut.model_validate(tenancy.change_role(mem_id, body.new_role))

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/members/{mem_id}/suspend")
    async def suspend_member(
        org_id: str, mem_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> MembershipOut:
        """Pause a membership within the caller's reach."""

        def action(tenancy: TenancyRepository) -> MembershipOut:
            actor = member(tenancy, org_id, caller, *MANAGERS)
            require_reach(actor, membership_of(tenancy, org_id, mem_id).role)
            return MembershipOut.model_validate(tenancy.suspend_membership(mem_id))

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/members/{mem_id}/reinstate")
    async def reinstate_member(
        org_id: str, mem_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> MembershipOut:
        """Bring a suspended membership within the caller's reach back."""

        def action(tenancy: TenancyRepository) -> MembershipOut:
            actor = member(tenancy, org_id, caller, *MANAGERS)
            require_reach(actor, membership_of(tenancy, org_id, mem_id).role)
            return MembershipOut.model_validate(tenancy.reinstate_membership(mem_id))

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/members/{mem_id}/self-leave")
    async def self_leave(
        org_id: str,
        mem_id: str,
        body: LeaveIn | None = None,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> MembershipOut:
        """End the caller's own membership."""

        def action(tenancy: TenancyRepository) -> MembershipOut:
            member(tenancy, org_id, caller)
            require_own(membership_of(tenancy, org_id, mem_id), caller)
            left = tenancy.self_leave(mem_id, transfer_to=body.transfer_to if body else None)
            return MembershipOut.model_validate(left)

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/members/{mem_id}/admin-remove")
    async def admin_remove(
        org_id: str, mem_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> MembershipOut:
        """End another's membership, within the hierarchy of roles."""

        def action(tenancy: TenancyRepository) -> MembershipOut:
            member(tenancy, org_id, caller, *MANAGERS)
            membership_of(tenancy, org_id, mem_id)
            return MembershipOut.model_validate(tenancy.admin_remove(mem_id, caller.usr_id))

        return await endpoint.perform(session, action)
