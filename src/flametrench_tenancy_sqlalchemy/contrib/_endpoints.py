"""The endpoints of tenancy, whatever the framework: each is one operation for its caller."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel
from sqlalchemy.orm import Session

from ..audit import AuditLog
from ..errors import ForbiddenError
from ..ids import require
from ..models import AuditEvent, Invitation, Membership, Organization
from ..models.base import not_found
from ..models.pre_tuples import well_formed
from ..repository import ActingTenancy, TenancyRepository
from ..repository.acting import reading_log
from ..results import (
    AcceptInvitationResult,
    CreateOrgResult,
    InvitationPreview,
    TransferOwnershipResult,
)
from ..transactions.sessions import itself
from ..values import Page, PreTuple, SeatCount
from ._http import Caller
from ._schemas import (
    AcceptedOut,
    AcceptIn,
    CreatedOrgOut,
    EventOut,
    EventsQuery,
    InvitationIn,
    InvitationOut,
    InvitationsQuery,
    LeaveIn,
    MemberIn,
    MembershipOut,
    MembersQuery,
    OrgIn,
    OrgOut,
    OrgsQuery,
    OwnInvitationOut,
    OwnMembershipOut,
    OwnMembershipsQuery,
    PageOut,
    PageQuery,
    PreviewOut,
    RenewalIn,
    RoleIn,
    SeatsOut,
    TransferIn,
    TransferOut,
)

Action = TypeVar("Action", bound=Callable[..., Any])

MayGrant: TypeAlias = Callable[[Session, Caller, str, PreTuple], bool]
"""Tells whether the caller may promise a grant in an organization."""


class For(Enum):
    """For whom an endpoint is."""

    CALLER = "whom authentication knows, and then what `acting_as` allows them"
    OPERATOR = "whom the application's gate lets pass"
    ANYBODY = "whoever holds the link"


@dataclass(frozen=True, slots=True)
class Call:
    """A request of somebody whom the application's authentication knows.

    Attributes:
        tenancy: the operations of the system.
        caller: who is calling.
        may_grant: tells what they may promise; nothing, if there is none.
    """

    tenancy: TenancyRepository
    caller: Caller
    may_grant: MayGrant | None = None

    @property
    def acting(self) -> ActingTenancy:
        """The operations for the caller."""
        caller = self.caller
        return self.tenancy.acting_as(
            caller.usr_id,
            identifier=caller.identifier,
            auth=caller.auth,
            on_behalf=caller.on_behalf,
        )

    def membership_in(self, org_id: str, mem_id: str) -> Membership:
        """Return a membership of the organization in the path; any other is not to be found there.

        It tells nothing about the caller, whom the operation asks.
        """
        require(org_id, "org", "org_id")
        membership = self.tenancy.get_membership(mem_id)
        if membership.org_id != org_id:
            raise not_found(Membership, mem_id, "mem_id")
        return membership

    def require_caller(self, *, usr_id: str | None = None, identifier: str | None = None) -> None:
        """Refuse a body that says who acts, if that is anybody but the caller.

        An identifier is compared as the policy makes both canonical.
        """
        caller, canonical = self.caller, self.tenancy._policy.canonical
        proven = caller.identifier and canonical(caller.identifier)
        named = identifier and canonical(identifier)
        if usr_id not in (None, caller.usr_id) or named not in (None, proven):
            raise ForbiddenError("the request speaks for somebody else than its caller")

    def require_grantable(self, org_id: str, grants: list[PreTuple]) -> None:
        """Refuse to promise what the application does not let this caller share."""
        session = itself(self.tenancy.session)
        for grant in [well_formed(grant, org_id) for grant in grants]:
            if self.may_grant is None or not self.may_grant(session, self.caller, org_id, grant):
                raise ForbiddenError(
                    f"the caller may not promise {grant.relation} on {grant.object_type} "
                    f"{grant.object_id}"
                )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: what is asked where, and what is done and answered.

    Attributes:
        method: its HTTP method.
        path: its path, as in ``/orgs/{org_id}``.
        action: what it does. Its first argument is the `Call`, or the `TenancyRepository` where
            there is no caller; the others are the path's, and a ``query`` or ``body``.
        answer: what it answers.
        status: the HTTP status where that is done.
        open_to: for whom it is.
    """

    method: str
    path: str
    action: Callable[..., Any]
    answer: type[BaseModel]
    status: int
    open_to: For

    @property
    def name(self) -> str:
        """Its name, by which an application refers to its route."""
        return self.action.__name__

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """What a request has to have."""
        return [*inspect.signature(self.action, eval_str=True).parameters.values()][1:]

    def perform(
        self,
        tenancy: TenancyRepository,
        caller: Caller | None,
        may_grant: MayGrant | None,
        arguments: Mapping[str, Any],
    ) -> BaseModel:
        """Do what is asked, and return the answer."""
        asked = tenancy if caller is None else Call(tenancy, caller, may_grant)
        return self.answer.model_validate(self.action(asked, **arguments))


