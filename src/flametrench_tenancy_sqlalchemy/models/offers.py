"""What an offer must be: for somebody who can be named, and open until a moment to come."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from ..errors import PreconditionError, Reason, shown
from ..policy import Policy, require_at_most
from ..values import InvitationStatus
from .base import is_aware, is_moment, is_storable

# Text without control characters, and without white space at its ends.
_IDENTIFIER: Final = re.compile(r"(?!\s)[^\x00-\x1f\x7f-\x9f]+(?<!\s)")


def effective(status: InvitationStatus, expires_at: datetime, at: datetime) -> InvitationStatus:
    """Return a status as lists filter by it: what is pending, but overdue, has expired."""
    overdue = status is InvitationStatus.PENDING and expires_at < at
    return InvitationStatus.EXPIRED if overdue else status


def require_identifier(identifier: str, policy: Policy) -> str:
    """Return how an invitee is known, if that can be stored.

    Raises:
        PreconditionError: ``identifier_format`` or ``identifier_length``.
    """
    if not is_storable(identifier) or not _IDENTIFIER.fullmatch(identifier):
        raise PreconditionError(
            f"identifier {shown(identifier)} is empty, has white space at an end or a control "
            "character in it, or is not text that PostgreSQL can store",
            Reason.IDENTIFIER_FORMAT,
            parameter="identifier",
        )
    limit, length = policy.limits.identifier, len(identifier)
    require_at_most(limit, length, "characters", "identifier", Reason.IDENTIFIER_LENGTH)
    return identifier


def require_end(expires_at: datetime, policy: Policy, at: datetime) -> datetime:
    """Return the last moment to accept, in UTC, if an offer of ``at`` may be open for so long.

    Raises:
        PreconditionError: ``naive_expiration``, ``past_expiration`` or ``expiration_range``.
    """
    if not is_aware(expires_at):
        raise PreconditionError(
            f"expires_at {shown(expires_at)} is not a timezone-aware datetime",
            Reason.NAIVE_EXPIRATION,
            parameter="expires_at",
        )
    if not at < expires_at:
        raise PreconditionError(
            f"expires_at {expires_at.isoformat()} is not in the future",
            Reason.PAST_EXPIRATION,
            parameter="expires_at",
        )
    if policy.invitation_lifetime is not None and expires_at - at > policy.invitation_lifetime:
        longest = str(policy.invitation_lifetime).removesuffix(", 0:00:00")
        raise PreconditionError(
            f"expires_at {expires_at.isoformat()} is later than {longest} from now",
            Reason.EXPIRATION_RANGE,
            parameter="expires_at",
        )
    if not is_moment(expires_at):
        raise PreconditionError(
            f"expires_at {expires_at.isoformat()} is beyond what every timezone can express",
            Reason.EXPIRATION_RANGE,
            parameter="expires_at",
        )
    return expires_at.astimezone(UTC)
