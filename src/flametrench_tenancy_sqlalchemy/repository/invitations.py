"""Invitations: offered, listed, accepted, declined, revoked and expired."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Subquery,
    Update,
    and_,
    bindparam,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.orm import QueryableAttribute, aliased, contains_eager

from .._integrity import MEM_UNIQUE_ACTIVE
from ..errors import TenancyError
from ..ids import require
from ..models import Invitation, Membership, Organization, User
from ..models.base import not_found
from ..models.tuple import TupleKey
from ..results import AcceptInvitationResult
from ..values import (
    InvitationStatus,
    Page,
    PreTuple,
    Role,
    Status,
)
from .base import parsed_users, whole_number, word
from .locking import LockingRead, Query, bare, row_version
from .pages import invitations_in
from .tuples import TupleOperations
from .writes import Writes


class InvitationOperations(TupleOperations):
    """The operations on invitations."""

    def create_invitation(
        self,
        org_id: str,
        identifier: str,
        role: Role | str,
        invited_by: str,
        expires_at: datetime,
        *,
        pre_tuples: Collection[PreTuple | Mapping[str, str]] | None = None,
    ) -> Invitation:
        """Offer somebody a place in an active organization.

        Args:
            org_id: the organization's wire id (``org_…``).
            identifier: how the invitee is known, an e-mail address as a rule; compared byte for
                byte when he accepts.
            role: the role he will get.
            invited_by: the inviting user's wire id (``usr_…``).
            expires_at: the last moment to accept, a timezone-aware datetime in the future.
            pre_tuples: what else he will be granted, each a `PreTuple` or a mapping with its three
                keys; no membership role on an organization.

        Returns:
            The pending invitation.

        Raises:
            InvalidIdError: an id is malformed or of another type.
            PreconditionError: ``role_format``, ``org_not_active``, ``identifier_format``,
                ``naive_expiration``, ``past_expiration``, ``expiration_range``,
                ``pre_tuple_format`` or ``pre_tuple_org_role``.
            NotFoundError: there is no such organization or inviter.

        Specification: docs/tenancy.md#invitations, ADR 0003.
        """
        require(org_id, "org", "org_id")
        users = {"invited_by": require(invited_by, "usr", "invited_by")}
        role = Role.parse(role, "role")
        with self._operation("create_invitation", into=org_id, users=users) as now:
            invitation = Invitation.draft(
                org_id,
                identifier,
                role,
                invited_by=invited_by,
                expires_at=expires_at,
                pre_tuples=pre_tuples or (),
                at=now,
            )
            self._enter(org_id, invitation, at=now)
        return invitation

    def get_invitation(self, inv_id: str) -> Invitation:
        """Return an invitation, in whatever status it is.

        Args:
            inv_id: its wire id (``inv_…``).

        Raises:
            InvalidIdError: ``inv_id`` is no ``inv_`` wire id.
            NotFoundError: there is no such invitation.

        Specification: docs/tenancy.md#invitations.
        """
        return self._get(Invitation, "inv_id", inv_id)

    def list_invitations(
        self,
        org_id: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: InvitationStatus | str | None = None,
    ) -> Page[Invitation]:
        """Return a page of an organization's invitations.

        Args:
            org_id: the organization's wire id (``org_…``).
            cursor: the ``next_cursor`` of the page before.
            limit: how many, from 1 to 200; numbers outside are brought inside.
            status: only invitations in this status; a pending one whose time is over counts as
                expired.

        Raises:
            InvalidIdError: ``org_id`` or ``cursor`` is malformed or of another type.
            PreconditionError: ``status_format`` or ``limit_format``; the argument is malformed.
            NotFoundError: there is no such organization.

        Specification: docs/tenancy.md#invitations.
        """
        require(org_id, "org", "org_id")
        wanted = InvitationStatus.parse_if_given(status, "status")
        given = {"there": org_id, "now": self._now()}
        page = self._page(Invitation, invitations_in(wanted), cursor=cursor, limit=limit, **given)
        if not page.data:
            self._require_known(Organization, "org_id", org_id)
        return page

    def accept_invitation(
        self,
        inv_id: str,
        *,
        as_usr_id: str | None = None,
        accepting_identifier: str | None = None,
    ) -> AcceptInvitationResult:
        """Accept an invitation, as an existing user or as a new one.

        The membership, its tuple, a tuple for each distinct pre-tuple and the invitation's end
        are one unit; a tuple that exists already is kept, and reported all the same.

        Args:
            inv_id: the invitation's wire id (``inv_…``).
            as_usr_id: the accepting user's wire id (``usr_…``); a new user where it is omitted.
            accepting_identifier: the identifier that the caller's authentication vouches for,
                never the request's body; required with ``as_usr_id``.

        Returns:
            The accepted invitation, the new membership and the tuples of its pre-tuples.

        Raises:
            InvalidIdError: an id is malformed or of another type.
            NotFoundError: there is no such invitation or user.
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.
            IdentifierBindingRequiredError: ``as_usr_id`` without ``accepting_identifier``.
            IdentifierMismatchError: the identifier is not, byte for byte, the invited one.
            PreconditionError: ``org_not_active``. ``mem_suspended``; the user is suspended there.
                ``pre_tuple_format`` or ``pre_tuple_org_role``; another client wrote a pre-tuple
                that none may carry.
            DuplicateMembershipError: the user is an active member already.

        Specification: docs/tenancy.md#atomic-acceptance, ADR 0009.
        """
        require(inv_id, "inv", "inv_id")
        users = parsed_users(as_usr_id=as_usr_id)
        conflicts: dict[str, TenancyError] = {}
        with self._operation("accept_invitation", users=users, conflicts=conflicts) as now:
            if as_usr_id is None:
                invitation = self._lock_invitation(inv_id)
                user: User | None = User.register(at=now)
            else:
                invitation, user = self._lock_invitation_with(
                    _invitation_with_user(), inv_id, as_usr_id
                )
            accept = partial(
                invitation.accept,
                user,
                as_usr_id=as_usr_id,
                accepting_identifier=accepting_identifier,
                at=now,
            )
            try:
                membership, grants = accept(memberships=())
            except TenancyError:
                # Whether he is there already comes before some of the other checks.
                accept(memberships=self._present(invitation.org_id, as_usr_id))
                raise
            conflicts[MEM_UNIQUE_ACTIVE] = membership.already_active()
            keys = [TupleKey.of(membership.usr_id, grant) for grant in grants]
            entities = (membership, invitation) if as_usr_id else (user, membership, invitation)
            writes = Writes(*entities, grants=keys, created_by=invitation.invited_by, at=now)
            if as_usr_id is None:
                new = self._carry_out(writes)
            else:
                # The write finds an active membership in its way, and returns a suspended one.
                there = {"there": invitation.org_id, "whose": as_usr_id}
                new, present = self._carry_out_asking(writes, _PRESENT, there)
                invitation.require_newcomer(filter(None, present))
            tuples = self._with_kept(keys, new, created_by=invitation.invited_by, at=now)
        return AcceptInvitationResult(invitation, membership, materialized_tuples=tuples)

    def decline_invitation(self, inv_id: str, *, as_usr_id: str | None = None) -> Invitation:
        """Refuse an invitation.

        Args:
            inv_id: the invitation's wire id (``inv_…``).
            as_usr_id: the wire id (``usr_…``) of the user who refuses, where he has one.

        Returns:
            The declined invitation.

        Raises:
            InvalidIdError: an id is malformed or of another type.
            NotFoundError: there is no such invitation or user.
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.

        Specification: docs/tenancy.md#invitations, ADR 0003.
        """
        require(inv_id, "inv", "inv_id")
        users = parsed_users(as_usr_id=as_usr_id)
        with self._operation("decline_invitation", users=users) as now:
            invitation = self._lock_invitation(inv_id)
            invitation.decline(by=as_usr_id, at=now)
            self._write(invitation, at=now)
        return invitation

    def revoke_invitation(self, inv_id: str, admin_usr_id: str) -> Invitation:
        """Withdraw an invitation, as an administrator of its organization.

        Args:
            inv_id: the invitation's wire id (``inv_…``).
            admin_usr_id: the acting user's wire id (``usr_…``).

        Returns:
            The revoked invitation.

        Raises:
            InvalidIdError: an id is malformed or of another type.
            NotFoundError: there is no such invitation.
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.
            ForbiddenError: the acting user is no active owner or admin there.

        Specification: docs/tenancy.md#invitations, ADR 0003.
        """
        require(inv_id, "inv", "inv_id")
        require(admin_usr_id, "usr", "admin_usr_id")
        with self._operation("revoke_invitation") as now:
            invitation, admin = self._lock_invitation_with(
                _invitation_with_administrator(), inv_id, admin_usr_id
            )
            # He may have become one while we waited.
            admin = admin or self._lock_administrator(admin_usr_id, invitation.org_id)
            invitation.revoke(admin, admin_usr_id=admin_usr_id, at=now)
            self._write(invitation, at=now)
        return invitation

    def expire_invitations(self, *, limit: int = 1000) -> int:
        """Move overdue invitations from pending to expired, for a periodic job.

        Rows that others have locked are left for the next time, so that jobs may run side by side.

        Args:
            limit: how many at the most; at least one.

        Returns:
            How many were moved.

        Raises:
            PreconditionError: ``limit_format``; the limit is not a whole number.

        Specification: ADR 0003.
        """
        limit = max(1, min(whole_number(limit), _BIGINT))
        with self._operation("expire_invitations") as now:
            expired = self.session.scalars(expire_overdue(now, limit=limit)).all()
        return len(expired)

    def _lock_invitation(self, inv_id: str) -> Invitation:
        """Lock an invitation behind a shared lock on its organization, which comes with it."""
        return self._lock_one(Invitation, _invitation_to_change(), "inv_id", inv_id)

    def _lock_invitation_with(
        self, read: LockingRead, inv_id: str, usr_id: str
    ) -> tuple[Invitation, Any]:
        """Do the same, and return what a user is to it, if he is."""
        found = self._lock(read, {"sought": inv_id, "whose": usr_id})
        if not found:
            raise not_found(Invitation, inv_id, "inv_id")
        invitation, beside = found[0]
        return invitation, beside

    def _present(self, org_id: str, usr_id: str | None) -> list[Membership]:
        """Return the active and suspended memberships of a user in an organization."""
        given = {"there": org_id, "whose": usr_id}
        return [m for m in self.session.scalars(_PRESENT, given) if m is not None]


# As far as the server counts.
_BIGINT: Final = 2**63 - 1


def expire_overdue(at: datetime, *, limit: int | None = None) -> Update:
    """Return the statement that ends overdue invitations which nobody has locked, oldest first.

    It returns their ids.
    """
    overdue = (
        select(Invitation.id)
        .where(Invitation.overdue_at(at))
        .order_by(Invitation.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return (
        update(Invitation)
        .where(Invitation.id.in_(overdue))
        .values(status=InvitationStatus.EXPIRED, terminal_at=at, terminal_by=None)
        .returning(Invitation.id)
    )


class _Beside(NamedTuple):
    """What is read beside an invitation, if it is there: the entity, its place and its version."""

    entity: Any
    on: ColumnElement[bool]
    version: tuple[str, ...] = ()


# The queries below are made when they are first needed: by then the application has added to the
# models what it wants to.


def _locked_org(name: str) -> Subquery:
    """Return the organization, locked in a subquery, which the database finishes first."""
    return (
        select(Organization, row_version("org").label("version"))
        .join(Invitation, Invitation.org_id == Organization.id)
        .where(Invitation.id == bindparam("sought"))
        .with_for_update(read=True, of=Organization)
        .subquery(name)
    )


def _locked_administrator() -> Subquery:
    """Return an administrator's membership, locked behind its organization in the same way."""
    its_org = _locked_org("its_org")
    return (
        select(Membership, row_version("mem").label("version"))
        .join(its_org, its_org.c.id == Membership.org_id)
        .where(Membership.usr_id == bindparam("whose"), Membership.status == word(Status.ACTIVE))
        .with_for_update(read=True, of=Membership)
        .subquery("locked_mem")
    )