ENDPOINTS: Final[list[Endpoint]] = []
"""All endpoints, in the order of the document, but for those of the log."""

LOG_ENDPOINTS: Final[list[Endpoint]] = []
"""What needs the opt-in audit log."""


def _endpoint(
    request: str,
    answer: type[BaseModel],
    *,
    status: int = 200,
    open_to: For = For.CALLER,
    among: list[Endpoint] = ENDPOINTS,
) -> Callable[[Action], Action]:
    method, path = request.split()

    def add(action: Action) -> Action:
        among.append(Endpoint(method, path, action, answer, status, open_to))
        return action

    return add


# The caller's own


@_endpoint("GET /me/memberships", PageOut[OwnMembershipOut])
def list_memberships(call: Call, query: OwnMembershipsQuery) -> Page[Membership]:
    """List the caller's own memberships, each with its organization."""
    return call.acting.list_memberships(**query.model_dump(exclude_defaults=True))


@_endpoint("GET /me/invitations", PageOut[OwnInvitationOut])
def inbox(call: Call, query: PageQuery) -> Page[Invitation]:
    """List the invitations that the caller may accept now, each with its organization."""
    return call.acting.inbox(**query.model_dump(exclude_defaults=True))


# Organizations


@_endpoint("POST /orgs", CreatedOrgOut, status=201)
def create_org(call: Call, body: OrgIn | None = None) -> CreateOrgResult:
    """Create an organization that the caller owns."""
    return call.acting.create_org(**body.model_dump() if body else {})


@_endpoint("GET /orgs", PageOut[OrgOut], open_to=For.OPERATOR)
def list_orgs(tenancy: TenancyRepository, query: OrgsQuery) -> Page[Organization]:
    """List all organizations; for the operator alone."""
    return tenancy.list_orgs(**query.model_dump(exclude_defaults=True))


@_endpoint("GET /orgs/{org_id}", OrgOut)
def get_org(call: Call, org_id: str) -> Organization:
    """Show an organization to its members."""
    return call.acting.get_org(org_id)


@_endpoint("PUT /orgs/{org_id}", OrgOut)
def update_org(call: Call, org_id: str, body: OrgIn) -> Organization:
    """Change an organization's name or slug: what is left out stays, null clears."""
    return call.acting.update_org(org_id, **body.model_dump(exclude_unset=True))


@_endpoint("POST /orgs/{org_id}/suspend", OrgOut)
def suspend_org(call: Call, org_id: str) -> Organization:
    """Pause an organization, as one of its owners."""
    return call.acting.suspend_org(org_id)


@_endpoint("POST /orgs/{org_id}/reinstate", OrgOut)
def reinstate_org(call: Call, org_id: str) -> Organization:
    """Bring a suspended organization back, as one of its owners."""
    return call.acting.reinstate_org(org_id)


@_endpoint("POST /orgs/{org_id}/revoke", OrgOut)
def revoke_org(call: Call, org_id: str) -> Organization:
    """End an organization for good, as one of its owners."""
    return call.acting.revoke_org(org_id)


@_endpoint("POST /orgs/{org_id}/transfer-ownership", TransferOut)
def transfer_ownership(call: Call, org_id: str, body: TransferIn) -> TransferOwnershipResult:
    """Hand the caller's ownership to another member."""
    donor = get_member(call, org_id, body.from_mem_id)
    call.require_caller(usr_id=donor.usr_id)
    return call.acting.transfer_ownership(org_id, body.to_mem_id)


@_endpoint("GET /orgs/{org_id}/seats", SeatsOut)
def count_seats(call: Call, org_id: str) -> SeatCount:
    """Show an organization's members how many seats it has, and how many are taken."""
    return call.acting.count_seats(org_id)


# Members


@_endpoint("GET /orgs/{org_id}/members", PageOut[MembershipOut])
def list_members(call: Call, org_id: str, query: MembersQuery) -> Page[Membership]:
    """List an organization's memberships for its members."""
    return call.acting.list_members(org_id, **query.model_dump(exclude_defaults=True))


@_endpoint("POST /orgs/{org_id}/members", MembershipOut, status=201)
def add_member(call: Call, org_id: str, body: MemberIn) -> Membership:
    """Make a user a member, in a role within the caller's reach."""
    call.require_caller(usr_id=body.invited_by)
    return call.acting.add_member(org_id, body.usr_id, body.role)


@_endpoint("GET /orgs/{org_id}/members/{mem_id}", MembershipOut)
def get_member(call: Call, org_id: str, mem_id: str) -> Membership:
    """Show a membership to the organization's members, and to whom it is."""
    return call.acting.get_membership(call.membership_in(org_id, mem_id).id)


