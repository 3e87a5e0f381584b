"""Sets: many rows in one operation, each with the outcome that it would have had alone.

A set ends as its rows would, one after the other in the order given. What differs is the price: a
number of statements that does not depend on how many rows there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import TypeVar

from ..errors import PreconditionError, Reason, shown
from ..ids import require
from ..models import Invitation, Membership, Organization, User
from ..models.base import not_found
from ..policy import require_at_most
from ..values import InvitationRequest, Outcome, Role
from ..writing import goes_by_flush
from . import locks
from .operation import Operation, Reference, Repository, existing_users, parsed_users
from .outcomes import attempt, done, settle, then
from .permission import Look

T = TypeVar("T")


class SetOperations(Repository):
    """The operations on many memberships or invitations at a time."""

    def add_members(
        self,
        org_id: str,
        members: Sequence[tuple[str, Role | str]],
        *,
        invited_by: str | None = None,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Membership]]:
        """Make users members of an active organization, as `add_member` does with one.

        Args:
            org_id: the organization's wire id (``org_…``).
            members: pairs of a user's wire id (``usr_…``) and the role that they get.
            invited_by: the wire id (``usr_…``) of the user who brought them in.
            all_or_nothing: raise the first error and write nothing, instead of returning it.

        Returns:
            The outcome of each pair, in their order.

        Raises:
            InvalidIdError: ``org_id`` or ``invited_by`` is malformed or of another type.
            PreconditionError: ``row_format``; ``members`` is no collection, or something in it no
                pair. ``set_size``; there are more than the policy allows. ``role_format`` or
                ``org_not_active``, as an outcome.
            NotFoundError: as an outcome; there is no such organization, user or inviter.
            DuplicateMembershipError: as an outcome; the user is an active member already.

        Specification: docs/tenancy.md#memberships.
        """
        require(org_id, "org", "org_id")
        parsed_users(invited_by=invited_by)
        pairs = [attempt(_member, row) for row in self._rows(members, "members")]
        with self._operation("add_members") as operation:
            look = cache(locks.administrator)
            org = self._open_org("add_members", org_id, pairs, look)

            def join(pair: tuple[str, Role]) -> Membership:
                usr_id, role = pair
                self._permit("add_members", org.unwrap(), role, look=look)
                return Membership.join(
                    org.unwrap(), usr_id, role, invited_by=invited_by, at=operation.at
                )

            joining = then(pairs, join)
            usr_ids = [membership.usr_id for membership in done(joining)]
            asked = [("invited_by", invited_by), *(("usr_id", usr_id) for usr_id in usr_ids)]
            known = self._known(operation, asked if usr_ids else [])

            def admit(membership: Membership) -> Membership:
                _require_known(known, usr_id=membership.usr_id, invited_by=invited_by)
                return membership

            admitted = then(joining, admit)
            # In one order, lest two sets deadlock; of one user's rows the first comes first.
            rows = sorted(done(admitted), key=lambda m: m.usr_id)
            written = operation.write(added=rows, created_by=invited_by, passes_over=True)
            entered = {membership.id for membership in written.added}

            def enter(membership: Membership) -> Membership:
                if membership.id not in entered:
                    raise membership.already_active()
                return membership

            outcomes = then(admitted, enter)
            settle(outcomes, all_or_nothing)
        return outcomes

    def create_invitations(
        self,
        org_id: str,
        requests: Sequence[InvitationRequest],
        invited_by: str,
        *,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Invitation]]:
        """Offer many people a place in an active organization, as `create_invitation` does to one.

        Args:
            org_id: the organization's wire id (``org_…``).
            requests: whom to invite, as what, until when.
            invited_by: the inviting user's wire id (``usr_…``).
            all_or_nothing: raise the first error and write nothing, instead of returning it.

        Returns:
            The outcome of each request, in their order.

        Raises:
            InvalidIdError: ``org_id`` or ``invited_by`` is malformed or of another type.
            PreconditionError: ``row_format``; ``requests`` is no collection, or something in it no
                `InvitationRequest`. ``set_size``; there are more than the policy allows.
                ``role_format`` or as for `create_invitation`, as an outcome.
            NotFoundError: as an outcome; there is no such organization or inviter.

        Specification: docs/tenancy.md#invitations, ADR 0003.
        """
        require(org_id, "org", "org_id")
        require(invited_by, "usr", "invited_by")
        pairs = [attempt(_request, row) for row in self._rows(requests, "requests")]
        with self._operation("create_invitations") as operation:
            look = cache(locks.administrator)
            org = self._open_org("create_invitations", org_id, pairs, look)

            def offer(pair: tuple[InvitationRequest, Role]) -> Invitation:
                request, role = pair
                self._permit("create_invitations", org.unwrap(), role, look=look)
                return Invitation.offer(
                    org.unwrap(),
                    request.identifier,
                    role,
                    invited_by=invited_by,
                    expires_at=request.expires_at,
                    pre_tuples=request.pre_tuples or (),
                    policy=self._policy,
                    at=operation.at,
                )

            offers = then(pairs, offer)
            known = self._known(operation, [("invited_by", invited_by)] if done(offers) else [])

            def vouch(invitation: Invitation) -> Invitation:
                _require_known(known, invited_by=invited_by)
                return invitation

            outcomes = then(offers, vouch)
            settle(outcomes, all_or_nothing)
            operation.write(added=done(outcomes))
        return outcomes

    def change_roles(
        self, roles: Mapping[str, Role | str], *, all_or_nothing: bool = False
    ) -> list[Outcome[Membership]]:
        """Change the roles of many members, as `change_role` does one member's.

        Whether a last owner may step down is decided in the order given: an owner who is made
        before them counts.

        Args:
            roles: a membership's wire id (``mem_…``) -> the role from now on.
            all_or_nothing: raise the first error and write nothing, instead of returning it.

        Returns:
            The outcome of each change, in their order: the membership that holds the role.

        Raises:
            PreconditionError: ``row_format``; ``roles`` is no mapping. ``set_size``; there are more
                than the policy allows. ``role_format`` or
                ``mem_not_active``, as an outcome.
            InvalidIdError: as an outcome; the id is no ``mem_`` wire id.
            NotFoundError: as an outcome; there is no such membership.
            SoleOwnerError: as an outcome; it is the last active owner's.

        Specification: docs/tenancy.md#role-change-revoke-and-re-add, ADR 0005.
        """
        if not isinstance(roles, Mapping):
            raise _malformed("roles", roles, "a mapping of ids to roles")
        pairs = [attempt(_change, row) for row in self._rows(roles.items(), "roles")]
        with self._operation("change_roles") as operation:
            locked = locks.many_memberships(self.session, [mem_id for mem_id, _ in done(pairs)])
            owners = locks.owners_among(self.session, locked.values())
            actors = self._actors({membership.org_id for membership in locked.values()})

            def change(pair: tuple[str, Role]) -> tuple[Membership, Membership]:
                mem_id, role = pair
                membership = standing = _found(locked, mem_id)
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
        self, mem_ids: Sequence[str], admin_usr_id: str, *, all_or_nothing: bool = False
    ) -> list[Outcome[Membership]]:
        """End the memberships of many users, as `admin_remove` does one user's.

        Args:
            mem_ids: the wire ids (``mem_…``) of the memberships to end.
            admin_usr_id: the acting user's wire id (``usr_…``).
            all_or_nothing: raise the first error and write nothing, instead of returning it.

        Returns:
            The outcome of each removal, in their order.

        Raises:
            InvalidIdError: ``admin_usr_id`` is malformed or of another type; or, as an outcome,
                the membership's id is.
            PreconditionError: ``row_format``; ``mem_ids`` is no collection. ``set_size``; there are
                more than the policy allows. ``mem_not_active`` or
                ``scope_mismatch``, as an outcome.
            NotFoundError: as an outcome; there is no such membership.
            ForbiddenError: as an outcome; the acting user is no active owner or admin there, or
                no longer, having removed themselves.
            RoleHierarchyError: as an outcome; the membership is an owner's, or of a higher rank.

        Specification: docs/tenancy.md#admin-remove.
        """
        require(admin_usr_id, "usr", "admin_usr_id")
        ids = [attempt(require, row, "mem", "mem_id") for row in self._rows(mem_ids, "mem_ids")]
        with self._operation("remove_members", by=admin_usr_id) as operation:
            locked = locks.many_memberships(self.session, done(ids))
            org_ids = {membership.org_id for membership in locked.values()}
            admins = locks.administrators(self.session, admin_usr_id, org_ids)

            def remove(mem_id: str) -> Membership:
                membership = _found(locked, mem_id)
                acting = admins.get(membership.org_id)
                self._permit("remove_members", membership, look=lambda *_: acting)
                membership.remove(acting, admin_usr_id=admin_usr_id, at=operation.at)
                return membership

            outcomes = then(ids, remove)
            settle(outcomes, all_or_nothing)
            operation.write(changed=done(outcomes))
        return outcomes

    def _rows(self, rows: Collection[T], parameter: str) -> Collection[T]:
        # Not an iterator: the operation may be tried again.
        if not isinstance(rows, Collection) or isinstance(rows, str | bytes):
            raise _malformed(parameter, rows, "a list")
        require_at_most(self._policy.limits.rows, len(rows), "rows", parameter, Reason.SET_SIZE)
        return rows

    def _known(self, operation: Operation, users: Sequence[Reference]) -> set[str]:
        """Return which of these users exist, if there are any."""
        self._admit([usr_id for _, usr_id in users], operation.at)
        known = existing_users(self.session, users)
        # Not locked, which would take a privilege to update them. Should one vanish before the
        # foreign key has locked them, the set as a whole says so.
        operation.relies_on = [user for user in users if user[1] in known]
        return known

    def _open_org(
        self, operation: str, org_id: str, rows: Sequence[Outcome[T]], look: Look
    ) -> Outcome[Organization]:
        """Lock an organization that may be joined, if anybody wants to; rows meet its error."""
        if not any(row.ok for row in rows):
            return Outcome()

        def lock() -> Organization:
            # A flush cannot pass over who has come meanwhile: nobody may.
            side_by_side = not goes_by_flush(self.session)
            org = locks.organization(self.session, org_id, joining=side_by_side)
            self._permit(operation, org, look=look)
            org.require_active()
            return org

        return attempt(lock)


def _member(row: object) -> tuple[str, Role]:
    if not (isinstance(row, Sequence) and not isinstance(row, str | bytes) and len(row) == 2):
        raise _malformed("members", row, "a user's id and their role")
    usr_id, role = row
    return require(usr_id, "usr", "usr_id"), Role.parse(role, "role")


def _request(row: object) -> tuple[InvitationRequest, Role]:
    if not isinstance(row, InvitationRequest):
        raise _malformed("requests", row, "an InvitationRequest")
    return row, Role.parse(row.role, "role")


def _change(row: tuple[str, Role | str]) -> tuple[str, Role]:
    mem_id, role = row
    return require(mem_id, "mem", "mem_id"), Role.parse(role, "new_role")


def _malformed(parameter: str, given: object, expected: str) -> PreconditionError:
    return PreconditionError(
        f"{parameter}: {shown(given)} is not {expected}", "row_format", parameter=parameter
    )


def _found(memberships: Mapping[str, Membership], mem_id: str) -> Membership:
    if mem_id not in memberships:
        raise not_found(Membership, mem_id, "mem_id")
    return memberships[mem_id]


def _require_known(known: set[str], **users: str | None) -> None:
    for parameter, usr_id in users.items():
        if usr_id is not None and usr_id not in known:
            raise not_found(User, usr_id, parameter)
