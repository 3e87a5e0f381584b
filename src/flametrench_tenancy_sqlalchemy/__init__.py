"""Organizations, memberships and invitations on PostgreSQL, through your own SQLAlchemy Session."""

from .errors import (
    AlreadyTerminalError,
    DuplicateMembershipError,
    ForbiddenError,
    IdentifierBindingRequiredError,
    IdentifierMismatchError,
    InvalidIdError,
    InvitationExpiredError,
    InvitationNotPendingError,
    NotFoundError,
    OrgSlugConflictError,
    PreconditionError,
    Reason,
    RoleHierarchyError,
    SoleOwnerError,
    TenancyError,
)
from .ids import WireId, new_id
from .memory import InMemoryTenancyStore
from .models import Base, Invitation, Membership, Organization, Tuple, User
from .policy import Limits, Policy
from .repository import TenancyRepository
from .results import AcceptInvitationResult, CreateOrgResult, TransferOwnershipResult
from .store import TenancyStore, unit_of_work
from .values import (
    UNSET,
    InvitationRequest,
    InvitationStatus,
    Outcome,
    Page,
    PreTuple,
    Role,
    Status,
)

__all__ = [
    "UNSET",
    "AcceptInvitationResult",
    "AlreadyTerminalError",
    "Base",
    "CreateOrgResult",
    "DuplicateMembershipError",
    "ForbiddenError",
    "IdentifierBindingRequiredError",
    "IdentifierMismatchError",
    "InMemoryTenancyStore",
    "InvalidIdError",
    "Invitation",
    "InvitationExpiredError",
    "InvitationNotPendingError",
    "InvitationRequest",
    "InvitationStatus",
    "Limits",
    "Membership",
    "NotFoundError",
    "OrgSlugConflictError",
    "Organization",
    "Outcome",
    "Page",
    "Policy",
    "PreTuple",
    "PreconditionError",
    "Reason",
    "Role",
    "RoleHierarchyError",
    "SoleOwnerError",
    "Status",
    "TenancyError",
    "TenancyRepository",
    "TenancyStore",
    "TransferOwnershipResult",
    "Tuple",
    "User",
    "WireId",
    "new_id",
    "unit_of_work",
]