@_endpoint("POST /orgs/{org_id}/members/{mem_id}/change-role", MembershipOut)
def change_role(call: Call, org_id: str, mem_id: str, body: RoleIn) -> Membership:
    """Change a member's role, from and to what is within the caller's reach."""
    return call.acting.change_role(call.membership_in(org_id, mem_id).id, body.new_role)


@_endpoint("POST /orgs/{org_id}/members/{mem_id}/suspend", MembershipOut)
def suspend_member(call: Call, org_id: str, mem_id: str) -> Membership:
    """Pause a membership within the caller's reach."""
    return call.acting.suspend_membership(call.membership_in(org_id, mem_id).id)


@_endpoint("POST /orgs/{org_id}/members/{mem_id}/reinstate", MembershipOut)
def reinstate_member(call: Call, org_id: str, mem_id: str) -> Membership:
    """Bring a suspended membership within the caller's reach back."""
    return call.acting.reinstate_membership(call.membership_in(org_id, mem_id).id)


@_endpoint("POST /orgs/{org_id}/members/{mem_id}/self-leave", MembershipOut)
def self_leave(call: Call, org_id: str, mem_id: str, body: LeaveIn | None = None) -> Membership:
    """End the caller's own membership, suspended or not."""
    left = call.membership_in(org_id, mem_id).id
    return call.acting.self_leave(left, transfer_to=body.transfer_to if body else None)


@_endpoint("POST /orgs/{org_id}/members/{mem_id}/admin-remove", MembershipOut)
def admin_remove(call: Call, org_id: str, mem_id: str) -> Membership:
    """End another's membership, within the hierarchy of roles."""
    return call.acting.admin_remove(call.membership_in(org_id, mem_id).id)


# Invitations


@_endpoint("GET /orgs/{org_id}/invitations", PageOut[InvitationOut])
def list_invitations(call: Call, org_id: str, query: InvitationsQuery) -> Page[Invitation]:
    """List an organization's invitations for its owners and admins."""
    return call.acting.list_invitations(org_id, **query.model_dump(exclude_defaults=True))


@_endpoint("POST /orgs/{org_id}/invitations", InvitationOut, status=201)
def create_invitation(call: Call, org_id: str, body: InvitationIn) -> Invitation:
    """Invite somebody to a role, and to grants, within the caller's reach."""
    grants = [grant.value() for grant in body.pre_tuples]
    if grants:
        call.acting.list_invitations(org_id, limit=1)  # who may not see them may not invite either
        call.require_grantable(org_id, grants)
    return call.acting.create_invitation(
        org_id, body.identifier, body.role, body.expires_at, pre_tuples=grants
    )


@_endpoint("GET /invitations/{inv_id}", InvitationOut)
def get_invitation(call: Call, inv_id: str) -> Invitation:
    """Show an invitation to its invitee, and to the organization's owners and admins."""
    return call.acting.get_invitation(inv_id)


@_endpoint("GET /invitations/{inv_id}/preview", PreviewOut, open_to=For.ANYBODY)
def preview_invitation(tenancy: TenancyRepository, inv_id: str) -> InvitationPreview:
    """Show whoever holds an invitation's link what it is about, before they sign in."""
    return tenancy.preview_invitation(inv_id)


@_endpoint("POST /invitations/{inv_id}/accept", AcceptedOut)
def accept_invitation(
    call: Call, inv_id: str, body: AcceptIn | None = None
) -> AcceptInvitationResult:
    """Accept an invitation as the caller, whose proven identifier must be the invited one."""
    if body is not None:
        call.require_caller(usr_id=body.as_usr_id, identifier=body.accepting_identifier)
    return call.acting.accept_invitation(inv_id)


@_endpoint("POST /invitations/{inv_id}/decline", InvitationOut)
def decline_invitation(call: Call, inv_id: str) -> Invitation:
    """Decline an invitation as the caller, whose proven identifier must be the invited one."""
    return call.acting.decline_invitation(inv_id)


@_endpoint("POST /invitations/{inv_id}/renew", InvitationOut)
def renew_invitation(call: Call, inv_id: str, body: RenewalIn) -> Invitation:
    """Let a pending invitation, overdue or not, be answered until another moment."""
    return call.acting.renew_invitation(inv_id, body.expires_at)


@_endpoint("POST /invitations/{inv_id}/revoke", InvitationOut)
def revoke_invitation(call: Call, inv_id: str) -> Invitation:
    """Withdraw an invitation, as an owner or admin of its organization."""
    return call.acting.revoke_invitation(inv_id)


# The audit log


@_endpoint("GET /orgs/{org_id}/events", PageOut[EventOut], among=LOG_ENDPOINTS)
def list_events(call: Call, org_id: str, query: EventsQuery) -> Page[AuditEvent]:
    """List what has happened in an organization for its owners and admins."""
    log = AuditLog(call.tenancy.session)
    with reading_log(call.acting, org_id):
        return log.query(org_id=org_id, **query.model_dump(exclude_defaults=True))
