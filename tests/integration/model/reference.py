"""The contract a second time: a small model of tenancy on dictionaries.

Written for the tests from the contract alone, it shares no code with the package. Ids are the
one thing it cannot predict: it asks `identify` what the package called a new row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.integration.model.reads import Reads, Result
from tests.integration.model.records import Grant, Inv, Mem, Org, Tup, Usr
from tests.integration.model.state import RANKS, ROLES, has_form, precondition, require, well_formed


class Reference(Reads):
    """Every operation of the contract, its checks in the contract's order."""

    def run(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Run an operation, and end what those take along who depart by it."""
        before = self.all(Mem)
        result = super().run(operation, *args, **kwargs)
        if operation not in ("revoke_org", "offboard_user"):
            by = args[1] if operation == "admin_remove" else None
            for old in before:
                new = self.tables.of(Mem)[old.id]
                if old.status != new.status != "active":
                    self._depart(old, by)
        return result

    def create_org(
        self,
        creator: str,
        *,
        name: str | None = None,
        slug: str | None = None,
        org_id: str | None = None,
    ) -> Result:
        self._texts(slug, name)
        self.user(creator, "creator")
        if not (org_id and self.all(Org, id=org_id, slug=slug)):
            self._free(slug)
        require(org_id not in self.tables.of(Org), "DuplicateOrganizationError")
        what = {"status": "active", "name": name, "slug": slug}
        org = self.add(Org, **what, created_at=self.now, updated_at=self.now)
        return {"org": org, "owner_membership": self.join(creator, org.id, "owner", by=creator)}

    def update_org(self, org_id: str, **given: Any) -> Org:
        org = self.find(Org, org_id)
        require(org.status != "revoked", "AlreadyTerminalError")
        self._texts(given.get("slug"), given.get("name"))
        if given.get("slug") != org.slug:
            self._free(given.get("slug"))
        return self.change(org, updated_at=self.now, **given)

    def suspend_org(self, org_id: str) -> Org:
        org = self.find(Org, org_id)
        require(org.status == "active", "AlreadyTerminalError")
        return self.change(org, status="suspended", updated_at=self.now)

    def reinstate_org(self, org_id: str) -> Org:
        org = self.find(Org, org_id)
        precondition(org.status == "suspended", "invalid_transition")
        return self.change(org, status="active", updated_at=self.now)

    def revoke_org(self, org_id: str) -> Org:
        org = self.find(Org, org_id)
        require(org.status != "revoked", "AlreadyTerminalError")
        for mem in self.all(Mem, org_id=org_id):
            if mem.status != "revoked":
                self.end(mem, removed_by=None)
        for tup in self.all(Tup, object_type="org", object_id=org_id):
            del self.tables.of(Tup)[tup.id]
        for inv in self.all(Inv, org_id=org_id, status="pending"):
            self._close(inv, "revoked", by=None)
        return self.change(org, status="revoked", updated_at=self.now)

    def add_member(
        self, org_id: str, usr_id: str, role: str, *, invited_by: str | None = None
    ) -> Mem:
        precondition(role in ROLES, "role_format")
        self._open_org(org_id)
        self.user(usr_id, "usr_id")
        self.user(invited_by, "invited_by")
        self.seat(org_id, usr_id)
        self._not_yet_member(org_id, usr_id)
        return self.join(usr_id, org_id, role, by=invited_by, invited_by=invited_by)

    def change_role(self, mem_id: str, new_role: str) -> Mem:
        precondition(new_role in ROLES, "role_format")
        mem = self.find(Mem, mem_id)
        precondition(mem.status == "active", "mem_not_active")
        if new_role == mem.role:
            return mem
        require(not self.is_last_owner(mem), "SoleOwnerError")
        return self.succeed(mem, new_role)

    def suspend_membership(self, mem_id: str) -> Mem:
        mem = self.find(Mem, mem_id)
        precondition(mem.status == "active", "mem_not_active")
        require(not self.is_last_owner(mem), "SoleOwnerError")
        return self.end(mem, "suspended")

    def reinstate_membership(self, mem_id: str) -> Mem:
        mem = self.find(Mem, mem_id)
        precondition(mem.status == "suspended", "invalid_transition")
        self._open_org(mem.org_id)
        self._not_yet_member(mem.org_id, mem.usr_id)
        self.grant(mem.usr_id, Grant(mem.role, "org", mem.org_id), by=None)
        return self.change(mem, status="active", updated_at=self.now)

    def self_leave(self, mem_id: str, *, transfer_to: str | None = None) -> Mem:
        mem = self.find(Mem, mem_id)
        precondition(mem.status == "active", "mem_not_active")
        if self.is_last_owner(mem):
            require(transfer_to, "SoleOwnerError")
            precondition(transfer_to != mem.usr_id, "self_transfer")
            heir = self.member(mem.org_id, transfer_to)
            require(heir, "NotFoundError", "transfer_to")
            assert heir
            self.succeed(heir, "owner")
        return self.end(mem, removed_by=None)

    def admin_remove(self, mem_id: str, admin_usr_id: str) -> Mem:
        mem = self.find(Mem, mem_id)
        precondition(mem.status != "revoked", "mem_not_active")
        admin = self.administrator(mem.org_id, admin_usr_id)
        require(mem.role != "owner", "RoleHierarchyError")
        precondition(mem.role in RANKS, "scope_mismatch")
        require(RANKS[admin.role] >= RANKS[mem.role], "RoleHierarchyError")
        return self.end(mem, removed_by=admin_usr_id)

    def transfer_ownership(self, org_id: str, from_mem_id: str, to_mem_id: str) -> Result:
        donor = self.find(Mem, from_mem_id, "from_mem_id")
        target = self.find(Mem, to_mem_id, "to_mem_id")
        self.find(Org, org_id)
        precondition(donor.status == "active", "from_not_active")
        precondition(target.status == "active", "to_not_active")
        precondition(donor.org_id == target.org_id == org_id, "org_mismatch")
        precondition(donor.role == "owner", "from_not_owner")
        precondition(donor.usr_id != target.usr_id, "self_transfer")
        owner = target if target.role == "owner" else self.succeed(target, "owner")
        return {"from_membership": self.succeed(donor, "member"), "to_membership": owner}

    def create_invitation(
        self,
        org_id: str,
        identifier: str,
        role: str,
        invited_by: str,
        expires_at: datetime,
        *,
        pre_tuples: Iterable[Grant | Mapping[str, str]] | None = None,
        inv_id: str | None = None,
    ) -> Inv:
        precondition(role in ROLES, "role_format")
        self._open_org(org_id)
        identifier = self.canonical(identifier)
        printable = has_form("text", identifier) and identifier.isprintable()
        precondition(printable and identifier.strip(" ") == identifier != "", "identifier_format")
        self._end(expires_at, self.now)
        grants = tuple(well_formed(grant, org_id) for grant in pre_tuples or ())
        self.user(invited_by, "invited_by")
        require(inv_id not in self.tables.of(Inv), "DuplicateInvitationIdError")
        if self.rules.authority:
            require(self._may_offer(org_id, invited_by, role), "ForbiddenError")
        self._admit(org_id, identifier, invited_by)
        what = {"org_id": org_id, "identifier": identifier, "role": role, "status": "pending"}
        end = {"invited_user_id": None, "terminal_at": None, "terminal_by": None}
        when = {"created_at": self.now, "expires_at": expires_at.astimezone(UTC)}
        return self.add(Inv, **what, **end, **when, pre_tuples=grants, invited_by=invited_by)

    def accept_invitation(
        self,
        inv_id: str,
        *,
        as_usr_id: str | None = None,
        accepting_identifier: str | None = None,
    ) -> Result:
        inv, said = self._open_invitation(inv_id), accepting_identifier
        if as_usr_id is not None:
            unbound, other = "identifier_binding_required", "identifier_mismatch"
            precondition(said is not None, unbound, "IdentifierBindingRequiredError")
            same = self.canonical(said) == self.canonical(inv.identifier)
            precondition(same, other, "IdentifierMismatchError")
        self.user(as_usr_id, "as_usr_id")
        self._open_org(inv.org_id)
        usr_id = self.add_user() if as_usr_id is None else as_usr_id
        self._not_yet_member(inv.org_id, usr_id)
        suspended = self.all(Mem, org_id=inv.org_id, usr_id=usr_id, status="suspended")
        precondition(not suspended, "mem_suspended")
        by = inv.invited_by
        if self.rules.authority:
            precondition(self._may_offer(inv.org_id, by, inv.role), "inviter_not_entitled")
        mem = self.join(usr_id, inv.org_id, inv.role, by=by, invited_by=by)
        tups = [self.grant(usr_id, grant, by=by) for grant in dict.fromkeys(inv.pre_tuples)]
        inv = self._close(inv, "accepted", by=usr_id, invited_user_id=usr_id)
        if self.rules.accept_ends_others or self.rules.seats is not None:
            for rival in self._live(inv.org_id, self.canonical(inv.identifier)):
                self._close(rival, "revoked", by=usr_id)
        return {"invitation": inv, "membership": mem, "materialized_tuples": tups}

    def decline_invitation(self, inv_id: str, *, as_usr_id: str | None = None) -> Inv:
        inv = self._open_invitation(inv_id)
        self.user(as_usr_id, "as_usr_id")
        return self._close(inv, "declined", by=as_usr_id)

    def revoke_invitation(self, inv_id: str, admin_usr_id: str) -> Inv:
        inv = self._open_invitation(inv_id)
        self.administrator(inv.org_id, admin_usr_id)
        return self._close(inv, "revoked", by=admin_usr_id)

    def renew_invitation(self, inv_id: str, expires_at: datetime) -> Inv:
        inv = self.find(Inv, inv_id)
        require(inv.status == "pending", "InvitationNotPendingError")
        self._open_org(inv.org_id)
        self._end(expires_at, max(self.now, inv.created_at))
        if self.is_overdue(inv):
            self._admit(inv.org_id, inv.identifier, inv.invited_by)
        return self.change(inv, expires_at=expires_at.astimezone(UTC))

    def erase_identifier(self, identifier: str) -> int:
        precondition(has_form("text", identifier), "identifier_format")
        spellings = (identifier, self.canonical(identifier))
        found = [inv for inv in self.all(Inv) if inv.identifier in spellings]
        for inv in found:
            ended = self._close(inv, "revoked", by=None) if inv.status == "pending" else inv
            self.change(ended, identifier=f"erased:{inv.id[4:]}")
        return len(found)

    def offboard_user(self, usr_id: str, *, heirs: Mapping[str, str] | None = None) -> list[Mem]:
        held = [m for m in self.all(Mem, usr_id=usr_id) if m.status != "revoked"]
        needy = [m for m in held if m.status == "active" and self.is_last_owner(m)]
        named = heirs or {}
        require(all(m.org_id in named for m in needy), "SoleOwnerError")
        for mem in needy:
            precondition(named[mem.org_id] != usr_id, "self_transfer")
            heir = self.member(mem.org_id, named[mem.org_id])
            require(heir, "NotFoundError", "transfer_to")
            assert heir
            self.succeed(heir, "owner")
        if not held:
            self.find(Usr, usr_id)
        ended = [self.end(mem, removed_by=None) for mem in held]
        for inv in self.all(Inv, invited_by=usr_id, status="pending"):
            self._close(inv, "revoked", by=None)
        for tup in self.all(Tup, subject_type="usr", subject_id=usr_id):
            del self.tables.of(Tup)[tup.id]
        return ended

    def expire_invitations(self, *, limit: int = 1000) -> int:
        precondition(isinstance(limit, int), "limit_format")
        overdue = [inv for inv in self.all(Inv) if self.is_overdue(inv)][: max(1, limit)]
        for inv in overdue:
            self._close(inv, "expired", by=None)
        return len(overdue)

    def _depart(self, old: Mem, by: str | None) -> None:
        """End what somebody takes along who parts with a membership."""
        org_id, usr_id = old.org_id, old.usr_id
        new = self.member(org_id, usr_id)
        demoted = new is None or RANKS.get(new.role, 0) < RANKS.get(old.role, 0)
        if self.rules.revokes_offers and demoted:
            for inv in self.all(Inv, org_id=org_id, invited_by=usr_id, status="pending"):
                if not self._may_offer(org_id, usr_id, inv.role):
                    self._close(inv, "revoked", by=by)
        if self.rules.withdraws_grants and not self.belongs(org_id, usr_id):
            accepted = self.all(Inv, invited_user_id=usr_id, status="accepted")
            kept = {
                grant
                for inv in accepted
                if self.belongs(inv.org_id, usr_id)
                for grant in inv.pre_tuples
            }
            promised = {
                grant for inv in accepted if inv.org_id == org_id for grant in inv.pre_tuples
            }
            for inv in accepted:
                for grant in promised.intersection(inv.pre_tuples) - kept:
                    key = {"subject_type": "usr", "subject_id": usr_id, **grant._asdict()}
                    origin = {"created_at": inv.terminal_at, "created_by": inv.invited_by}
                    for tup in self.all(Tup, **key, **origin):
                        del self.tables.of(Tup)[tup.id]

    def _may_offer(self, org_id: str, usr_id: str, role: str) -> bool:
        mem = self.member(org_id, usr_id)
        if mem is None or mem.role not in ("owner", "admin"):
            return False
        return RANKS.get(role, 0) <= RANKS[mem.role]

    def _live(self, org_id: str, identifier: str) -> list[Inv]:
        """Return the open invitations of an identifier."""
        return [i for i in self.all(Inv, org_id=org_id, identifier=identifier) if self.is_live(i)]

    def _admit(self, org_id: str, identifier: str, inviter: str) -> None:
        """Refuse an offer that the others of its identifier, or the seats, do not allow."""
        others = self._live(org_id, identifier)
        require(self.rules.pending != "refuse" or not others, "DuplicateInvitationError")
        self.seat(org_id, identifier)
        for other in others if self.rules.pending == "replace" else ():
            self._close(other, "revoked", by=inviter)

    def _end(self, expires_at: datetime, at: datetime) -> None:
        precondition(expires_at.tzinfo is not None, "naive_expiration")
        precondition(expires_at > at, "past_expiration")

    def _texts(self, slug: str | None, name: str | None) -> None:
        precondition(slug is None or has_form("slug", slug), "org_slug_format")
        precondition(name is None or has_form("text", name), "name_format")

    def _free(self, slug: str | None) -> None:
        taken = slug is not None and self.all(Org, slug=slug)
        require(not taken, "OrgSlugConflictError", slug)

    def _open_org(self, org_id: str) -> None:
        precondition(self.find(Org, org_id).status == "active", "org_not_active")

    def _not_yet_member(self, org_id: str, usr_id: str) -> None:
        require(self.member(org_id, usr_id) is None, "DuplicateMembershipError")

    def _open_invitation(self, inv_id: str) -> Inv:
        inv = self.find(Inv, inv_id)
        require(inv.status == "pending", "InvitationNotPendingError")
        require(not self.is_overdue(inv), "InvitationExpiredError")
        return inv

    def _close(self, inv: Inv, status: str, *, by: str | None, **fields: Any) -> Inv:
        return self.change(inv, status=status, terminal_at=self.now, terminal_by=by, **fields)
