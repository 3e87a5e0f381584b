"""Organizations, memberships and invitations on PostgreSQL, through your own SQLAlchemy Session.

The first steps, in memory:

>>> from flametrench_tenancy_sqlalchemy import InMemoryTenancyStore, Role, SoleOwnerError, new_id
>>> store = InMemoryTenancyStore()
>>> ann, ben = new_id("usr"), new_id("usr")
>>> acme = store.create_org(ann, name="Acme", slug="acme").org
>>> store.add_member(acme.id, ben, Role.ADMIN, invited_by=ann).role
<Role.ADMIN: 'admin'>
>>> owner = store.require_role(acme.id, ann, "owner")
>>> try:
...     store.self_leave(owner.id)
... except SoleOwnerError as error:
...     print(error.code)
forbidden.sole_owner

On PostgreSQL the same operations are part of the transaction that your Session is in:

    with Session(engine) as session, session.begin():
        TenancyRepository(session).create_org(ann, slug="acme")

The operations:
    TenancyRepository       on a Session of yours; ``help(TenancyRepository)`` has them all
    TenancyStore            each in a transaction of its own
    InMemoryTenancyStore    the same without a server, for tests
    unit_of_work            several in one transaction, committed at the end
    ActingTenancy, ActingTenancyStore
                            for one user, as ``acting_as`` returns them: each asks whether they may
    after_commit            calls something when the transaction has been committed
    AuditLog                what has happened: written, read, followed, and history
    audit_context           tells the audit log the circumstances, such as a request's id
    bind_tenant             shows a Session one organization or user, under row-level security
    neighbour, repository_on
                            beside others who speak to the driver, in one transaction
    aio                     the module that has all of this for an AsyncSession

The models, for queries and relationships of your own:
    Organization, Membership, Invitation, Tuple, User, and their Base
    AuditEvent              what the opt-in audit log has recorded
    WireId, new_id          the type of their ids, and a fresh one
    NotLoadedError          what is read is not loaded, and cannot be any more

What goes in and comes out:
    Role, Status, InvitationStatus, AuditOutcome
    PreTuple                a grant that an invitation promises
    NewMember, InvitationRequest, RoleChange
                            rows of sets, and the Outcome of each
    CreateOrgResult, TransferOwnershipResult, AcceptInvitationResult, InvitationPreview
    Page, SeatCount         of lists, of seats
    UNSET                   an argument that was not given

What you decide, once:
    Policy, Limits          what is allowed, and how much of it
    canonical_email         one form of the spellings of an address
    TenancyChange, Changed  what ``Policy.on_change`` is told

The errors are a TenancyError each, with a ``code``, ``details`` and a ``help_url``; the
PreconditionError among them has a Reason.
"""

from .audit import AuditLog
from .changes import Changed, TenancyChange
from .errors import (
    AlreadyTerminalError,
    DuplicateInvitationError,
    DuplicateInvitationIdError,
    DuplicateMembershipError,
    DuplicateOrganizationError,
    ForbiddenError,
    IdentifierBindingRequiredError,
    IdentifierMismatchError,
    InvalidIdError,
    InvitationExpiredError,
    InvitationNotPendingError,
    LockTimeoutError,
    NotFoundError,
    OrgSlugConflictError,
    OutcomeUnknownError,
    PoolTimeoutError,
    PreconditionError,
    Reason,
    ReplicaBehindError,
    RoleHierarchyError,
    SeatLimitError,
    SoleOwnerError,
    TenancyError,
    UnavailableError,
)
from .ids import WireId, new_id
from .memory import InMemoryTenancyStore
from .models import (
    AuditEvent,
    Base,
    Invitation,
    Membership,
    NotLoadedError,
    Organization,
    Tuple,
    User,
)
from .neighbours import neighbour, repository_on
from .policy import Limits, Policy, canonical_email
from .repository import ActingTenancy, TenancyRepository
from .results import (
    AcceptInvitationResult,
    CreateOrgResult,
    InvitationPreview,
    TransferOwnershipResult,
)
from .rows import InvitationRequest, NewMember, RoleChange
from .store import ActingTenancyStore, TenancyStore, unit_of_work
from .transactions.afterwards import after_commit
from .transactions.settings import audit_context
from .transactions.tenant import bind_tenant
from .values import (
    UNSET,
    AuditOutcome,
    InvitationStatus,
    Outcome,
    Page,
    PreTuple,
    Role,
    SeatCount,
    Status,
)

__all__ = [
    "UNSET",
    "AcceptInvitationResult",
    "ActingTenancy",
    "ActingTenancyStore",
    "AlreadyTerminalError",
    "AuditEvent",
    "AuditLog",
    "AuditOutcome",
    "Base",
    "Changed",
    "CreateOrgResult",
    "DuplicateInvitationError",
    "DuplicateInvitationIdError",
    "DuplicateMembershipError",
    "DuplicateOrganizationError",
    "ForbiddenError",
    "IdentifierBindingRequiredError",
    "IdentifierMismatchError",
    "InMemoryTenancyStore",
    "InvalidIdError",
    "Invitation",
    "InvitationExpiredError",
    "InvitationNotPendingError",
    "InvitationPreview",
    "InvitationRequest",
    "InvitationStatus",
    "Limits",
    "LockTimeoutError",
    "Membership",
    "NewMember",
    "NotFoundError",
    "NotLoadedError",
    "OrgSlugConflictError",
    "Organization",
    "Outcome",
    "OutcomeUnknownError",
    "Page",
    "Policy",
    "PoolTimeoutError",
    "PreTuple",
    "PreconditionError",
    "Reason",
    "ReplicaBehindError",
    "Role",
    "RoleChange",
    "RoleHierarchyError",
    "SeatCount",
    "SeatLimitError",
    "SoleOwnerError",
    "Status",
    "TenancyChange",
    "TenancyError",
    "TenancyRepository",
    "TenancyStore",
    "TransferOwnershipResult",
    "Tuple",
    "UnavailableError",
    "User",
    "WireId",
    "after_commit",
    "audit_context",
    "bind_tenant",
    "canonical_email",
    "neighbour",
    "new_id",
    "repository_on",
    "unit_of_work",
]
