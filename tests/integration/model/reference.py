"""The contract a second time: a small model of tenancy on dictionaries.

Written for the tests from the contract alone, it shares no code with the package. Ids are the
one thing it cannot predict: it asks `identify` what the package called a new row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.integration.model.reads import Reads, Result
from tests.integration.model.records import Grant, Inv, Mem, Org, Tup
from tests.integration.model.state import RANKS, ROLES, has_form, precondition, require, well_formed


class Reference(Reads):
    """Every operation of the contract, its checks in the contract's order."""

    def create_org(
        self, creator: str, *, name: str | None = None, slug: str | None = None
    ) -> Result:
        self._texts(slug, name)
        self.user(creator, "creator")
        self._free(slug)
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
    ) -> Inv:
        precondition(role in ROLES, "role_format")
        self._open_org(org_id)
        printable = has_form("text", identifier) and identifier.isprintable()
        precondition(printable and identifier.strip(" ") == identifier != "", "identifier_format")
        precondition(expires_at.tzinfo is not None, "naive_expiration")
        precondition(expires_at > self.now, "past_expiration")
        grants = tuple(well_formed(grant, org_id) for grant in pre_tuples or ())
        self.user(invited_by, "invited_by")
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
            precondition(said == inv.identifier, other, "IdentifierMismatchError")
        self.user(as_usr_id, "as_usr_id")
        self._open_org(inv.org_id)
        usr_id = self.add_user() if as_usr_id is None else as_usr_id
        self._not_yet_member(inv.org_id, usr_id)
        suspended = self.all(Mem, org_id=inv.org_id, usr_id=usr_id, status="suspended")
        precondition(not suspended, "mem_suspended")
        by = inv.invited_by
        mem = self.join(usr_id, inv.org_id, inv.role, by=by, invited_by=by)
        tups = [self.grant(usr_id, grant, by=by) for grant in dict.fromkeys(inv.pre_tuples)]
        inv = self._close(inv, "accepted", by=usr_id, invited_user_id=usr_id)
        return {"invitation": inv, "membership": mem, "materialized_tuples": tups}

    def decline_invitation(self, inv_id: str, *, as_usr_id: str | None = None) -> Inv:
        inv = self._open_invitation(inv_id)
        self.user(as_usr_id, "as_usr_id")
        return self._close(inv, "declined", by=as_usr_id)

    def revoke_invitation(self, inv_id: str, admin_usr_id: str) -> Inv:
        inv = self._open_invitation(inv_id)
        self.administrator(inv.org_id, admin_usr_id)
        return self._close(inv, "revoked", by=admin_usr_id)

    def expire_invitations(self, *, limit: int = 1000) -> int:
        precondition(isinstance(limit, int), "limit_format")
        overdue = [inv for inv in self.all(Inv) if self.is_overdue(inv)][: max(1, limit)]
        for inv in overdue:
            self._close(inv, "expired", by=None)
        return len(overdue)

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
