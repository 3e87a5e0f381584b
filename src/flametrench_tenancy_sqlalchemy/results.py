"""What operations return, in terms of models."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from .models import Invitation, Membership, Organization, Tuple


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
class AcceptInvitationResult:
    """An accepted invitation, the membership it made, and one tuple per distinct pre-tuple."""

    invitation: Invitation
    membership: Membership
    _: KW_ONLY
    materialized_tuples: list[Tuple]
