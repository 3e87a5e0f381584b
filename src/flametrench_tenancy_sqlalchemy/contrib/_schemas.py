"""What the tenancy endpoints take and answer, as the specification's HTTP surface names it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from ..models import AuditEvent
from ..values import AuditOutcome, InvitationStatus, Page, PreTuple, Role, Status

T = TypeVar("T")


def _without_type(id_: str) -> str:
    try:
        return str(UUID(id_.rpartition("_")[2]))
    except ValueError:
        return id_  # another client's row, shown as it is


PlainUuid: TypeAlias = Annotated[str, AfterValidator(_without_type)]
"""An id whose type stands beside it."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OrgIn(_Request):
    """A new organization, or what is to change of one: what is left out stays."""

    name: str | None = None
    slug: str | None = None


class MemberIn(_Request):
    """Who is to become a member, and as what; it is the caller who invites them."""

    usr_id: str
    role: Role
    invited_by: str | None = None


class RoleIn(_Request):
    """The role that a member is to have."""

    new_role: Role = Field(validation_alias=AliasChoices("new_role", "role"))


class LeaveIn(_Request):
    """Whom a last owner makes owner before leaving."""

    transfer_to: str | None = Field(
        None, validation_alias=AliasChoices("transferTo", "transfer_to")
    )


class TransferIn(_Request):
    """The caller's own membership, and the one that ownership goes to."""

    from_mem_id: str
    to_mem_id: str


class PreTupleIn(_Request):
    """A grant that an invitation is to promise."""

    relation: str
    object_type: str
    object_id: str

    def value(self) -> PreTuple:
        """Return the grant as the repository takes it."""
        return PreTuple(self.relation, self.object_type, self.object_id)


class InvitationIn(_Request):
    """A new invitation."""

    identifier: str
    role: Role
    expires_at: datetime
    pre_tuples: list[PreTupleIn] = []


class AcceptIn(_Request):
    """Who accepts: nobody but the caller, by the identifier that has been proven to be theirs."""

    as_usr_id: str | None = None
    accepting_identifier: str | None = None


class RenewalIn(_Request):
    """Until when the invitation may be answered."""

    expires_at: datetime


class PageQuery(BaseModel):
    """Which page of a list."""

    cursor: str | None = None
    limit: int = 50


class OwnMembershipsQuery(PageQuery):
    """Which page, and of what only."""

    status: Status | None = None


class MembersQuery(OwnMembershipsQuery):
    """Which page, of what only, and in which order; a part of a name finds users by it."""

    roles: list[Role] = []
    query: str | None = None
    newest_first: bool = False


class OrgsQuery(PageQuery):
    """Which page, of what only, and a part of the name or slug."""

    status: Status | None = None
    query: str | None = None


class InvitationsQuery(PageQuery):
    """Which page, and of what only; a pending invitation whose time is over counts as expired."""

    status: InvitationStatus | None = None


class EventsQuery(PageQuery):
    """Which page, of what only, and in which order; an action finds those that begin with it."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    newest_first: bool = False


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class OrgOut(_Answer):
    """An organization."""

    id: str
    status: Status
    name: str | None
    slug: str | None
    created_at: datetime
    updated_at: datetime


class MembershipOut(_Answer):
    """A membership."""

    id: str
    usr_id: str
    org_id: str
    role: Role
    status: Status
    replaces: str | None
    invited_by: str | None
    removed_by: str | None
    created_at: datetime
    updated_at: datetime


class OwnMembershipOut(MembershipOut):
    """A membership of the caller's, with its organization."""

    organization: OrgOut


class SeatsOut(_Answer):
    """How many seats an organization has, if they are limited, and how many are taken."""

    limit: int | None
    taken: int


class PreTupleOut(_Answer):
    """A grant that an invitation promises."""

    relation: str
    object_type: str
    object_id: PlainUuid


class InvitationOut(_Answer):
    """An invitation."""

    id: str
    org_id: str
    identifier: str
    role: Role
    status: InvitationStatus
    effective_status: InvitationStatus
    pre_tuples: list[PreTupleOut]
    invited_by: str
    invited_user_id: str | None
    created_at: datetime
    expires_at: datetime
    terminal_at: datetime | None
    terminal_by: str | None


class OwnInvitationOut(InvitationOut):
    """An invitation to the caller, with its organization."""

    organization: OrgOut


class PreviewOut(_Answer):
    """What whoever holds an invitation's link may see before they sign in."""

    org_name: str | None
    org_slug: str | None
    role: Role
    inviter_name: str | None
    expires_at: datetime
    effective_status: InvitationStatus


class TupleOut(_Answer):
    """An authorization fact."""

    id: str
    subject_type: str
    subject_id: PlainUuid
    relation: str
    object_type: str
    object_id: PlainUuid
    created_at: datetime
    created_by: str | None


class ThingOut(_Answer):
    """The kind and the id of what an event is about, or of where it happened."""

    kind: str
    id: str


class EventOut(_Answer):
    """An event of the audit log."""

    id: str
    occurred_at: str
    recorded_at: datetime
    actor_usr_id: str | None
    auth: dict[str, Any] | None = None
    on_behalf: dict[str, Any] | None = None
    action: str
    target: ThingOut
    scope: ThingOut | None = None
    outcome: AuditOutcome
    metadata: dict[str, Any]
    context: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of(cls, event: Any) -> Any:
        return event.document() if isinstance(event, AuditEvent) else event


class CreatedOrgOut(_Answer):
    """A new organization and its creator's membership."""

    org: OrgOut
    owner_membership: MembershipOut


class TransferOut(_Answer):
    """The two memberships after a transfer."""

    from_membership: MembershipOut
    to_membership: MembershipOut


class AcceptedOut(_Answer):
    """An accepted invitation, and what came of it."""

    invitation: InvitationOut
    membership: MembershipOut
    materialized_tuples: list[TupleOut]


class PageInfo(_Answer):
    """Where to go on."""

    next_cursor: str | None


class PageOut(_Answer, Generic[T]):
    """One page of a list."""

    data: list[T]
    page: PageInfo

    @model_validator(mode="before")
    @classmethod
    def _of(cls, page: Any) -> Any:
        return {"data": page.data, "page": page} if isinstance(page, Page) else page