def _with_org(
    org: QueryableAttribute[Organization], version: str, beside: _Beside | None = None
) -> Query:
    query = select(Invitation).join(org).where(Invitation.id == bindparam("sought"))
    versions: tuple[str, ...] = ("inv.id", "inv.xmin", version)
    if beside is not None:
        query = query.add_columns(beside.entity).outerjoin(beside.entity, beside.on)
        versions += beside.version
    return Query(query, versions, (contains_eager(org),))


def _behind_its_org(
    beside: _Beside | None = None, *, unlocked: _Beside | None = None
) -> LockingRead:
    """Return the read of an invitation which locks its organization first.

    Args:
        beside: what is read, or locked, with it.
        unlocked: the same without a lock.
    """
    org = Invitation.organization.of_type(aliased(Organization, _locked_org("locked_org")))
    return LockingRead(
        _with_org(org, "locked_org.version", beside),
        {"key_share": True, "of": Invitation},
        unlocked=_with_org(Invitation.organization, "org.xmin", unlocked or beside),
    )


@cache
def _invitation_to_change() -> LockingRead:
    return _behind_its_org()


@cache
def _invitation_with_user() -> LockingRead:
    return _behind_its_org(_Beside(User, User.id == bindparam("whose")))


@cache
def _invitation_with_administrator() -> LockingRead:
    return _behind_its_org(
        _Beside(
            aliased(Membership, _locked_administrator()),
            true(),
            ("locked_mem.id", "locked_mem.version"),
        ),
        unlocked=_Beside(
            Membership,
            and_(
                Membership.org_id == Invitation.org_id,
                Membership.usr_id == bindparam("whose"),
                Membership.status == word(Status.ACTIVE),
            ),
            ("mem.id", "mem.xmin"),
        ),
    )


# One row at least, to which other things can be added.
_PRESENT: Final = bare(
    select(Membership)
    .select_from(select(literal_column("1").label("one")).subquery())
    .outerjoin(
        Membership,
        and_(
            Membership.usr_id == bindparam("whose"),
            Membership.org_id == bindparam("there"),
            Membership.status != Status.REVOKED,
        ),
    )
)
