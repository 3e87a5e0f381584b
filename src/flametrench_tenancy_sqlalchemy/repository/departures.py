"""Departures: members who leave or are removed, and owners who hand ownership on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import PreconditionError, Reason, SoleOwnerError, shown
from ..ids import require
from ..models import Membership, Organization, Tuple, User
from ..models.user import user_id, user_id_if_given
from ..results import TransferOwnershipResult
from ..transactions.isolation import View, Way
from . import locks, queries
from .consequences import promised
from .frame import Repository


class DepartureOperations(Repository):
    """The operations by which a membership ends or gives its ownership away."""

    def self_leave(self, mem_id: str, *, transfer_to: User | str | None = None) -> Membership:
        """End a membership at its user's own wish.

        Args:
            mem_id: the leaving membership's wire id (``mem_…``).
            transfer_to: the member whom a last owner makes owner first, or their wire id
                (``usr_…``); ignored while another owner remains.

        Returns:
            The revoked membership; its ``removed_by`` is ``None``.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            NotFoundError: there is no such membership, or ``transfer_to`` has no active one in
                its organization.
            PreconditionError: ``mem_not_active``; it is suspended or revoked. ``self_transfer``;
                ``transfer_to`` is the leaver.
            SoleOwnerError: it is the last active owner's, and ``transfer_to`` is missing.

        Specification: docs/tenancy.md#self-leave.
        """
        require(mem_id, "mem", "mem_id")
        transfer_to = user_id_if_given(transfer_to, "transfer_to")
        with self._operation("self_leave", view=View.of(Way.MEMBERSHIPS, mem_id)) as operation:
            membership = locks.membership(self.session, mem_id)
            self._permit("self_leave", membership)
            others = locks.other_owners(self.session, membership, or_user=transfer_to)
            heir = next((m for m in others if m.usr_id == transfer_to), None)
            promoted = membership.leave(
                other_owners=[m for m in others if m.is_active_owner],
                transfer_to=transfer_to,
                heir=heir,
                even_suspended=self._actor is not None,
                at=operation.at,
            )
            if promoted is None:
                operation.write(changed=[membership])
            else:
                operation.write(changed=[membership, heir], added=[promoted])
        return membership

    def admin_remove(self, mem_id: str, admin_usr_id: User | str) -> Membership:
        """End another user's membership, as an administrator of its organization.

        Args:
            mem_id: the wire id (``mem_…``) of the membership to end, active or suspended.
            admin_usr_id: the acting user, or their wire id (``usr_…``).

        Returns:
            The revoked membership; its ``removed_by`` is the acting user.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            NotFoundError: there is no such membership.
            PreconditionError: ``mem_not_active``; it is revoked. ``scope_mismatch``; its role is
                viewer or editor.
            ForbiddenError: the acting user is no active owner or admin there.
            RoleHierarchyError: the membership is an owner's, or of a higher rank.

        Specification: docs/tenancy.md#admin-remove.
        """
        require(mem_id, "mem", "mem_id")
        admin_usr_id = user_id(admin_usr_id, "admin_usr_id")
        view = View.of(Way.MEMBERSHIPS, mem_id)
        with self._operation("admin_remove", view=view, by=admin_usr_id) as operation:
            membership, admin = locks.membership_and_administrator(
                self.session, mem_id, admin_usr_id
            )
            self._permit("admin_remove", membership, look=lambda *_: admin)
            with self._denials("admin_remove", mem_id, admin):
                membership.remove(admin, admin_usr_id=admin_usr_id, at=operation.at)
            operation.write(changed=[membership])
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
        view = View.of(Way.MEMBERSHIPS, from_mem_id, to_mem_id, besides=(org_id,))
        with self._operation("transfer_ownership", view=view) as operation:
            donor, target = locks.memberships(
                self.session, from_mem_id=from_mem_id, to_mem_id=to_mem_id
            )
            self._permit("transfer_ownership", target, named=("to_mem_id", to_mem_id))
            if org_id not in (donor.org_id, target.org_id):
                queries.require_known(self.session, Organization, "org_id", org_id)
            demoted, owner = donor.transfer_ownership(target, org_id=org_id, at=operation.at)
            if owner is target:
                operation.write(changed=[donor], added=[demoted])
            else:
                operation.write(changed=[donor, target], added=[demoted, owner])
        return TransferOwnershipResult(demoted, owner)

    def offboard_user(
        self, usr_id: User | str, *, heirs: Mapping[str, User | str] | None = None
    ) -> list[Membership]:
        """Have a user leave everywhere: memberships, the offers they made, and all their tuples.

        An organization in which they are alone has no heir: revoke it first. What they join while
        this waits for others counts as joined later.

        Args:
            usr_id: the user, or their wire id (``usr_…``).
            heirs: an organization's wire id (``org_…``) -> the member who becomes owner there
                first, or their wire id (``usr_…``); ignored where another owner remains.

        Returns:
            Their revoked memberships; ``removed_by`` is ``None``.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            NotFoundError: there is no such user; or an heir has no active membership.
            PreconditionError: ``row_format``; ``heirs`` is no mapping. ``self_transfer``; an heir
                is the user themselves.
            SoleOwnerError: they are the last active owner of organizations without an heir, all of
                which its ``org_ids`` name.

        Specification: docs/tenancy.md#self-leave.
        """
        usr_id = user_id(usr_id, "usr_id")
        self._permit_alone("offboard_user", usr_id)
        named = _parsed_heirs(heirs)
        view = View.of(Way.USERS, usr_id, about=(usr_id,), spanning="offboard_user")
        with self._operation("offboard_user", view=view) as operation:
            session, at = self.session, operation.at
            orgs = locks.concerned_by(session, usr_id)
            held = locks.memberships_of(session, usr_id, orgs)
            owners = locks.owners_among(session, held)
            needy = {m.org_id: m for m in held if m.is_active_owner and len(owners[m.org_id]) == 1}
            _require_heirs(needy, named)
            places = {(named[org_id], org_id) for org_id in needy}
            candidates = locks.acting(session, places, alone=True)
            heirs_found = {org_id: candidates.get((named[org_id], org_id)) for org_id in needy}
            offers = locks.offers_made(session, {(org.id, usr_id) for org in orgs})
            tuples = self._tuples_that_go(usr_id, orgs)
            promoted = []
            for membership in held:
                if membership.org_id in needy:
                    promoted.append(
                        membership.leave(
                            other_owners=(),
                            transfer_to=named[membership.org_id],
                            heir=heirs_found[membership.org_id],
                            at=at,
                        )
                    )
                else:
                    membership.end(at)
            for offer in offers:
                offer.end(at)
            if not held:
                queries.require_known(session, User, "usr_id", usr_id)
            replaced = [heir for heir in heirs_found.values() if heir is not None]
            operation.write_all(changed=[*held, *replaced, *offers], added=promoted, taken=tuples)
        return held

    def _tuples_that_go(self, usr_id: str, orgs: Collection[Organization]) -> list[Tuple]:
        """Lock a user's tuples, but for those of organizations that they have joined meanwhile."""
        found = locks.tuples_of(self.session, usr_id)
        left = {(usr_id, org.id) for org in orgs}
        elsewhere = [t for t in found if (usr_id, t.object_id) not in left]
        about = {(usr_id, t.object_id) for t in elsewhere if t.object_type == "org"}
        joined = queries.belonging(self.session, about)
        kept = promised(self.session, [usr_id], elsewhere, besides=left)
        kept |= {t.key for t in elsewhere if (usr_id, t.object_id) in joined}
        return [t for t in found if t.key not in kept]


def _parsed_heirs(heirs: object) -> dict[str, str]:
    if heirs is None:
        return {}
    if not isinstance(heirs, Mapping):
        raise PreconditionError(
            f"heirs: {shown(heirs)} is not a mapping of organizations to users",
            Reason.ROW_FORMAT,
            parameter="heirs",
        )
    return {
        require(org_id, "org", "heirs"): user_id(heir, "heirs") for org_id, heir in heirs.items()
    }


def _require_heirs(needy: Mapping[str, Membership], named: Mapping[str, str]) -> None:
    orphaned = sorted(needy.keys() - named.keys())
    if orphaned:
        raise SoleOwnerError(
            f"{len(orphaned)} organizations would be left without an owner, such as {orphaned[0]}",
            org_ids=orphaned,
        )
