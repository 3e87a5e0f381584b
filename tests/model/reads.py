"""The operations that only read, on the model's tables."""

from __future__ import annotations

from typing import Any, TypeAlias

from tests.model.records import Inv, Mem, Org, Tup, Usr, object_id
from tests.model.state import (
    ROLES,
    Refused,
    State,
    is_object_id,
    is_relation,
    is_text,
    is_type,
    precondition,
    require,
    require_id,
)

Result: TypeAlias = dict[str, Any]


class Reads(State):
    """The operations that only read."""

    def get_org(self, org_id: str) -> Org:
        return self.find(Org, org_id, "org_id")

    def get_membership(self, mem_id: str) -> Mem:
        return self.find(Mem, mem_id, "mem_id")

    def get_invitation(self, inv_id: str) -> Inv:
        return self.find(Inv, inv_id, "inv_id")

    def get_org_by_slug(self, slug: str) -> Org:
        for org in self.all(Org, slug=slug) if slug is not None else []:
            return org
        raise Refused("NotFoundError", "slug")

    def find_membership(self, org_id: str, usr_id: str) -> Mem | None:
        require_id(org_id, "org", "org_id")
        require_id(usr_id, "usr", "usr_id")
        return self.member(org_id, usr_id)

    def require_role(self, org_id: str, usr_id: str, *roles: str) -> Mem:
        require_id(org_id, "org", "org_id")
        require_id(usr_id, "usr", "usr_id")
        precondition(all(role in ROLES for role in roles), "role_format")
        mem, org = self.member(org_id, usr_id), self.tables.of(Org).get(org_id)
        if mem is None or org is None or org.status != "active":
            raise Refused("ForbiddenError")
        require(not roles or mem.role in roles, "ForbiddenError")
        return mem

    def list_orgs(self, *, query: str | None = None, **paging: Any) -> Result:
        self._status(paging.get("status"))
        if query is not None and not is_text(query):
            return {"data": [], "next_cursor": None}
        orgs = [
            org
            for org in self.all(Org)
            if query is None
            or any(
                query.lower() in text.lower() for text in (org.name, org.slug) if text is not None
            )
        ]
        return self._page(orgs, "org", **paging)

    def list_members(self, org_id: str, **paging: Any) -> Result:
        require_id(org_id, "org", "org_id")
        self._status(paging.get("status"))
        page = self._page(self.all(Mem, org_id=org_id), "mem", **paging)
        require(bool(page["data"]) or org_id in self.tables.of(Org), "NotFoundError", "org_id")
        return page

    def count_members(self, org_id: str, *, status: str | None = None) -> int:
        require_id(org_id, "org", "org_id")
        self._status(status)
        require(org_id in self.tables.of(Org), "NotFoundError", "org_id")
        return len([mem for mem in self.all(Mem, org_id=org_id) if status in (None, mem.status)])

    def list_memberships(self, usr_id: str, **paging: Any) -> Result:
        require_id(usr_id, "usr", "usr_id")
        self._status(paging.get("status"))
        page = self._page(self.all(Mem, usr_id=usr_id), "mem", **paging)
        require(bool(page["data"]) or usr_id in self.tables.of(Usr), "NotFoundError", "usr_id")
        return page

    def list_invitations(self, org_id: str, **paging: Any) -> Result:
        require_id(org_id, "org", "org_id")
        self._status(
            paging.get("status"), ("pending", "accepted", "declined", "revoked", "expired")
        )
        page = self._page(self.all(Inv, org_id=org_id), "inv", **paging)
        require(bool(page["data"]) or org_id in self.tables.of(Org), "NotFoundError", "org_id")
        return page

    def list_tuples_for_subject(self, subject_type: str, subject_id: str) -> list[Tup]:
        precondition(is_type(subject_type), "type_format")
        require(is_object_id(subject_id, subject_type), "InvalidIdError", "subject_id")
        id_ = object_id(subject_type, subject_id)
        return self.all(Tup, subject_type=subject_type, subject_id=id_)

    def list_tuples_for_object(
        self, object_type: str, object_id_: str, *, relation: str | None = None
    ) -> list[Tup]:
        precondition(is_type(object_type), "type_format")
        require(is_object_id(object_id_, object_type), "InvalidIdError", "object_id")
        precondition(relation is None or is_relation(relation), "relation_format")
        id_ = object_id(object_type, object_id_)
        tups = self.all(Tup, object_type=object_type, object_id=id_)
        return [tup for tup in tups if relation in (None, tup.relation)]

    def _status(
        self, status: object, words: tuple[str, ...] = ("active", "suspended", "revoked")
    ) -> None:
        precondition(status is None or status in words, "status_format")

    def _page(
        self,
        rows: list[Any],
        type_: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: str | None = None,
    ) -> Result:
        precondition(isinstance(limit, int), "limit_format")
        limit = max(1, min(limit, 200))
        if cursor is not None:
            require_id(cursor, type_, "cursor")
            rows = [row for row in rows if row.id > cursor]
        rows = [row for row in rows if status in (None, self._counts_as(row))]
        more = len(rows) > limit
        return {"data": rows[:limit], "next_cursor": rows[limit - 1].id if more else None}

    def _counts_as(self, row: Org | Mem | Inv) -> str:
        return "expired" if isinstance(row, Inv) and self.is_overdue(row) else row.status

    def is_overdue(self, inv: Inv) -> bool:
        """Whether an invitation is pending although its time is over."""
        return inv.status == "pending" and self.now > inv.expires_at


def _texts(org: Org) -> list[str]:
    return [text for text in (org.name, org.slug) if text is not None]
