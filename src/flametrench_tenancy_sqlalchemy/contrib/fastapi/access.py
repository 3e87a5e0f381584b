"""Who may do what over HTTP: members see, administrators manage, owners own.

Nobody acts for another, and nobody gives a role above their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy.orm import Session

from ...errors import ForbiddenError
from ...ids import require
from ...models import Invitation, Membership, Organization
from ...models.base import not_found
from ...models.pre_tuples import well_formed
from ...repository import TenancyRepository
from ...transactions.sessions import itself
from ...values import PreTuple, Role
from .._http import membership_in
from .dependencies import Caller

MANAGERS = (Role.OWNER, Role.ADMIN)

MayGrant = Callable[[Session, Caller, str, PreTuple], bool]


def member(tenancy: TenancyRepository, org_id: str, caller: Caller, *roles: Role) -> Membership:
    """Return the caller's membership in an active organization; strangers find none."""
    return membership_in(tenancy, require(org_id, "org", "org_id"), caller.usr_id, *roles)


def member_of_any_org(
    tenancy: TenancyRepository, org_id: str, caller: Caller, *roles: Role
) -> Membership:
    """Return the caller's membership, be the organization suspended: somebody must reinstate it."""
    tenancy.get_org(org_id)
    membership = tenancy.find_membership(org_id, caller.usr_id)
    if membership is None:
        raise not_found(Organization, org_id, "org_id")
    if roles and membership.role not in roles:
        raise ForbiddenError(f"user {caller.usr_id} may not do this in {org_id}", org_id=org_id)
    return membership


def membership_of(tenancy: TenancyRepository, org_id: str, mem_id: str) -> Membership:
    """Return a membership of the organization in the path; any other is not to be found there."""
    membership = tenancy.get_membership(mem_id)
    if membership.org_id != org_id:
        raise not_found(Membership, mem_id, "mem_id")
    return membership


def require_reach(actor: Membership, *roles: Role) -> None:
    """Refuse to give, or to touch, a role above the actor's own."""
    reach = actor.role.admin_rank() or 0
    for role in roles:
        if (role.admin_rank() or 0) > reach:
            raise ForbiddenError(f"{actor.role} may not give or touch {role}", role=role)


def require_own(membership: Membership, caller: Caller) -> None:
    """Refuse to act for another."""
    if membership.usr_id != caller.usr_id:
        raise ForbiddenError(f"membership {membership.id} is not the caller's")


def require_caller(
    caller: Caller, *, usr_id: str | None = None, identifier: str | None = None
) -> None:
    """Refuse a body that says who acts, if that is anybody but the caller."""
    if usr_id not in (None, caller.usr_id) or identifier not in (None, caller.identifier):
        raise ForbiddenError("the request speaks for somebody else than its caller")


def require_grantable(
    may_grant: MayGrant | None,
    tenancy: TenancyRepository,
    caller: Caller,
    org_id: str,
    grants: Iterable[PreTuple],
) -> None:
    """Refuse to promise what the application does not let this caller share."""
    session = itself(tenancy.session)
    for grant in [well_formed(grant, org_id) for grant in grants]:
        if may_grant is None or not may_grant(session, caller, org_id, grant):
            raise ForbiddenError(
                f"the caller may not promise {grant.relation} on {grant.object_type} "
                f"{grant.object_id}"
            )


def visible_invitation(tenancy: TenancyRepository, inv_id: str, caller: Caller) -> Invitation:
    """Return an invitation to its invitee and to members; to others there is none."""
    invitation = tenancy.get_invitation(inv_id)
    if is_invitee(invitation, caller) or tenancy.find_membership(invitation.org_id, caller.usr_id):
        return invitation
    raise not_found(Invitation, inv_id, "inv_id")


def own_invitation(tenancy: TenancyRepository, inv_id: str, caller: Caller) -> Invitation:
    """Return an invitation to its invitee; members see that it is somebody else's."""
    invitation = visible_invitation(tenancy, inv_id, caller)
    if not is_invitee(invitation, caller):
        raise ForbiddenError(f"invitation {inv_id} is for somebody else", inv_id=inv_id)
    return invitation


def is_invitee(invitation: Invitation, caller: Caller) -> bool:
    """Tell whether the invitation names the identifier that the caller has proven."""
    return caller.identifier is not None and caller.identifier == invitation.identifier
