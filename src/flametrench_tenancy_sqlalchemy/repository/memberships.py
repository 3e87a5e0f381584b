"""Memberships: joined, listed, changed and suspended; `departures` has how they end."""

from __future__ import annotations

from collections.abc import Collection

from ..clock import time_of
from ..errors import PreconditionError, Reason, shown
from ..ids import require
from ..models import Membership, Organization, User
from ..models.user import user_id, user_id_if_given
from ..transactions.isolation import View, Way
from ..values import Page, Role, SeatCount, Status
from . import lists, locks, queries
from .entries import seats_of
from .frame import Repository
from .kinds import reads
from .queries import Options


class MembershipOperations(Repository):
    """The operations on memberships."""

    def add_member(
        self,
        org_id: str,
        usr_id: User | str,
        role: Role | str,
        *,
        invited_by: User | str | None = None,
    ) -> Membership:
        """Make a user a member of an active organization.

        Args:
            org_id: the organization's wire id (``org_…``).
            usr_id: the user, or their wire id (``usr_…``).
            role: the role that they get.
            invited_by: the user who brought them in, or their wire id (``usr_…``).

        Returns:
            The new membership.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            PreconditionError: ``role_format``; there is no such role. ``org_not_active``; the
                organization is suspended or revoked.
            NotFoundError: there is no such organization, user or inviter.
            DuplicateMembershipError: the user is an active member already.
            SeatLimitError: the policy allows the organization no more seats.

        Specification: docs/tenancy.md#memberships.
        """
        require(org_id, "org", "org_id")
        usr_id = user_id(usr_id, "usr_id")
        invited_by = user_id_if_given(invited_by, "invited_by")
        users = {"usr_id": usr_id, "invited_by": invited_by}
        role = Role.parse(role, "role")
        view = View.of(Way.NAMED, org_id)
        with self._operation(
            "add_member", view=view, into=org_id, users=users, by=invited_by
        ) as operation:
            self._permit_joining("add_member", org_id, role)
            membership = Membership.draft(
                org_id, usr_id, role, invited_by=invited_by, at=operation.at
            )
            operation.join(org_id, membership)
        return membership

    @reads
    def get_membership(self, mem_id: str, *, options: Options | None = None) -> Membership:
        """Return a membership, in whatever status it is.

        Args:
            mem_id: its wire id (``mem_…``).
            options: loader options of SQLAlchemy, for what is to be loaded with it.

        Raises:
            InvalidIdError: ``mem_id`` is no ``mem_`` wire id.
            PreconditionError: ``options_format``; the options are something else.
            NotFoundError: there is no such membership.

        Specification: docs/tenancy.md#memberships.
        """
        with self._seeing(View.of(Way.MEMBERSHIPS, require(mem_id, "mem", "mem_id"))):
            membership = queries.get(self.session, Membership, "mem_id", mem_id, options=options)
            self._permit_reading("get_membership", membership, options=options)
        return membership

    @reads
    def count_seats(self, org_id: str) -> SeatCount:
        """Return how many seats an organization has under the policy, and how many are taken.

        Args:
            org_id: the organization's wire id (``org_…``).

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            NotFoundError: there is no such organization.
        """
        with self._seeing(View.of(Way.NAMED, require(org_id, "org", "org_id"))):
            org = queries.get(self.session, Organization, "org_id", org_id)
            self._permit_reading("count_seats", org)
            seats = seats_of(
                self.session, self._policy, [org], at=time_of(self._clock), unlimited=True
            )
        return seats[org_id].count

    @reads
    def list_members(
        self,
        org_id: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: Status | str | None = None,
        roles: Collection[Role | str] | None = None,
        query: str | None = None,
        newest_first: bool = False,
        options: Options | None = None,
    ) -> Page[Membership]:
        """Return a page of an organization's memberships.

        A page costs a page. With ``query`` it reads as many of the organization's members, and
        their users, as it takes to find so many, which may be all of them.

        Args:
            org_id: the organization's wire id (``org_…``).
            cursor: the ``next_cursor`` of the page before.
            limit: how many, from 1 to 200; numbers outside are brought inside.
            status: only memberships in this status.
            roles: only memberships in one of these roles.
            query: only memberships of users whose display name contains this text, in any case.
            newest_first: whether they descend by id; the cursor goes on to older ones.
            options: loader options of SQLAlchemy, for what is to be loaded with them.

        Raises:
            InvalidIdError: ``org_id`` or ``cursor`` is malformed or of another type.
            PreconditionError: ``status_format``, ``role_format``, ``limit_format`` or
                ``options_format``; the argument is malformed. ``query_length``; the text is over
                the policy's limit of names.
            NotFoundError: there is no such organization.

        Specification: docs/tenancy.md#memberships.
        """
        require(org_id, "org", "org_id")
        with self._seeing(View.of(Way.NAMED, org_id)):
            self._permit_reading_in("list_members", org_id)
            newest_first = bool(newest_first)
            narrowed = Status.parse_if_given(status, "status"), _parsed_roles(roles)
            if query is None:
                found = lists.members_in(*narrowed, newest_first=newest_first)
            else:
                text = lists.searched(query, self._policy)
                found = lists.members_named(text, *narrowed, newest_first=newest_first)
            page = queries.page(
                self.session,
                Membership,
                found,
                cursor=cursor,
                limit=limit,
                options=options,
                newest_first=newest_first,
                there=org_id,
            )
            if not page.data:
                queries.require_known(self.session, Organization, "org_id", org_id)
        return page

    @reads
    def count_members(self, org_id: str, *, status: Status | str | None = None) -> int:
        """Return how many memberships an organization has, counted in an index.

        Args:
            org_id: the organization's wire id (``org_…``).
            status: only memberships in this status.

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            PreconditionError: ``status_format``; there is no such status.
            NotFoundError: there is no such organization.

        Specification: docs/tenancy.md#memberships.
        """
        require(org_id, "org", "org_id")
        with self._seeing(View.of(Way.NAMED, org_id)):
            self._permit_reading_in("count_members", org_id)
            if status is None:
                found = self.session.scalars(queries.COUNT_ALL, {"there": org_id})
            else:
                given = {"there": org_id, "status": Status.parse(status, "status")}
                found = self.session.scalars(queries.COUNT_IN_STATUS, given)
            count = found.one()
            if not count:
                queries.require_known(self.session, Organization, "org_id", org_id)
        return count

    @reads
    def list_memberships(
        self,
        usr_id: User | str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: Status | str | None = None,
        options: Options | None = None,
    ) -> Page[Membership]:
        """Return a page of a user's memberships, each with its ``organization`` loaded.

        Args:
            usr_id: the user, or their wire id (``usr_…``).
            cursor: the ``next_cursor`` of the page before.
            limit: how many, from 1 to 200; numbers outside are brought inside.
            status: only memberships in this status.
            options: loader options of SQLAlchemy, for what is to be loaded with them.

        Raises:
            InvalidIdError: ``usr_id`` or ``cursor`` is malformed or of another type, or the user
                has no id yet.
            PreconditionError: ``status_format``, ``limit_format`` or ``options_format``; the
                argument is malformed.
            NotFoundError: there is no such user.

        Specification: docs/tenancy.md#memberships.
        """
        usr_id = user_id(usr_id, "usr_id")
        query = lists.MEMBERSHIPS[Status.parse_if_given(status, "status")]
        with self._seeing(View.of(Way.USERS, usr_id, beyond=self._actor is not None)):
            page = queries.page(
                self.session,
                Membership,
                query,
                cursor=cursor,
                limit=limit,
                options=options,
                whose=usr_id,
            )
            if not page.data:
                queries.require_known(self.session, User, "usr_id", usr_id)
        return page

    def change_role(self, mem_id: str, new_role: Role | str) -> Membership:
        """Change a member's role: revoke the membership and add the one that replaces it.

        Args:
            mem_id: the membership's wire id (``mem_…``).
            new_role: the role from now on; the one held already changes nothing.

        Returns:
            The membership that holds the role: the successor, whose ``replaces`` names the old
            one, or the same membership where nothing changed.

        Raises:
            InvalidIdError: ``mem_id`` is no ``mem_`` wire id.
            PreconditionError: ``role_format``; there is no such role. ``mem_not_active``; the
                membership is suspended or revoked.
            NotFoundError: there is no such membership.
            SoleOwnerError: it is the last active owner's.

        Specification: docs/tenancy.md#role-change-revoke-and-re-add, ADR 0005.
        """
        require(mem_id, "mem", "mem_id")
        role = Role.parse(new_role, "new_role")
        with self._operation("change_role", view=View.of(Way.MEMBERSHIPS, mem_id)) as operation:
            membership = locks.membership(self.session, mem_id)
            self._permit("change_role", membership, membership.role, role)
            owners = locks.other_owners(self.session, membership)
            successor = membership.change_role(role, other_owners=owners, at=operation.at)
            if successor is not membership:
                operation.write(changed=[membership], added=[successor])
        return successor

    def suspend_membership(self, mem_id: str) -> Membership:
        """Pause a membership; its tuple is deleted until it is reinstated.

        Args:
            mem_id: the membership's wire id (``mem_…``).

        Returns:
            The membership as it stands now.

        Raises:
            InvalidIdError: ``mem_id`` is no ``mem_`` wire id.
            NotFoundError: there is no such membership.
            PreconditionError: ``mem_not_active``; it is suspended or revoked already.
            SoleOwnerError: it is the last active owner's.

        Specification: docs/tenancy.md#status-transitions.
        """
        require(mem_id, "mem", "mem_id")
        with self._operation(
            "suspend_membership", view=View.of(Way.MEMBERSHIPS, mem_id)
        ) as operation:
            membership = locks.membership(self.session, mem_id)
            self._permit("suspend_membership", membership, membership.role)
            owners = locks.other_owners(self.session, membership)
            membership.suspend(other_owners=owners, at=operation.at)
            operation.write(changed=[membership])
        return membership

    def reinstate_membership(self, mem_id: str) -> Membership:
        """Bring a suspended membership back, tuple included.

        Args:
            mem_id: the membership's wire id (``mem_…``).

        Returns:
            The membership as it stands now.

        Raises:
            InvalidIdError: ``mem_id`` is no ``mem_`` wire id.
            NotFoundError: there is no such membership.
            PreconditionError: ``invalid_transition``; it is not suspended. ``org_not_active``;
                its organization is suspended or revoked.
            DuplicateMembershipError: its user has become an active member otherwise.

        Specification: docs/tenancy.md#status-transitions.
        """
        require(mem_id, "mem", "mem_id")
        with self._operation(
            "reinstate_membership", view=View.of(Way.MEMBERSHIPS, mem_id)
        ) as operation:
            membership = locks.membership(self.session, mem_id)
            self._permit("reinstate_membership", membership, membership.role)
            membership.reinstate(operation.at)
            operation.write(changed=[membership])
        return membership


def _parsed_roles(roles: object) -> frozenset[Role] | None:
    if roles is None:
        return None
    if not isinstance(roles, Collection) or isinstance(roles, str | bytes):
        raise PreconditionError(
            f"roles: {shown(roles)} is not a list of roles", Reason.ROLE_FORMAT, parameter="roles"
        )
    return frozenset(Role.parse(role, "roles") for role in roles)
