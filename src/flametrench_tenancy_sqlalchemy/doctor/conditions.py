"""The breaches that checks report and repairs mend, as conditions of queries."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, select

from ..models import Invitation, Membership, Organization, Tuple
from ..values import InvitationStatus, Role, Status

ACTIVE: Final = Membership.status == Status.ACTIVE

# The tuple that a membership stands for while it is active.
_TUPLE_OF_MEMBERSHIP: Final = and_(
    Tuple.subject_type == "usr",
    Tuple.subject_uuid == Membership.usr_id,
    Tuple.relation == Membership.role,
    Tuple.object_type == "org",
    Tuple.object_uuid == Membership.org_id,
)
_GRANTS_ROLE: Final = and_(Tuple.subject_type == "usr", Tuple.relation.in_(list(Role)))


def _revoked(org_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that an organization is revoked."""
    its = Organization.id == org_id
    return exists(select(Organization.id).where(its, Organization.status == Status.REVOKED))


LEFT_BEHIND: Final = and_(
    Membership.status.in_([Status.ACTIVE, Status.SUSPENDED]),
    _revoked(Membership.org_id.expression),
)
STILL_OFFERED: Final = and_(
    Invitation.status == InvitationStatus.PENDING,
    _revoked(Invitation.org_id.expression),
)

# A revoked organization grants nothing: there it is the membership that is one too many. A role
# that does not exist is no tuple's either.
WITHOUT_TUPLE: Final = and_(
    ACTIVE,
    Membership.role.in_(list(Role)),
    ~exists(select(Tuple.id).where(_TUPLE_OF_MEMBERSHIP)),
    ~_revoked(Membership.org_id.expression),
)

ORPHANED: Final = and_(
    Tuple.object_type == "org",
    _GRANTS_ROLE,
    ~exists(select(Membership.id).where(ACTIVE, _TUPLE_OF_MEMBERSHIP)),
)

# Without the tuples of roles: each is an orphan, or belongs to a membership that is left over.
LEFT_OVER: Final = and_(
    Tuple.object_type == "org",
    ~_GRANTS_ROLE,
    _revoked(Tuple.object_uuid.expression),
)
