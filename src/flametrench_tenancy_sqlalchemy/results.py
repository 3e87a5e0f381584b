"""What operations return, in terms of models."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from datetime import datetime

from .models import Invitation, Membership, Organization, Tuple
from .values import InvitationStatus, Role


@dataclass(frozen=True, slots=True)
class CreateOrgResult:
    """A new organization and its creator's membership."""

    org: Organization
    owner_membership: Membership


@dataclass(frozen=True, slots=True)
class TransferOwnershipResult:
    """The two memberships as they stand after a transfer of ownership."""

    from_membership: Membership
    to_membership: Membership


@dataclass(frozen=True, slots=True)
class InvitationPreview:
    """What whoever holds an invitation's link may see before they sign in.

    Attributes:
        org_name: the organization's name, if it has one.
        org_slug: its slug, if it has one.
        role: the role that is offered.
        inviter_name: the inviter's display name, if they have one.
        expires_at: the last moment to accept.
        effective_status: the invitation's status; expired, too, where it is overdue.
    """

    org_name: str | None
    org_slug: str | None
    role: Role
    inviter_name: str | None
    _: KW_ONLY
    expires_at: datetime
    effective_status: InvitationStatus


@dataclass(frozen=True, slots=True)
class AcceptInvitationResult:
    """An accepted invitation, the membership it made, and one tuple per distinct pre-tuple."""

    invitation: Invitation
    membership: Membership
    _: KW_ONLY
    materialized_tuples: list[Tuple]
