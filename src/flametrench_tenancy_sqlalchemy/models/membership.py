"""Memberships: who belongs to an organization, as what, and when they may leave or be removed.

Every rule about members that loaded objects can decide is a method here; the repository locks
the rows, calls one of them and writes what changed.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..errors import (
    DuplicateMembershipError,
    ForbiddenError,
    NotFoundError,
    PreconditionError,
    Reason,
    RoleHierarchyError,
    SoleOwnerError,
)
from ..ids import WireId, new_id
from ..values import PreTuple, Role, Status
from .base import (
    Base,
    TermType,
    Timestamps,
    described,
    id_column,
    one_of,
    page_index,
    partial_index,
)
from .organization import Organization
from .tuple import TupleKey
from .user import User


class Membership(Timestamps, Base):
    """One user's participation in one organization, in one role.

    While it is active, the tuple that `grant` describes exists; a role never changes in place.

    Specification: docs/tenancy.md#memberships, ADR 0002, ADR 0005.
    """

    __tablename__ = "mem"
    __table_args__ = (
        one_of(Role, "mem", "role"),
        one_of(Status, "mem", "status"),
        partial_index(
            "mem_unique_active", "usr_id", "org_id", where=text("status = 'active'"), unique=True
        ),
        Index("mem_org_idx", "org_id"),
        Index("mem_usr_idx", "usr_id"),
        partial_index("mem_replaces_idx", "replaces", where=text("replaces IS NOT NULL")),
        partial_index(
            "mem_replaces_unique", "replaces", where=text("replaces IS NOT NULL"), unique=True
        ),
        partial_index(
            "mem_owner_idx", "org_id", "id", where=text("role = 'owner' AND status = 'active'")
        ),
        page_index("mem_org_page_idx", "org_id NULLS FIRST", "id", "role"),
        page_index("mem_org_status_page_idx", "status", "org_id", "id", "role"),
        page_index("mem_usr_page_idx", "usr_id NULLS FIRST", "id"),
        page_index("mem_usr_status_page_idx", "status NULLS FIRST", "usr_id", "id"),
    )

    id: Mapped[str] = id_column("mem")
    usr_id: Mapped[str] = mapped_column(WireId("usr"), ForeignKey(User.id))
    org_id: Mapped[str] = mapped_column(WireId("org"), ForeignKey(Organization.id))
    role: Mapped[Role] = mapped_column(TermType(Role))
    status: Mapped[Status] = mapped_column(
        TermType(Status), default=Status.ACTIVE, server_default=Status.ACTIVE
    )
    replaces: Mapped[str | None] = mapped_column(WireId("mem"), ForeignKey("mem.id"))
    invited_by: Mapped[str | None] = mapped_column(WireId("usr"), ForeignKey(User.id))
    removed_by: Mapped[str | None] = mapped_column(WireId("usr"), ForeignKey(User.id))

    organization: Mapped[Organization] = relationship()
    user: Mapped[User] = relationship(foreign_keys=usr_id)
    inviter: Mapped[User | None] = relationship(foreign_keys=invited_by)
    remover: Mapped[User | None] = relationship(foreign_keys=removed_by)
    predecessor: Mapped[Membership | None] = relationship(remote_side="Membership.id")

    def __repr__(self) -> str:
        return described(self, "role", "status")

    @classmethod
    def join(
        cls,
        organization: Organization,
        usr_id: str,
        role: Role,
        *,
        invited_by: str | None = None,
        at: datetime,
    ) -> Self:
        """Return the active membership of a user who joins an active organization.

        Args:
            organization: the organization that the user joins.
            usr_id: the user's wire id (``usr_…``).
            role: the role that the user gets.
            invited_by: the wire id (``usr_…``) of the user who brought them in.
            at: the time of the change, a timezone-aware datetime, here and everywhere below.

        Raises:
            PreconditionError: ``org_not_active``.
        """
        membership = cls.draft(organization.id, usr_id, role, invited_by=invited_by, at=at)
        membership.enter(organization)
        return membership

    @classmethod
    def draft(
        cls, org_id: str, usr_id: str, role: Role, *, invited_by: str | None, at: datetime
    ) -> Self:
        """Return what becomes a user's membership when it may `enter` the organization."""
        return cls(
            id=new_id("mem"),
            usr_id=usr_id,
            org_id=org_id,
            role=role,
            status=Status.ACTIVE,
            replaces=None,
            invited_by=invited_by,
            removed_by=None,
            created_at=at,
            updated_at=at,
        )

    def enter(self, organization: Organization) -> None:
        """Join the organization, which must be active.

        Raises:
            PreconditionError: ``org_not_active``.
        """
        organization.require_active()
        self.organization = organization

    @property
    def grant(self) -> PreTuple:
        """The membership as an authorization fact about its user; its tuple while active."""
        return PreTuple(relation=self.role.value, object_type="org", object_id=self.org_id)

    @property
    def tuple_key(self) -> TupleKey:
        """The key of its tuple."""
        return TupleKey.of(self.usr_id, self.grant)

    @property
    def is_active_owner(self) -> bool:
        """Whether the organization may depend on this membership for its owner."""
        return self.status is Status.ACTIVE and self.role is Role.OWNER

    @property
    def is_administrator(self) -> bool:
        """Whether this membership may remove members and revoke invitations."""
        return self.status is Status.ACTIVE and self.role in (Role.OWNER, Role.ADMIN)

    def may_give(self, role: Role) -> bool:
        """Whether an administrator may give, or touch, a role: none may rank above their own."""
        return self.is_administrator and role.rank <= self.role.rank

    def change_role(
        self, role: Role, *, other_owners: Collection[Membership], at: datetime
    ) -> Membership:
        """Return the membership that holds ``role`` from now on: a successor, or this one.

        Args:
            role: the new role; the one held already changes nothing.
            other_owners: the organization's other active owners.
            at: the time of the change.

        Raises:
            PreconditionError: ``mem_not_active``; it is suspended or revoked.
            SoleOwnerError: it is the last active owner's.
        """
        self._require_active()
        if role is self.role:
            return self
        self._require_not_last_owner(other_owners)
        return self._succeed(role, at)

    def suspend(self, *, other_owners: Collection[Membership], at: datetime) -> None:
        """Pause an active membership, unless it is the last owner's.

        Args:
            other_owners: the organization's other active owners.
            at: the time of the change.

        Raises:
            PreconditionError: ``mem_not_active``; it is suspended or revoked.
            SoleOwnerError: it is the last active owner's.
        """
        self._require_active()
        self._require_not_last_owner(other_owners)
        self.status = Status.SUSPENDED
        self._touch(at)

    def reinstate(self, at: datetime) -> None:
        """Bring a suspended membership back into an active organization.

        Raises:
            PreconditionError: ``invalid_transition``; it is not suspended. ``org_not_active``.
        """
        if self.status is not Status.SUSPENDED:
            raise PreconditionError(
                f"membership {self.id} is {self.status}; only a suspended one can be reinstated",
                Reason.INVALID_TRANSITION,
                mem_id=self.id,
                status=self.status,
            )
        self.organization.require_active()
        self.status = Status.ACTIVE
        self._touch(at)

    def leave(
        self,
        *,
        other_owners: Collection[Membership],
        transfer_to: str | None,
        heir: Membership | None,
        even_suspended: bool = False,
        at: datetime,
    ) -> Membership | None:
        """End the membership at its user's own wish; a last owner must name an heir.

        Args:
            other_owners: the organization's other active owners.
            transfer_to: the user whom a last owner makes owner; ignored while others remain.
            heir: that user's active membership, if there is one.
            even_suspended: whether they may leave while they are suspended, too.
            at: the time of the change.

        Returns:
            The heir's new owner membership, or ``None`` where nobody had to be promoted.

        Raises:
            PreconditionError: ``mem_not_active``; it is suspended or revoked. ``self_transfer``;
                the heir would be the leaver.
            SoleOwnerError: it is the last active owner's, and nobody is named.
            NotFoundError: who is named has no active membership there.
        """
        if not (even_suspended and self.status is Status.SUSPENDED):
            self._require_active()
        promoted = None
        if self.is_active_owner and not other_owners:
            if transfer_to is None:
                raise self._sole_owner()
            if transfer_to == self.usr_id:
                raise PreconditionError(
                    f"transfer_to {transfer_to} is the leaving owner", Reason.SELF_TRANSFER
                )
            if heir is None:
                raise NotFoundError(
                    f"transfer_to {transfer_to} has no active membership in {self.org_id}",
                    parameter="transfer_to",
                    id=transfer_to,
                    org_id=self.org_id,
                )
            promoted = heir._succeed(Role.OWNER, at)
        self._revoke(at)
        return promoted

    def remove(self, admin: Membership | None, *, admin_usr_id: str, at: datetime) -> None:
        """End the membership at an administrator's wish, within the hierarchy of roles.

        Args:
            admin: the acting user's active membership in this organization, if there is one.
            admin_usr_id: the acting user.
            at: the time of the change.

        Raises:
            PreconditionError: ``mem_not_active``; it is revoked already. ``scope_mismatch``; its
                role has no place in the hierarchy.
            ForbiddenError: the acting user is no active owner or admin there.
            RoleHierarchyError: it is an owner's, or its role is above the acting user's.
        """
        if self.status is Status.REVOKED:
            raise self._not_active()
        admin = require_administrator(admin, admin_usr_id, self.org_id)
        if self.role is Role.OWNER:
            raise RoleHierarchyError(
                f"membership {self.id} is an owner's; ownership ends by transfer, not by removal",
                mem_id=self.id,
                role=self.role,
            )
        rank, admin_rank = self.role.admin_rank(), admin.role.admin_rank()
        if rank is None or admin_rank is None:
            raise PreconditionError(
                f"membership {self.id} holds {self.role}, which has no place in the hierarchy",
                Reason.SCOPE_MISMATCH,
                mem_id=self.id,
                role=self.role,
            )
        if admin_rank < rank:
            raise RoleHierarchyError(
                f"{admin.role} may not remove {self.role}", mem_id=self.id, role=self.role
            )
        self.removed_by = admin_usr_id
        self._revoke(at)

    def end(self, at: datetime) -> None:
        """End with the organization; nobody in particular has removed the member.

        Raises:
            PreconditionError: ``mem_not_active``; it is revoked already.
        """
        if self.status is Status.REVOKED:
            raise self._not_active()
        self.removed_by = None
        self._revoke(at)

    def transfer_ownership(
        self, target: Membership, *, org_id: str, at: datetime
    ) -> tuple[Membership, Membership]:
        """Hand ownership of an organization to another of its members.

        Args:
            target: the membership that becomes owner; it stays as it is if it already is one.
            org_id: the organization that the caller means.
            at: the time of the change.

        Returns:
            The donor's membership, now a plain member's, and the target's, now an owner's.

        Raises:
            PreconditionError: ``from_not_active`` or ``to_not_active``; one of the two is
                suspended or revoked. ``org_mismatch``; they are not both there.
                ``from_not_owner``. ``self_transfer``; both are the same user's.
        """
        for membership, reason in ((self, Reason.FROM_NOT_ACTIVE), (target, Reason.TO_NOT_ACTIVE)):
            if membership.status is not Status.ACTIVE:
                raise membership._not_active(reason)
        if not self.org_id == target.org_id == org_id:
            raise PreconditionError(
                f"memberships {self.id} and {target.id} are not both in {org_id}",
                Reason.ORG_MISMATCH,
                org_id=org_id,
            )
        if self.role is not Role.OWNER:
            raise PreconditionError(
                f"membership {self.id} is no owner's", Reason.FROM_NOT_OWNER, mem_id=self.id
            )
        if self.usr_id == target.usr_id:
            raise PreconditionError(
                f"user {self.usr_id} owns {org_id} already",
                Reason.SELF_TRANSFER,
                usr_id=self.usr_id,
            )
        to = target if target.role is Role.OWNER else target._succeed(Role.OWNER, at)
        return self._succeed(Role.MEMBER, at), to

    def already_active(self) -> DuplicateMembershipError:
        """Return the refusal that a second active membership of the same user gets."""
        return DuplicateMembershipError(
            f"user {self.usr_id} already has an active membership in {self.org_id}",
            usr_id=self.usr_id,
            org_id=self.org_id,
        )

    def _succeed(self, role: Role, at: datetime) -> Membership:
        # History must read in order even where two servers' clocks do not.
        created_at = max(at, self.created_at + timedelta(microseconds=1))
        self._revoke(at)
        return Membership(
            id=new_id("mem"),
            usr_id=self.usr_id,
            org_id=self.org_id,
            organization=self.organization,
            role=role,
            status=Status.ACTIVE,
            replaces=self.id,
            predecessor=self,
            invited_by=self.invited_by,
            removed_by=None,
            created_at=created_at,
            updated_at=created_at,
        )

    def _revoke(self, at: datetime) -> None:
        self.status = Status.REVOKED
        self._touch(at)

    def _require_active(self) -> None:
        if self.status is not Status.ACTIVE:
            raise self._not_active()

    def _not_active(self, reason: Reason = Reason.MEM_NOT_ACTIVE) -> PreconditionError:
        return PreconditionError(
            f"membership {self.id} is {self.status}", reason, mem_id=self.id, status=self.status
        )

    def _require_not_last_owner(self, other_owners: Collection[Membership]) -> None:
        if self.role is Role.OWNER and not other_owners:
            raise self._sole_owner()

    def _sole_owner(self) -> SoleOwnerError:
        return SoleOwnerError(
            f"membership {self.id} is the last active owner's of {self.org_id}",
            mem_id=self.id,
            org_id=self.org_id,
        )


def require_administrator(membership: Membership | None, usr_id: str, org_id: str) -> Membership:
    """Return a user's membership if it makes them an active owner or admin of the organization.

    Raises:
        ForbiddenError: it does not, or there is none.
    """
    if membership is None or not membership.is_administrator:
        raise ForbiddenError(
            f"user {usr_id} is no active owner or admin of {org_id}", usr_id=usr_id, org_id=org_id
        )
    return membership
