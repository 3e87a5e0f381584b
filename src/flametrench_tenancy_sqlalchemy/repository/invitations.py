"""Invitations: offered, listed, accepted, declined, revoked and expired."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from ..clock import time_of
from ..ids import require
from ..models import Base, Invitation, Organization, User
from ..models.tuple import TupleKey
from ..models.user import user_id, user_id_if_given
from ..results import AcceptInvitationResult
from ..transactions.isolation import NOWHERE, View, Way, reach, spans_organizations
from ..values import InvitationStatus, Page, PreTuple, Role
from . import lists, locks, queries
from .entries import Entries, as_it_is, end_rivals
from .frame import Repository
from .kinds import reads
from .queries import Options


class InvitationOperations(Repository):
    """The operations on invitations."""

    def create_invitation(
        self,
        org_id: str,
        identifier: str,
        role: Role | str,
        invited_by: User | str,
        expires_at: datetime,
        *,
        pre_tuples: Collection[PreTuple | Mapping[str, str]] | None = None,
        inv_id: str | None = None,
    ) -> Invitation:
        """Offer somebody a place in an active organization.

        Args:
            org_id: the organization's wire id (``org_…``).
            identifier: how the invitee is known, an e-mail address as a rule; compared byte for
                byte when they accept. Without control characters, and white space at its ends.
            role: the role that they will get.
            invited_by: the inviting user, or their wire id (``usr_…``).
            expires_at: the last moment to accept, a timezone-aware datetime in the future.
            pre_tuples: what else they will be granted, each a `PreTuple` or a mapping with its
                three keys; no membership role on an organization, and nothing on another
                organization, a user, a membership, an invitation or a tuple.
            inv_id: a fresh wire id (``inv_…``) of the caller's, by which trying again after an
                unknown outcome is recognized; a new one, if none is given.

        Returns:
            The pending invitation.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            PreconditionError: ``role_format``, ``org_not_active``, ``identifier_format``,
                ``identifier_length``, ``naive_expiration``, ``past_expiration``,
                ``expiration_range``, ``pre_tuple_count``, ``pre_tuple_format`` or
                ``pre_tuple_org_role``.
            NotFoundError: there is no such organization or inviter.
            DuplicateInvitationIdError: ``inv_id`` is taken.
            ForbiddenError: the policy asks for the inviter's authority, and they may not give the
                role.
            DuplicateInvitationError: the policy allows one pending invitation for an identifier.
            SeatLimitError: the policy allows the organization no more seats.

        Specification: docs/tenancy.md#invitations, ADR 0003.
        """
        require(org_id, "org", "org_id")
        if inv_id is not None:
            require(inv_id, "inv", "inv_id")
        invited_by = user_id(invited_by, "invited_by")
        users = {"invited_by": invited_by}
        role = Role.parse(role, "role")
        view = View.of(Way.NAMED, org_id)
        with self._operation(
            "create_invitation", view=view, into=org_id, users=users, by=invited_by
        ) as operation:
            self._permit_joining("create_invitation", org_id, role, offers=True)
            invitation = Invitation.draft(
                org_id,
                identifier,
                role,
                id_=inv_id,
                invited_by=invited_by,
                expires_at=expires_at,
                pre_tuples=pre_tuples or (),
                policy=self._policy,
                at=operation.at,
            )
            operation.join(org_id, invitation, named=inv_id is not None)
        return invitation

    @reads
    def get_invitation(self, inv_id: str, *, options: Options | None = None) -> Invitation:
        """Return an invitation, in whatever status it is.

        Args:
            inv_id: its wire id (``inv_…``).
            options: loader options of SQLAlchemy, for what is to be loaded with it.

        Raises:
            InvalidIdError: ``inv_id`` is no ``inv_`` wire id.
            PreconditionError: ``options_format``; the options are something else.
            NotFoundError: there is no such invitation.

        Specification: docs/tenancy.md#invitations.
        """
        with self._seeing(View.of(Way.INVITATIONS, require(inv_id, "inv", "inv_id"))):
            invitation = queries.get(self.session, Invitation, "inv_id", inv_id, options=options)
            self._permit_reading("get_invitation", invitation, options=options)
        invitation.read_at = time_of(self._clock)
        return invitation

    @reads
    def list_invitations(
        self,
        org_id: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: InvitationStatus | str | None = None,
        options: Options | None = None,
    ) -> Page[Invitation]:
        """Return a page of an organization's invitations.

        Args:
            org_id: the organization's wire id (``org_…``).
            cursor: the ``next_cursor`` of the page before.
            limit: how many, from 1 to 200; numbers outside are brought inside.
            status: only invitations in this status; a pending one whose time is over counts as
                expired.
            options: loader options of SQLAlchemy, for what is to be loaded with them.

        Raises:
            InvalidIdError: ``org_id`` or ``cursor`` is malformed or of another type.
            PreconditionError: ``status_format``, ``limit_format`` or ``options_format``; the
                argument is malformed.
            NotFoundError: there is no such organization.

        Specification: docs/tenancy.md#invitations.
        """
        require(org_id, "org", "org_id")
        with self._seeing(View.of(Way.NAMED, org_id)):
            self._permit_reading_in("list_invitations", org_id)
            wanted, now = InvitationStatus.parse_if_given(status, "status"), time_of(self._clock)
            page = queries.page(
                self.session,
                Invitation,
                lists.invitations_in(wanted),
                cursor=cursor,
                limit=limit,
                options=options,
                there=org_id,
                now=now,
            )
            for invitation in page:
                invitation.read_at = now
            if not page.data:
                queries.require_known(self.session, Organization, "org_id", org_id)
        return page

    def accept_invitation(
        self,
        inv_id: str,
        *,
        as_usr_id: User | str | None = None,
        accepting_identifier: str | None = None,
    ) -> AcceptInvitationResult:
        """Accept an invitation, as an existing user or as a new one.

        The membership, its tuple, a tuple for each distinct pre-tuple and the invitation's end
        are one unit; a tuple that exists already is kept, and reported all the same.

        Args:
            inv_id: the invitation's wire id (``inv_…``).
            as_usr_id: the accepting user, or their wire id (``usr_…``); a new user where it is
                omitted.
            accepting_identifier: the identifier that the caller's authentication vouches for,
                never the request's body; required with ``as_usr_id``, and not looked at without it.

        Returns:
            The accepted invitation, the new membership and the tuples of its pre-tuples.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            NotFoundError: there is no such invitation or user.
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.
            IdentifierBindingRequiredError: ``as_usr_id`` without ``accepting_identifier``.
            IdentifierMismatchError: the identifier is not the invited one, byte for byte or as the
                policy makes both canonical.
            PreconditionError: ``org_not_active``. ``mem_suspended``; the user is suspended there.
                ``inviter_not_entitled``; the policy wants the inviter's authority to last.
                ``pre_tuple_format`` or ``pre_tuple_org_role``; another client wrote a pre-tuple
                that none may carry.
            DuplicateMembershipError: the user is an active member already.

        Specification: docs/tenancy.md#atomic-acceptance, ADR 0009.
        """
        require(inv_id, "inv", "inv_id")
        as_usr_id = user_id_if_given(as_usr_id, "as_usr_id")
        users, policy = {"as_usr_id": as_usr_id}, self._policy
        alone = policy.seats is not None or policy.accept_ends_others
        about = () if as_usr_id is None else (as_usr_id,)
        view = View.of(Way.INVITATIONS, inv_id, about=about)
        with self._operation(
            "accept_invitation", view=view, users=users, by=as_usr_id
        ) as operation:
            user: User | None
            if as_usr_id is None:
                invitation = locks.invitation(self.session, inv_id, alone=alone)
                user = User.register(at=operation.at)
                reach(self.session, [user.id])
                present = []
            else:
                invitation, user = locks.invitation_and_user(
                    self.session, inv_id, as_usr_id, alone=alone
                )
                self._permit("accept_invitation", invitation)
                present = locks.present(self.session, invitation.org_id, as_usr_id)
            inviter = None
            if policy.inviter_authority:
                inviter = locks.administrator(
                    self.session, invitation.invited_by, invitation.org_id
                )
            membership, grants = invitation.accept(
                user,
                as_usr_id=as_usr_id,
                accepting_identifier=accepting_identifier,
                memberships=present,
                inviter=inviter,
                policy=policy,
                at=operation.at,
            )
            keys = [TupleKey.of(membership.usr_id, grant) for grant in grants]
            written = operation.write(
                changed=[
                    invitation,
                    *(end_rivals(self.session, policy, invitation) if alone else ()),
                ],
                added=[membership] if as_usr_id else [user, membership],
                grants=keys,
                created_by=invitation.invited_by,
            )
        tuples = [written.grants[key] for key in keys]
        return AcceptInvitationResult(invitation, membership, materialized_tuples=tuples)

    def decline_invitation(self, inv_id: str, *, as_usr_id: User | str | None = None) -> Invitation:
        """Refuse an invitation.

        Args:
            inv_id: the invitation's wire id (``inv_…``).
            as_usr_id: the user who refuses, or their wire id (``usr_…``), where they have one.

        Returns:
            The declined invitation.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            NotFoundError: there is no such invitation or user.
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.

        Specification: docs/tenancy.md#invitations, ADR 0003.
        """
        require(inv_id, "inv", "inv_id")
        as_usr_id = user_id_if_given(as_usr_id, "as_usr_id")
        users = {"as_usr_id": as_usr_id}
        view = View.of(Way.INVITATIONS, inv_id)
        with self._operation(
            "decline_invitation", view=view, users=users, by=as_usr_id
        ) as operation:
            invitation = locks.invitation(self.session, inv_id)
            self._permit("decline_invitation", invitation)
            invitation.decline(by=as_usr_id, at=operation.at)
            operation.write(changed=[invitation])
        return invitation

    def revoke_invitation(self, inv_id: str, admin_usr_id: User | str) -> Invitation:
        """Withdraw an invitation, as an administrator of its organization.

        Args:
            inv_id: the invitation's wire id (``inv_…``).
            admin_usr_id: the acting user, or their wire id (``usr_…``).

        Returns:
            The revoked invitation.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            NotFoundError: there is no such invitation.
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            InvitationExpiredError: its time is over.
            ForbiddenError: the acting user is no active owner or admin there.

        Specification: docs/tenancy.md#invitations, ADR 0003.
        """
        require(inv_id, "inv", "inv_id")
        admin_usr_id = user_id(admin_usr_id, "admin_usr_id")
        view = View.of(Way.INVITATIONS, inv_id)
        with self._operation("revoke_invitation", view=view, by=admin_usr_id) as operation:
            invitation, admin = locks.invitation_and_administrator(
                self.session, inv_id, admin_usr_id
            )
            self._permit("revoke_invitation", invitation, invitation.role, look=lambda *_: admin)
            invitation.revoke(admin, admin_usr_id=admin_usr_id, at=operation.at)
            operation.write(changed=[invitation])
        return invitation

    def renew_invitation(self, inv_id: str, expires_at: datetime) -> Invitation:
        """Let a pending invitation, overdue or not, be answered until another moment.

        Args:
            inv_id: the invitation's wire id (``inv_…``).
            expires_at: the last moment to accept, a timezone-aware datetime in the future.

        Returns:
            The same invitation, with the new end.

        Raises:
            InvalidIdError: ``inv_id`` is no ``inv_`` wire id.
            NotFoundError: there is no such invitation.
            InvitationNotPendingError: it has been answered, withdrawn or expired.
            PreconditionError: ``org_not_active``, ``naive_expiration``, ``past_expiration`` or
                ``expiration_range``.
            DuplicateInvitationError: it was overdue, and the policy allows one pending invitation
                for an identifier.
            SeatLimitError: it was overdue, and the policy allows the organization no more seats.
        """
        require(inv_id, "inv", "inv_id")
        session, policy = self.session, self._policy
        view = View.of(Way.INVITATIONS, inv_id)
        with self._operation("renew_invitation", view=view) as operation:
            invitation = locks.invitation(session, inv_id, alone=policy.looks_at_others())
            self._permit("renew_invitation", invitation, invitation.role)
            org, returns = invitation.organization, invitation.is_overdue(operation.at)
            entries = Entries(
                session, policy, [org], [invitation], ending=operation.ending, at=operation.at
            )
            invitation.renew(expires_at, policy=policy, at=operation.at)
            others: list[Base] = []
            if returns and policy.looks_at_others():
                others = [*entries.admit(invitation), as_it_is(org)]
            operation.write(changed=[invitation, *others])
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
        self._permit_alone("expire_invitations")
        limit = max(1, min(queries.whole_number(limit), _BIGINT))
        with self._operation("expire_invitations", view=NOWHERE) as operation:
            spans_organizations(self.session, operation.name, "inv", "worker")
            return operation.expire(limit=limit)


# As far as the server counts.
_BIGINT: Final = 2**63 - 1
