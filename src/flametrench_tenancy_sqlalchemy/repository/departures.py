"""Departures: members who leave or are removed, and owners who hand ownership on."""

from __future__ import annotations

from ..ids import require
from ..models import Membership, Organization
from ..models.base import not_found
from ..results import TransferOwnershipResult
from .base import parsed_users
from .tuples import TupleOperations


class DepartureOperations(TupleOperations):
    """The operations by which a membership ends or gives its ownership away."""

    def self_leave(self, mem_id: str, *, transfer_to: str | None = None) -> Membership:
        """End a membership at its user's own wish.

        Args:
            mem_id: the leaving membership's wire id (``mem_…``).
            transfer_to: the wire id (``usr_…``) of the member whom a last owner makes owner
                first; ignored while another owner remains.

        Returns:
            The revoked membership; its ``removed_by`` is ``None``.

        Raises:
            InvalidIdError: an id is malformed or of another type.
            NotFoundError: there is no such membership, or ``transfer_to`` has no active one in
                its organization.
            PreconditionError: ``mem_not_active``; it is suspended or revoked. ``self_transfer``;
                ``transfer_to`` is the leaver.
            SoleOwnerError: it is the last active owner's, and ``transfer_to`` is missing.

        Specification: docs/tenancy.md#self-leave.
        """
        require(mem_id, "mem", "mem_id")
        parsed_users(transfer_to=transfer_to)
        with self._operation("self_leave") as now:
            membership = self._lock_membership(mem_id)
            others = self._lock_other_owners(membership, or_user=transfer_to)
            heir = next((m for m in others if m.usr_id == transfer_to), None)
            promoted = membership.leave(
                other_owners=[m for m in others if m.is_active_owner],
                transfer_to=transfer_to,
                heir=heir,
                at=now,
            )
            changed = [membership, heir, promoted] if promoted else [membership]
            self._write(*filter(None, changed), at=now)
        return membership

    def admin_remove(self, mem_id: str, admin_usr_id: str) -> Membership:
        """End another user's membership, as an administrator of its organization.

        Args:
            mem_id: the wire id (``mem_…``) of the membership to end, active or suspended.
            admin_usr_id: the acting user's wire id (``usr_…``).

        Returns:
            The revoked membership; its ``removed_by`` is the acting user.

        Raises:
            InvalidIdError: an id is malformed or of another type.
            NotFoundError: there is no such membership.
            PreconditionError: ``mem_not_active``; it is revoked. ``scope_mismatch``; its role is
                viewer or editor.
            ForbiddenError: the acting user is no active owner or admin there.
            RoleHierarchyError: the membership is an owner's, or of a higher rank.

        Specification: docs/tenancy.md#admin-remove.
        """
        require(mem_id, "mem", "mem_id")
        require(admin_usr_id, "usr", "admin_usr_id")
        with self._operation("admin_remove") as now:
            membership, admin = self._lock_with_administrator(mem_id, admin_usr_id)
            membership.remove(admin, admin_usr_id=admin_usr_id, at=now)
            self._write(membership, at=now)
        return membership

    def transfer_ownership(
        self, org_id: str, from_mem_id: str, to_mem_id: str
    ) -> TransferOwnershipResult:
        """Hand ownership of an organization from one of its owners to another member.

        Args:
            org_id: the organization's wire id (``org_…``).
            from_mem_id: the owner's membership (``mem_…``), which becomes a plain member's.
            to_mem_id: the membership (``mem_…``) that becomes an owner's.

        Returns:
            The two memberships as they stand now.

        Raises:
            InvalidIdError: an id is malformed or of another type.
            NotFoundError: there is no such organization or membership.
            PreconditionError: ``from_not_active``, ``to_not_active``, ``org_mismatch``,
                ``from_not_owner`` or ``self_transfer``, in this order.

        Specification: docs/tenancy.md#memberships (transferOwnership).
        """
        require(org_id, "org", "org_id")
        require(from_mem_id, "mem", "from_mem_id")
        require(to_mem_id, "mem", "to_mem_id")
        with self._operation("transfer_ownership") as now:
            locked = self._lock_memberships(from_mem_id, to_mem_id)
            for parameter, mem_id in (("from_mem_id", from_mem_id), ("to_mem_id", to_mem_id)):
                if mem_id not in locked:
                    raise not_found(Membership, mem_id, parameter)
            donor, target = locked[from_mem_id], locked[to_mem_id]
            if org_id not in (donor.org_id, target.org_id):
                self._require_known(Organization, "org_id", org_id)
            demoted, owner = donor.transfer_ownership(target, org_id=org_id, at=now)
            promoted = [] if owner is target else [target, owner]
            self._write(donor, demoted, *promoted, at=now)
        return TransferOwnershipResult(demoted, owner)
