"""Sets: many rows in one operation, each with the outcome that it would have had alone.

A set ends as its rows would, one after the other in the order given. What differs is the price: a
number of statements that does not depend on how many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar, overload

from ..ids import require
from ..models import Base, Invitation, Membership, Organization, User
from ..models.base import not_found
from ..models.user import user_id
from ..rows import (
    Fields,
    Join,
    Members,
    NewMember,
    Offer,
    Requests,
    RoleChanges,
    change_of,
    in_common,
    join_of,
    offer_of,
    rows_in,
)
from ..transactions.isolation import View, Way
from ..values import Outcome, Role
from ..writing import goes_by_flush
from . import locks
from .entries import Entries, Newcomer, as_it_is
from .frame import Repository, existing_users
from .operation import Operation, Reference
from .outcomes import attempt, done, settle, then

T = TypeVar("T")
Comer = TypeVar("Comer", Membership, Invitation)
Row = TypeVar("Row", Join, Offer)


class SetOperations(Repository):
    """The operations on many memberships or invitations at a time."""

    @overload
    def add_members(
        self,
        org_id: str,
        members: Members,
        *,
        invited_by: User | str | None = None,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Membership]]: ...

    @overload
    def add_members(
        self,
        *,
        members: Collection[NewMember | Fields],
        invited_by: User | str | None = None,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Membership]]: ...

    def add_members(
        self,
        org_id: str | None = None,
        members: Members = (),
        *,
        invited_by: User | str | None = None,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Membership]]:
        """Make users members of active organizations, as `add_member` does with one.

        Args:
            org_id: the wire id (``org_…``) of the organization of all whose row names none.
            members: each a `NewMember`, a mapping of its fields, or a pair of a user, or their
                wire id (``usr_…``), and the role that they get; or, all in one mapping, a user's
                wire id -> the role.
            invited_by: the user who brought in all whose row names nobody, or their wire id
                (``usr_…``).
            all_or_nothing: raise the first error and write nothing, instead of returning it.

        Returns:
            The outcome of each row, in their order.

        Raises:
            InvalidIdError: ``org_id`` or ``invited_by`` is malformed or of another type, or a user
                has no id yet; or, as an outcome, it is so in the row.
            PreconditionError: ``row_format``; ``members`` is no collection, or, as an outcome,
                something in it no such row. ``set_size``; there are more than the policy allows.
                ``role_format`` or ``org_not_active``, as an outcome.
            NotFoundError: as an outcome; there is no such organization, user or inviter.
            DuplicateMembershipError: as an outcome; the user is an active member already.
            SeatLimitError: as an outcome; the policy allows the organization no more seats.

        Specification: docs/tenancy.md#memberships.
        """
        org_id, invited_by = in_common(org_id, invited_by)
        given = rows_in(members, "members", self._policy)
        rows = [attempt(join_of, row, org_id, invited_by) for row in given]
        view = View.of(Way.NAMED, *(row.org_id for row in done(rows)))
        with self._operation("add_members", view=view, by=invited_by) as operation:

            def join(org: Organization, row: Join) -> Membership:
                return Membership.join(
                    org, row.usr_id, row.role, invited_by=row.invited_by, at=operation.at
                )

            admitted, changed = self._admitted(operation, rows, join, Membership)
            # In one order, lest two sets deadlock; of one user's rows the first comes first.
            joining = sorted(done(admitted), key=lambda m: (m.usr_id, m.org_id))
            written = operation.write(
                added=joining, changed=changed, by_inviters=True, passes_over=True
            )
            entered = {membership.id for membership in written.added}

            def enter(membership: Membership) -> Membership:
                if membership.id not in entered:
                    raise membership.already_active()
                return membership

            outcomes = then(admitted, enter)
            settle(outcomes, all_or_nothing)
        return outcomes

    @overload
    def create_invitations(
        self,
        org_id: str,
        requests: Requests,
        invited_by: User | str | None = None,
        *,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Invitation]]: ...

    @overload
    def create_invitations(
        self,
        *,
        requests: Requests,
        invited_by: User | str | None = None,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Invitation]]: ...

    def create_invitations(
        self,
        org_id: str | None = None,
        requests: Requests = (),
        invited_by: User | str | None = None,
        *,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Invitation]]:
        """Offer many people a place in active organizations, as `create_invitation` does to one.

        Args:
            org_id: the wire id (``org_…``) of the organization of all requests that name none.
            requests: whom to invite, as what, until when: each an `InvitationRequest`, a mapping
                of its fields, or a tuple of identifier, role and ``expires_at``.
            invited_by: the user who makes all requests that name nobody, or their wire id
                (``usr_…``).
            all_or_nothing: raise the first error and write nothing, instead of returning it.

        Returns:
            The outcome of each request, in their order. Where the policy says ``replace``, a later
            one ends an earlier one for the same identifier.

        Raises:
            InvalidIdError: ``org_id`` or ``invited_by`` is malformed or of another type, or a user
                has no id yet; or, as an outcome, it is so in the request.
            PreconditionError: ``row_format``; ``requests`` is no collection, or, as an outcome,
                something in it no such request. ``set_size``; there are more than the policy
                allows. ``role_format`` or as for `create_invitation`, as an outcome.
            NotFoundError: as an outcome; there is no such organization or inviter.
            ForbiddenError: as an outcome, as are the next two; the policy asks for the inviter's
                authority, and they may not give the role.
            DuplicateInvitationError: the policy allows one pending invitation for an identifier.
            SeatLimitError: the policy allows the organization no more seats.

        Specification: docs/tenancy.md#invitations, ADR 0003.
        """
        org_id, invited_by = in_common(org_id, invited_by)
        given = rows_in(requests, "requests", self._policy)
        rows = [attempt(offer_of, row, org_id, invited_by) for row in given]
        view = View.of(Way.NAMED, *(row.org_id for row in done(rows)))
        with self._operation("create_invitations", view=view, by=invited_by) as operation:

            def offer(org: Organization, row: Offer) -> Invitation:
                return Invitation.offer(
                    org,
                    row.identifier,
                    row.role,
                    invited_by=row.invited_by,
                    expires_at=row.expires_at,
                    pre_tuples=row.pre_tuples,
                    policy=self._policy,
                    at=operation.at,
                )

            outcomes, changed = self._admitted(operation, rows, offer, Invitation)
            settle(outcomes, all_or_nothing)
            operation.write(added=done(outcomes), changed=changed)
        return outcomes

    def change_roles(
        self,
        roles: RoleChanges,
        *,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Membership]]:
        """Change the roles of many members, as `change_role` does one member's.

        Whether a last owner may step down is decided in the order given: an owner who is made
        before them counts.

        Args:
            roles: each a `RoleChange`, a mapping of its fields, or a pair of a membership's wire
                id (``mem_…``) and the role from now on; or, all in one mapping, a membership's
                wire id -> the role.
            all_or_nothing: raise the first error and write nothing, instead of returning it.

        Returns:
            The outcome of each change, in their order: the membership that holds the role.

        Raises:
            PreconditionError: ``row_format``; ``roles`` is neither, or, as an outcome, something in
                it no such row. ``set_size``; there are more than the policy allows.
                ``role_format`` or ``mem_not_active``, as an outcome.
            InvalidIdError: as an outcome; the id is no ``mem_`` wire id.
            NotFoundError: as an outcome; there is no such membership.
            SoleOwnerError: as an outcome; it is the last active owner's.

        Specification: docs/tenancy.md#role-change-revoke-and-re-add, ADR 0005.
        """
        pairs = [attempt(change_of, row) for row in rows_in(roles, "roles", self._policy)]
        view = View.of(Way.MEMBERSHIPS, *(mem_id for mem_id, _ in done(pairs)))
        with self._operation("change_roles", view=view) as operation:
            locked = locks.many_memberships(self.session, [mem_id for mem_id, _ in done(pairs)])
            owners = locks.owners_among(self.session, locked.values())
            actors = self._actors({membership.org_id for membership in locked.values()})

            def change(pair: tuple[str, Role]) -> tuple[Membership, Membership]:
                mem_id, role = pair
                membership = standing = _found(locked, Membership, "mem_id", mem_id)
                acting = actors.get(membership.org_id)
                self._permit(
                    "change_roles", membership, membership.role, role, look=lambda *_: acting
                )
                others = owners[membership.org_id]
                others.pop(mem_id, None)
                try:
                    standing = membership.change_role(
                        role, other_owners=others.values(), at=operation.at
                    )
                finally:
                    if standing.is_active_owner:
                        others[standing.id] = standing
                if acting is membership:
                    actors[membership.org_id] = standing
                return membership, standing

            changes = then(pairs, change)
            settle(changes, all_or_nothing)
            replaced = [old for old, new in done(changes) if new is not old]
            successors = [new for old, new in done(changes) if new is not old]
            operation.write(changed=replaced, added=successors)
        return then(changes, lambda change: change[1])

    def remove_members(
        self, mem_ids: Collection[str], admin_usr_id: User | str, *, all_or_nothing: bool = False
    ) -> list[Outcome[Membership]]:
        """End the memberships of many users, as `admin_remove` does one user's.

        Args:
            mem_ids: the wire ids (``mem_…``) of the memberships to end.
            admin_usr_id: the acting user, or their wire id (``usr_…``).
            all_or_nothing: raise the first error and write nothing, instead of returning it.

        Returns:
            The outcome of each removal, in their order.

        Raises:
            InvalidIdError: ``admin_usr_id`` is malformed or of another type, or the user has no id
                yet; or, as an outcome, the membership's id is malformed.
            PreconditionError: ``row_format``; ``mem_ids`` is no collection. ``set_size``; there are
                more than the policy allows. ``mem_not_active`` or
                ``scope_mismatch``, as an outcome.
            NotFoundError: as an outcome; there is no such membership.
            ForbiddenError: as an outcome; the acting user is no active owner or admin there, or
                no longer, having removed themselves.
            RoleHierarchyError: as an outcome; the membership is an owner's, or of a higher rank.

        Specification: docs/tenancy.md#admin-remove.
        """
        by = user_id(admin_usr_id, "admin_usr_id")
        given = rows_in(mem_ids, "mem_ids", self._policy)
        ids = [attempt(require, row, "mem", "mem_id") for row in given]
        view = View.of(Way.MEMBERSHIPS, *done(ids))
        with self._operation("remove_members", view=view, by=by) as operation:
            locked = locks.many_memberships(self.session, done(ids))
            org_ids = {membership.org_id for membership in locked.values()}
            admins = locks.administrators(self.session, by, org_ids)

            def remove(mem_id: str) -> Membership:
                membership = _found(locked, Membership, "mem_id", mem_id)
                acting = admins.get(membership.org_id)
                self._permit("remove_members", membership, look=lambda *_: acting)
                with self._denials("remove_members", mem_id, acting):
                    membership.remove(acting, admin_usr_id=by, at=operation.at)
                return membership

            outcomes = then(ids, remove)
            settle(outcomes, all_or_nothing)
            operation.write(changed=done(outcomes))
        return outcomes

    def _admitted(
        self,
        operation: Operation,
        rows: Sequence[Outcome[Row]],
        enter: Callable[[Organization, Row], Comer],
        kind: type[Comer],
    ) -> tuple[list[Outcome[Comer]], list[Base]]:
        """Judge newcomers one after the other, and return them and what changes by their coming.

        Args:
            operation: the operation.
            rows: who they are.
            enter: makes a newcomer of a row, if the organization may be joined.
            kind: what they become.
        """
        alone = self._policy.looks_at_others(offers=kind is Invitation)
        # A flush cannot pass over who has come meanwhile: nobody may.
        side_by_side = not alone and not goes_by_flush(self.session)
        org_ids = {row.org_id for row in done(rows)}
        orgs = locks.organizations(self.session, org_ids, joining=side_by_side)
        actors = self._actors(orgs)

        def knock(row: Row) -> Comer:
            org = _found(orgs, Organization, "org_id", row.org_id)
            self._permit(operation.name, org, row.role, look=lambda *_: actors.get(org.id))
            self._permit_as(operation.name, row.invited_by)
            return enter(org, row)

        newcomers = then(rows, knock)
        asking = done(newcomers)
        known = self._known(operation, asking)
        active = {newcomer.organization for newcomer in asking}
        ending = partial(
            self._permit_ending, operation.name, look=lambda _, __, org_id: actors.get(org_id)
        )
        entries = Entries(
            self.session, self._policy, active, asking, ending=ending, at=operation.at
        )
        ended: list[Invitation] = []

        def admit(newcomer: Comer) -> Comer:
            for parameter, usr_id in _users_of(newcomer):
                if usr_id is not None and usr_id not in known:
                    raise not_found(User, usr_id, parameter)
            entries.require_entitled(newcomer)
            ended.extend(entries.admit(newcomer))
            return newcomer

        admitted = then(newcomers, admit)
        entering: list[Comer] = done(admitted)
        self._admit([usr_id for each in entering for _, usr_id in _users_of(each)], operation.at)
        # What a later row has ended of the set's own is written as it has become.
        own: set[Newcomer] = {*entering}
        changed: list[Base] = [offer for offer in ended if offer not in own]
        if alone:
            changed += {as_it_is(newcomer.organization) for newcomer in entering}
        return admitted, changed

    def _known(self, operation: Operation, newcomers: Sequence[Newcomer]) -> set[str | None]:
        """Return which of the users whom newcomers name exist, or are going to."""
        users = [user for newcomer in newcomers for user in _users_of(newcomer)]
        if self._admits is not None:
            return {usr_id for _, usr_id in users}
        known = existing_users(self.session, users)
        # Not locked, which would take a privilege to update them. Should one vanish before the
        # foreign key has locked them, the set as a whole says so.
        operation.relies_on = [user for user in users if user[1] in known]
        return {*known}


def _found(among: Mapping[str, T], entity: type[Base], parameter: str, id_: str) -> T:
    if id_ not in among:
        raise not_found(entity, id_, parameter)
    return among[id_]


def _users_of(newcomer: Newcomer) -> list[Reference]:
    """Return the users whom a newcomer names, in the order of the contract's checks."""
    inviter = ("invited_by", newcomer.invited_by)
    if isinstance(newcomer, Membership):
        return [("usr_id", newcomer.usr_id), inviter]
    return [inviter]
