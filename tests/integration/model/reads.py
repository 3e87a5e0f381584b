"""The operations that only read, on the model's tables."""

from __future__ import annotations

from typing import Any, TypeAlias

from tests.integration.model.records import Inv, Mem, Org, Tup, Usr, object_id, type_of
from tests.integration.model.state import (
    INV_STATUSES,
    ROLES,
    STATUSES,
    Refused,
    State,
    has_form,
    precondition,
    require,
)

Result: TypeAlias = dict[str, Any]


class Reads(State):
    """The operations that only read."""

    def get_org(self, org_id: str) -> Org:
        return self.find(Org, org_id)

    def get_membership(self, mem_id: str) -> Mem:
        return self.find(Mem, mem_id)

    def get_invitation(self, inv_id: str) -> Inv:
        return self.find(Inv, inv_id)

    def get_org_by_slug(self, slug: str) -> Org:
        for org in self.all(Org, slug=slug) if slug is not None else []:
            return org
        raise Refused("NotFoundError", "slug")

    def find_membership(self, org_id: str, usr_id: str) -> Mem | None:
        return self.member(org_id, usr_id)

    def require_role(self, org_id: str, usr_id: str, *roles: str) -> Mem:
        precondition(all(role in ROLES for role in roles), "role_format")
        mem = self.member(org_id, usr_id)
        if mem is None or not self.all(Org, id=org_id, status="active"):
            raise Refused("ForbiddenError")
        require(not roles or mem.role in roles, "ForbiddenError")
        return mem

    def role_of(self, org_id: str, usr_id: str) -> str | None:
        mem = self.member(org_id, usr_id)
        return mem.role if mem and self.all(Org, id=org_id, status="active") else None

    def count_seats(self, org_id: str) -> Result:
        self.find(Org, org_id)
        return {"limit": self.rules.seats, "taken": len(self.seated(org_id))}

    def preview_invitation(self, inv_id: str) -> Result:
        inv = self.find(Inv, inv_id)
        org, inviter = self.find(Org, inv.org_id), self.find(Usr, inv.invited_by)
        said = {"org_name": org.name, "org_slug": org.slug, "role": inv.role}
        end = {"expires_at": inv.expires_at, "effective_status": self._counts_as(inv)}
        return said | {"inviter_name": inviter.display_name} | end

    def list_invitations_for(self, identifier: str, **paging: Any) -> Result:
        precondition(has_form("text", identifier), "identifier_format")
        open_ = [
            inv
            for inv in self.all(Inv)
            if inv.identifier in (identifier, self.canonical(identifier))
            and self.is_live(inv)
            and self.find(Org, inv.org_id).status == "active"
        ]
        return self._page(open_, Inv, **paging)

    def list_orgs(self, *, query: str | None = None, **paging: Any) -> Result:
        self._status(paging.get("status"))
        if query is not None and not has_form("text", query):
            return {"data": [], "next_cursor": None}
        orgs = [
            org
            for org in self.all(Org)
            if query is None
            or any(query.lower() in t.lower() for t in (org.name, org.slug) if t is not None)
        ]
        return self._page(orgs, Org, **paging)

    def list_members(self, org_id: str, *, roles: list[str] | None = None, **paging: Any) -> Result:
        self._status(paging.get("status"))
        precondition(roles is None or all(role in ROLES for role in roles), "role_format")
        return self._page_of(Org, org_id, Mem, roles=roles, **paging)

    def count_members(self, org_id: str, *, status: str | None = None) -> int:
        self._status(status)
        self.find(Org, org_id)
        return len([mem for mem in self.all(Mem, org_id=org_id) if status in (None, mem.status)])

    def list_memberships(self, usr_id: str, **paging: Any) -> Result:
        return self._page_of(Usr, usr_id, Mem, **paging)

    def list_invitations(self, org_id: str, **paging: Any) -> Result:
        return self._page_of(Org, org_id, Inv, **paging)

    def list_tuples_for_subject(self, subject_type: str, subject_id: str) -> list[Tup]:
        return self._tuples("subject", subject_type, subject_id)

    def list_tuples_for_object(
        self, object_type: str, object_id_: str, *, relation: str | None = None
    ) -> list[Tup]:
        return self._tuples("object", object_type, object_id_, relation)

    def _tuples(self, end: str, type_: str, id_: str, relation: str | None = None) -> list[Tup]:
        precondition(has_form("type", type_), "type_format")
        require(has_form("object id", id_, type_), "InvalidIdError", f"{end}_id")
        precondition(relation is None or has_form("relation", relation), "relation_format")
        tups = self.all(Tup, **{f"{end}_type": type_, f"{end}_id": object_id(type_, id_)})
        return [tup for tup in tups if relation in (None, tup.relation)]

    def _status(self, status: object, words: tuple[str, ...] = STATUSES) -> None:
        precondition(status is None or status in words, "status_format")

    def _page_of(
        self, owner: type[Org | Usr], id_: str, record: type[Mem | Inv], **paging: Any
    ) -> Result:
        column = f"{type_of(owner)}_id"
        page = self._page(self.all(record, **{column: id_}), record, **paging)
        require(page["data"] or id_ in self.tables.of(owner), "NotFoundError", column)
        return page

    def _page(
        self,
        rows: list[Any],
        record: type[Org | Mem | Inv],
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: str | None = None,
        roles: list[str] | None = None,
        newest_first: bool = False,
    ) -> Result:
        self._status(status, INV_STATUSES if record is Inv else STATUSES)
        precondition(isinstance(limit, int), "limit_format")
        limit = max(1, min(limit, 200))
        if cursor is not None:
            require(has_form("id", cursor, type_of(record)), "InvalidIdError", "cursor")
            rows = [r for r in rows if (r.id < cursor if newest_first else r.id > cursor)]
        rows = [row for row in rows if status in (None, self._counts_as(row))]
        rows = [row for row in rows if roles is None or row.role in roles]
        rows = rows[::-1] if newest_first else rows
        more = len(rows) > limit
        return {"data": rows[:limit], "next_cursor": rows[limit - 1].id if more else None}

    def _counts_as(self, row: Org | Mem | Inv) -> str:
        return "expired" if isinstance(row, Inv) and self.is_overdue(row) else row.status
