"""The endpoints of invitations."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ...repository import TenancyRepository
from ...values import InvitationStatus
from .access import (
    MANAGERS,
    MayGrant,
    member,
    own_invitation,
    require_caller,
    require_grantable,
    require_reach,
    visible_invitation,
)
from .dependencies import Caller, Endpoint
from .schemas import AcceptedOut, AcceptIn, InvitationIn, InvitationOut, PageInfo, PageOut


def add_routes(router: APIRouter, endpoint: Endpoint, *, may_grant: MayGrant | None) -> None:
    """Add the endpoints of invitations to a router."""

    @router.get("/orgs/{org_id}/invitations")
    async def list_invitations(
        org_id: str,
        cursor: str | None = None,
        limit: int = 50,
        status: InvitationStatus | None = None,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> PageOut[InvitationOut]:
        """List an organization's invitations for its members."""

        def action(tenancy: TenancyRepository) -> PageOut[InvitationOut]:
            member(tenancy, org_id, caller)
            page = tenancy.list_invitations(org_id, cursor=cursor, limit=limit, status=status)
            return PageOut(
                data=[InvitationOut.model_validate(invitation) for invitation in page],
                page=PageInfo(next_cursor=page.next_cursor),
            )

        return await endpoint.perform(session, action)

    @router.post("/orgs/{org_id}/invitations", status_code=201)
    async def create_invitation(
        org_id: str,
        body: InvitationIn,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> InvitationOut:
        """Invite somebody to a role, and to grants, within the caller's reach."""
        grants = [grant.value() for grant in body.pre_tuples]

        def action(tenancy: TenancyRepository) -> InvitationOut:
            require_reach(member(tenancy, org_id, caller, *MANAGERS), body.role)
            require_grantable(may_grant, tenancy, caller, org_id, grants)
            created = tenancy.create_invitation(
                org_id,
                body.identifier,
                body.role,
                caller.usr_id,
                body.expires_at,
                pre_tuples=grants,
            )
            return InvitationOut.model_validate(created)

        return await endpoint.perform(session, action)

    @router.get("/invitations/{inv_id}")
    async def get_invitation(
        inv_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> InvitationOut:
        """Show an invitation to its invitee, and to the organization's members."""

        def action(tenancy: TenancyRepository) -> InvitationOut:
            return InvitationOut.model_validate(visible_invitation(tenancy, inv_id, caller))

        return await endpoint.perform(session, action)

    @router.post("/invitations/{inv_id}/accept")
    async def accept_invitation(
        inv_id: str,
        body: AcceptIn | None = None,
        session: Any = endpoint.session,
        caller: Caller = endpoint.caller,
    ) -> AcceptedOut:
        """Accept an invitation as the caller, whose proven identifier must be the invited one."""
        if body is not None:
            require_caller(caller, usr_id=body.as_usr_id, identifier=body.accepting_identifier)

        def action(tenancy: TenancyRepository) -> AcceptedOut:
            own_invitation(tenancy, inv_id, caller)
            accepted = tenancy.accept_invitation(
                inv_id, as_usr_id=caller.usr_id, accepting_identifier=caller.identifier
            )
            return AcceptedOut.model_validate(accepted)

        return await endpoint.perform(session, action)

    @router.post("/invitations/{inv_id}/decline")
    async def decline_invitation(
        inv_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> InvitationOut:
        """Decline an invitation as the caller, whose proven identifier must be the invited one."""

        def action(tenancy: TenancyRepository) -> InvitationOut:
            own_invitation(tenancy, inv_id, caller)
            declined = tenancy.decline_invitation(inv_id, as_usr_id=caller.usr_id)
            return InvitationOut.model_validate(declined)

        return await endpoint.perform(session, action)

    @router.post("/invitations/{inv_id}/revoke")
    async def revoke_invitation(
        inv_id: str, session: Any = endpoint.session, caller: Caller = endpoint.caller
    ) -> InvitationOut:
        """Withdraw an invitation, as an administrator of its organization."""

        def action(tenancy: TenancyRepository) -> InvitationOut:
            visible_invitation(tenancy, inv_id, caller)
            return InvitationOut.model_validate(tenancy.revoke_invitation(inv_id, caller.usr_id))

        return await endpoint.perform(session, action)
