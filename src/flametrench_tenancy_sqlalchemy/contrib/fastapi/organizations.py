"""The endpoints of organizations."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ...repository import TenancyRepository
from ...values import Role, Status
from .access import MANAGERS, member, member_of_any_org, membership_of, require_own
from .dependencies import Caller, Endpoint
from .schemas import (
    CreatedOrgOut,
    OrgIn,
    OrgOut,
    PageInfo,
    PageOut,
    TransferIn,
    TransferOut,
)


def add_routes(router: APIRouter, endpoint: Endpoint, *, gate: Any) -> None:
    """Add the endpoints of organizations to a router."""

    @router.post("/orgs", status_code=201)
    async def create_org(
        body: OrgIn | None = None,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> CreatedOrgOut:
        """Create an organization that the caller owns."""
        given = body.model_dump() if body else {}

        def action(tenancy: TenancyRepository) -> CreatedOrgOut:
            created = tenancy.create_org(caller.usr_id, **given)
            return CreatedOrgOut.model_validate(created, from_attributes=True)

        return await endpoint.perform(session, action)

    @router.get("/orgs", dependencies=[gate])
    async def list_orgs(
        cursor: str | None = None,
        limit: int = 50,
        status: Status | None = None,
        query: str | None = None,
        session: Any = endpoint.session,
    ) -> PageOut[OrgOut]:
        """List all organizations; for the operator alone."""

        def action(tenancy: TenancyRepository) -> PageOut[OrgOut]:
            page = tenancy.list_orgs(cursor=cursor, limit=limit, status=status, query=query)
            return PageOut(
                data=[OrgOut.model_validate(org) for org in page],
                page=PageInfo(next_cursor=page.next_cursor),
            )

        return await endpoint.perform(session, action)

    @router.get("/orgs/{org_id}")
    async def get_org(
        org_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> OrgOut:
        """Show an organization to its members."""

        def action(tenancy: TenancyRepository) -> OrgOut:
            member_of_any_org(tenancy, org_id, caller)
            return OrgOut.model_validate(tenancy.get_org(org_id))

        return await endpoint.perform(session, action)

    @router.put("/orgs/{org_id}")
    async def update_org(
        org_id: str, body: OrgIn, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> OrgOut:
        """Change an organization's name or slug: what is left out stays, null clears."""

        def action(tenancy: TenancyRepository) -> OrgOut:
            member(tenancy, org_id, caller, *MANAGERS)
            changes = body.model_dump(exclude_unset=True)
            return OrgOut.model_validate(tenancy.update_org(org_id, **changes))

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/suspend")
    async def suspend_org(
        org_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> OrgOut:
        """Pause an organization, as one of its owners."""

        def action(tenancy: TenancyRepository) -> OrgOut:
            member_of_any_org(tenancy, org_id, caller, Role.OWNER)
            return OrgOut.model_validate(tenancy.suspend_org(org_id))

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/reinstate")
    async def reinstate_org(
        org_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> OrgOut:
        """Bring a suspended organization back, as one of its owners."""

        def action(tenancy: TenancyRepository) -> OrgOut:
            member_of_any_org(tenancy, org_id, caller, Role.OWNER)
            return OrgOut.model_validate(tenancy.reinstate_org(org_id))

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/revoke")
    async def revoke_org(
        org_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> OrgOut:
        """End an organization for good, as one of its owners."""

        def action(tenancy: TenancyRepository) -> OrgOut:
            member_of_any_org(tenancy, org_id, caller, Role.OWNER)
            return OrgOut.model_validate(tenancy.revoke_org(org_id))

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/transfer-ownership")
    async def transfer_ownership(
        org_id: str,
        body: TransferIn,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> TransferOut:
        """Hand the caller's ownership to another member."""

        def action(tenancy: TenancyRepository) -> TransferOut:
            member(tenancy, org_id, caller, Role.OWNER)
            require_own(membership_of(tenancy, org_id, body.from_mem_id), caller)
            membership_of(tenancy, org_id, body.to_mem_id)
            result = tenancy.transfer_ownership(org_id, body.from_mem_id, body.to_mem_id)
            return TransferOut.model_validate(result)

        return await endpoint.perform(session, action)
