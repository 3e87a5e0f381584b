"""Invitations: pending offers to join, and what may become of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Self, cast

from sqlalchemy import CheckConstraint, ColumnElement, ForeignKey, Index, Text, and_, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..clock import utc_now
from ..errors import (
    DuplicateInvitationIdError,
    ForbiddenError,
    IdentifierBindingRequiredError,
    IdentifierMismatchError,
    InvitationExpiredError,
    InvitationNotPendingError,
    PreconditionError,
    Reason,
)
from ..ids import WireId, new_id
from ..policy import LETTER, Policy
from ..values import InvitationStatus, PreTuple, Role, Status
from .base import (
    Base,
    TermType,
    UtcDateTime,
    described,
    id_column,
    not_found,
    one_of,
    page_index,
    partial_index,
)
from .membership import Membership, require_administrator
from .offers import effective, require_end, require_identifier
from .organization import Organization
from .pre_tuples import PreTuples, well_formed, well_formed_all
from .user import User


class Invitation(Base):
    """An offer to join an organization, open until it is answered, withdrawn or overdue.

    Specification: docs/tenancy.md#invitations, ADR 0003, ADR 0009.
    """

    __tablename__ = "inv"
    __table_args__ = (
        one_of(Role, "inv", "role"),
        one_of(InvitationStatus, "inv", "status"),
        CheckConstraint("(status = 'pending') = (terminal_at IS NULL)", name="inv_check"),
        CheckConstraint("expires_at > created_at", name="inv_check1"),
        Index("inv_org_idx", "org_id"),
        partial_index("inv_pending_idx", "identifier", where=text("status = 'pending'")),
        page_index("inv_org_page_idx", "org_id NULLS FIRST", "id"),
        page_index("inv_org_status_page_idx", "status", "org_id", "id", "expires_at"),
        page_index("inv_identifier_page_idx", "identifier NULLS FIRST", "status", "id"),
        partial_index("inv_offers_idx", "invited_by", "org_id", where=text("status = 'pending'")),
        partial_index(
            *("inv_live_idx", "org_id", "identifier", "expires_at"),
            where=text("status = 'pending'"),
        ),
        partial_index("inv_accepted_idx", "invited_user_id", where=text("status = 'accepted'")),
    )

    id: Mapped[str] = id_column("inv")
    org_id: Mapped[str] = mapped_column(WireId("org"), ForeignKey(Organization.id))
    identifier: Mapped[str] = mapped_column(Text)
    role: Mapped[Role] = mapped_column(TermType(Role))
    status: Mapped[InvitationStatus] = mapped_column(
        TermType(InvitationStatus),
        default=InvitationStatus.PENDING,
        server_default=InvitationStatus.PENDING,
    )
    pre_tuples: Mapped[list[PreTuple]] = mapped_column(
        PreTuples, default=list, server_default=text("'[]'")
    )
    invited_by: Mapped[str] = mapped_column(WireId("usr"), ForeignKey(User.id))
    invited_user_id: Mapped[str | None] = mapped_column(WireId("usr"), ForeignKey(User.id))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    terminal_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    terminal_by: Mapped[str | None] = mapped_column(WireId("usr"), ForeignKey(User.id))

    read_at = cast("datetime | None", None)  # annotated, it would be taken for a column
    """When it was read, by the clock of the repository that did; no column."""

    organization: Mapped[Organization] = relationship()
    inviter: Mapped[User] = relationship(foreign_keys=invited_by)
    invited_user: Mapped[User | None] = relationship(foreign_keys=invited_user_id)
    terminal_user: Mapped[User | None] = relationship(foreign_keys=terminal_by)

    def __repr__(self) -> str:
        return described(self, "status")

    @classmethod
    def offer(
        cls,
        organization: Organization,
        identifier: str,
        role: Role,
        *,
        invited_by: str,
        expires_at: datetime,
        pre_tuples: Collection[PreTuple | Mapping[str, str]] = (),
        policy: Policy = LETTER,
        at: datetime,
    ) -> Self:
        """Return a pending invitation into an active organization.

        Args:
            organization: where it leads.
            identifier: how the invitee is known.
            role: the role that the invitee will get.
            invited_by: the inviting user's wire id (``usr_…``).
            expires_at: the last moment to accept, a timezone-aware datetime.
            pre_tuples: what else the invitee will be granted.
            policy: what the application decides.
            at: the time of the offer, a timezone-aware datetime.

        Raises:
            PreconditionError: ``org_not_active``, or as for `draft`.
        """
        organization.require_active()  # before any flaw of the offer
        invitation = cls.draft(
            organization.id,
            identifier,
            role,
            invited_by=invited_by,
            expires_at=expires_at,
            pre_tuples=pre_tuples,
            policy=policy,
            at=at,
        )
        invitation.enter(organization)
        return invitation

    @classmethod
    def draft(
        cls,
        org_id: str,
        identifier: str,
        role: Role,
        *,
        id_: str | None = None,
        invited_by: str,
        expires_at: datetime,
        pre_tuples: Collection[PreTuple | Mapping[str, str]],
        policy: Policy,
        at: datetime,
    ) -> Self:
        """Return what becomes a pending invitation when it may `enter` the organization.

        Raises:
            PreconditionError: ``identifier_format``, ``identifier_length``, ``naive_expiration``,
                ``past_expiration``, ``expiration_range``, ``pre_tuple_count``,
                ``pre_tuple_format`` or ``pre_tuple_org_role``.
        """
        return cls(
            id=id_ or new_id("inv"),
            org_id=org_id,
            identifier=require_identifier(policy.canonical(identifier), policy),
            role=role,
            status=InvitationStatus.PENDING,
            expires_at=require_end(expires_at, policy, at),
            pre_tuples=well_formed_all(pre_tuples, org_id, policy),
            invited_by=invited_by,
            invited_user_id=None,
            created_at=at,
            terminal_at=None,
            terminal_by=None,
            read_at=at,
        )

    def enter(self, organization: Organization) -> None:
        """Offer a place in the organization, which must be active.

        Raises:
            PreconditionError: ``org_not_active``.
        """
        organization.require_active()
        self.organization = organization

    @property
    def effective_status(self) -> InvitationStatus:
        """Its status as lists filter by it; expired, too, where it was overdue when it was read.

        By the clock of the repository that returned it; by the current time where none has.
        """
        return effective(self.status, self.expires_at, self.read_at or utc_now())

    def is_overdue(self, at: datetime) -> bool:
        """Whether the invitation still says pending although its time is over."""
        return effective(self.status, self.expires_at, at) is not self.status

    @classmethod
    def overdue_at(cls, at: datetime) -> ColumnElement[bool]:
        """Return `is_overdue` as a condition of queries."""
        return and_(cls.status == InvitationStatus.PENDING, cls.expires_at < at)

    @property
    def grants(self) -> list[PreTuple]:
        """The distinct pre-tuples, if an invitation may carry them all.

        Raises:
            PreconditionError: ``pre_tuple_format`` or ``pre_tuple_org_role``.
        """
        return list(dict.fromkeys(well_formed(grant, self.org_id) for grant in self.pre_tuples))

    def may_be_offered_by(self, inviter: Membership | None) -> bool:
        """Whether a membership, if there is one, lets its user offer the role."""
        return inviter is not None and inviter.may_give(self.role)

    def require_offered_by(self, inviter: Membership | None) -> None:
        """Refuse an inviter who may not give the role that they offer.

        Args:
            inviter: their active membership in the organization, if there is one.

        Raises:
            ForbiddenError: they are no active owner or admin there, or rank below the role.
        """
        if not self.may_be_offered_by(inviter):
            raise ForbiddenError(
                f"user {self.invited_by} may not offer {self.role} in {self.org_id}",
                usr_id=self.invited_by,
                org_id=self.org_id,
            )

    def already_there(self) -> DuplicateInvitationIdError:
        """Return the refusal that a second invitation of its id gets."""
        return DuplicateInvitationIdError(
            f"there is an invitation {self.id} already", inv_id=self.id
        )

    def renew(self, expires_at: datetime, *, policy: Policy = LETTER, at: datetime) -> None:
        """Let the invitation be answered until a later, or an earlier, moment.

        Args:
            expires_at: the last moment to accept, a timezone-aware datetime.
            policy: what the application decides.
            at: the time of the change.

        Raises:
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            PreconditionError: ``org_not_active``, ``naive_expiration``, ``past_expiration`` or
                ``expiration_range``.
        """
        self._require_pending()
        self.organization.require_active()
        # By a clock that is ahead it may have been created later than now.
        self.expires_at = require_end(expires_at, policy, max(at, self.created_at))
        self.read_at = at

    def canonicalize(self, policy: Policy) -> None:
        """Have whom the invitation is for spelled as the policy stores and compares it.

        Raises:
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            PreconditionError: ``identifier_format`` or ``identifier_length``.
        """
        self._require_pending()
        self.identifier = require_identifier(policy.canonical(self.identifier), policy)

    def erase(self, at: datetime) -> None:
        """Forget whom the invitation is for; one that is pending ends."""
        if self.status is InvitationStatus.PENDING:
            self.end(at)
        self.identifier = f"erased:{self.id.removeprefix('inv_')}"

    def accept(
        self,
        user: User | None,
        *,
        as_usr_id: str | None,
        accepting_identifier: str | None,
        memberships: Collection[Membership],
        inviter: Membership | None = None,
        policy: Policy = LETTER,
        at: datetime,
    ) -> tuple[Membership, list[PreTuple]]:
        """Turn the invitation into its user's membership, and return what else is granted.

        Args:
            user: who accepts: the existing user ``as_usr_id``, ``None`` if there is no such user,
                or a new one where ``as_usr_id`` is ``None``.
            as_usr_id: the existing user who the caller says is accepting.
            accepting_identifier: the identifier that authentication vouches for.
            memberships: the user's active and suspended memberships in the organization.
            inviter: the inviter's active membership there, if there is one; asked for only where
                the policy wants their authority to last.
            policy: what the application decides.
            at: the time of the change.

        Raises:
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.
            IdentifierBindingRequiredError: an existing user without ``accepting_identifier``.
            IdentifierMismatchError: the identifier is not the invited one.
            NotFoundError: there is no such user.
            PreconditionError: ``org_not_active`` or ``mem_suspended``. ``inviter_not_entitled``;
                the policy wants the inviter's authority to last, and it has not.
                ``pre_tuple_format`` or ``pre_tuple_org_role``; a pre-tuple is one that none may
                carry.
            DuplicateMembershipError: the user is an active member already.
        """
        self._require_open(at)
        if as_usr_id is not None:
            self._require_binding(accepting_identifier, policy)
        if user is None:
            raise not_found(User, as_usr_id, "as_usr_id")
        self.organization.require_active()
        self.require_newcomer(memberships)
        if policy.inviter_authority and not self.may_be_offered_by(inviter):
            raise PreconditionError(
                f"inviter {self.invited_by} may no longer offer {self.role} in {self.org_id}",
                Reason.INVITER_NOT_ENTITLED,
                inv_id=self.id,
                usr_id=self.invited_by,
            )
        grants = self.grants  # another SDK may have written what ours refuses to offer
        self._close(InvitationStatus.ACCEPTED, by=user.id, at=at)
        self.invited_user_id = user.id
        membership = Membership.join(
            self.organization, user.id, self.role, invited_by=self.invited_by, at=at
        )
        membership.user = user
        return membership, grants

    def require_newcomer(self, memberships: Iterable[Membership]) -> None:
        """Refuse a user who is a member already, or suspended: an invitation does not lift that.

        Raises:
            DuplicateMembershipError: one of the memberships is active.
            PreconditionError: ``mem_suspended``; one of them is suspended.
        """
        present = {membership.status: membership for membership in memberships}
        if Status.ACTIVE in present:
            raise present[Status.ACTIVE].already_active()
        if Status.SUSPENDED in present:
            suspended = present[Status.SUSPENDED]
            raise PreconditionError(
                f"membership {suspended.id} is suspended; an invitation does not lift that",
                Reason.MEM_SUSPENDED,
                mem_id=suspended.id,
            )

    def decline(self, *, by: str | None, at: datetime) -> None:
        """Refuse the invitation, on behalf of whoever ``by`` names.

        Raises:
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.
        """
        self._require_open(at)
        self._close(InvitationStatus.DECLINED, by=by, at=at)

    def revoke(self, admin: Membership | None, *, admin_usr_id: str, at: datetime) -> None:
        """Withdraw the invitation, as an owner or admin of its organization.

        Args:
            admin: the acting user's active membership in the organization, if there is one.
            admin_usr_id: the acting user.
            at: the time of the change.

        Raises:
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.
            ForbiddenError: the acting user is no active owner or admin there.
        """
        self._require_open(at)
        require_administrator(admin, admin_usr_id, self.org_id)
        self._close(InvitationStatus.REVOKED, by=admin_usr_id, at=at)

    def end(self, at: datetime, *, by: str | None = None) -> None:
        """End with what it depends on, overdue or not: its organization, inviter, or another.

        Args:
            at: the time of the change.
            by: the user whose doing it is, if it is anybody's in particular.

        Raises:
            InvitationNotPendingError: it has been answered, withdrawn or expired.
        """
        self._require_pending()
        self._close(InvitationStatus.REVOKED, by=by, at=at)

    def expire(self, at: datetime) -> None:
        """Note that nobody has answered in time.

        Raises:
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            PreconditionError: ``invalid_transition``; its time is not over.
        """
        self._require_pending()
        if not self.is_overdue(at):
            raise PreconditionError(
                f"invitation {self.id} may be answered until {self.expires_at.isoformat()}",
                Reason.INVALID_TRANSITION,
                inv_id=self.id,
                status=self.status,
            )
        self._close(InvitationStatus.EXPIRED, by=None, at=at)

    def _close(self, status: InvitationStatus, *, by: str | None, at: datetime) -> None:
        self.status = status
        self.terminal_at = at
        self.terminal_by = by

    def _require_pending(self) -> None:
        if self.status is not InvitationStatus.PENDING:
            raise InvitationNotPendingError(
                f"invitation {self.id} is {self.status}", inv_id=self.id, status=self.status
            )

    def _require_open(self, at: datetime) -> None:
        self._require_pending()
        if self.is_overdue(at):
            raise InvitationExpiredError(
                f"invitation {self.id} expired at {self.expires_at.isoformat()}",
                inv_id=self.id,
                expires_at=self.expires_at,
            )

    def _require_binding(self, accepting_identifier: str | None, policy: Policy) -> None:
        if accepting_identifier is None:
            raise IdentifierBindingRequiredError
        if policy.canonical(accepting_identifier) != policy.canonical(self.identifier):
            raise IdentifierMismatchError(accepting_identifier, self.identifier)
