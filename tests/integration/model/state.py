"""What the model of tenancy knows, and what it asks of arguments and rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from inspect import signature
from typing import Any, Final

from tests.integration.model.records import Grant, Inv, Mem, R, Tables, Tup, Usr, object_id, type_of
from tests.integration.model.rules import Rules

ROLES: Final = ("owner", "admin", "member", "guest", "viewer", "editor")
KEPT: Final = ("org", "usr", "mem", "inv", "tup")
RANKS: Final = {"owner": 4, "admin": 3, "member": 2, "guest": 1}
STATUSES: Final = ("active", "suspended", "revoked")
INV_STATUSES: Final = ("pending", "accepted", "declined", "revoked", "expired")

# Parameters that are wire ids, by their type.
IDS: Final = {
    "org_id": "org",
    "inv_id": "inv",
    **dict.fromkeys(["mem_id", "from_mem_id", "to_mem_id"], "mem"),
    **dict.fromkeys(["creator", "usr_id", "invited_by", "transfer_to"], "usr"),
    **dict.fromkeys(["admin_usr_id", "as_usr_id"], "usr"),
}

CODES: Final = {
    "NotFoundError": "not_found",
    "InvalidIdError": "invalid_id",
    "DuplicateMembershipError": "conflict.duplicate_membership",
    "SoleOwnerError": "forbidden.sole_owner",
    "RoleHierarchyError": "forbidden.role_hierarchy",
    "ForbiddenError": "forbidden",
    "InvitationNotPendingError": "conflict.invitation_not_pending",
    "InvitationExpiredError": "conflict.invitation_expired",
    "AlreadyTerminalError": "already_terminal",
    "OrgSlugConflictError": "conflict.org_slug",
    "DuplicateOrganizationError": "conflict.duplicate_org",
    "DuplicateInvitationIdError": "conflict.duplicate_invitation_id",
    "DuplicateInvitationError": "conflict.duplicate_invitation",
    "SeatLimitError": "conflict.seat_limit",
}


class Refused(Exception):  # noqa: N818 - not an error of the tests
    """What an operation raises: the error's name, and the detail that the contract promises."""

    def __init__(self, error: str, detail: str | None = None) -> None:
        super().__init__(error, detail)
        self.outcome = (error, CODES.get(error, f"precondition.{detail}"), detail)


def require(holds: object, error: str, detail: str | None = None) -> None:
    """Refuse with an error, unless something holds."""
    if not holds:
        raise Refused(error, detail)


def precondition(holds: object, reason: str, error: str = "PreconditionError") -> None:
    """Refuse for a reason, unless something holds."""
    require(holds, error, reason)


FORMS: Final = {
    "text": "(?s)[^\0\ud800-\udfff]*",  # what PostgreSQL can store
    "slug": "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    "type": "[a-z]{2,6}",
    "relation": "[a-z_]{2,32}",
    "id": "{0}_[0-9a-f]{{32}}",
    "object id": "({0}_)?[0-9a-f]{{32}}|[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}",
}


def has_form(form: str, value: object, type_: str = "") -> bool:
    """Whether a value has some form, that of a type's ids for example."""
    pattern = FORMS[form].format(type_) if type_ else FORMS[form]
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def well_formed(grant: Grant | Mapping[str, str], org_id: str) -> Grant:
    """Return a pre-tuple as it is read back, if an invitation may carry it."""
    if isinstance(grant, Mapping):
        precondition(set(grant) == set(Grant._fields), "pre_tuple_format")
        grant = Grant(**grant)
    precondition(
        has_form("relation", grant.relation)
        and has_form("type", grant.object_type)
        and has_form("object id", grant.object_id, grant.object_type),
        "pre_tuple_format",
    )
    grant = grant._replace(object_id=object_id(grant.object_type, grant.object_id))
    precondition(not re.search("0{32}|f{32}", grant.object_id.replace("-", "")), "pre_tuple_format")
    own = grant.object_id == org_id and grant.relation not in ROLES
    precondition(own or grant.object_type not in KEPT, "pre_tuple_org_role")
    return grant


class State:
    """The model's tables, its clock, and the questions that several operations ask."""

    def __init__(
        self, clock: Callable[[], datetime], identify: Callable[..., str], registers: bool
    ) -> None:
        """Begin empty; `identify` tells the id that the package gave to a new row."""
        self.tables = Tables()
        self.rules = Rules()
        self.registers = registers
        self._clock = clock
        self._identify = identify

    @property
    def now(self) -> datetime:
        """The time."""
        return self._clock()

    def run(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Run an operation: ids are looked at before all else; what is refused leaves no trace."""
        before, method = self.tables.copy(), getattr(self, operation)
        expected = signature(method)
        try:
            for name, value in expected.bind(*args, **kwargs).arguments.items():
                optional = expected.parameters[name].default is None
                if name in IDS and not (optional and value is None):
                    require(has_form("id", value, IDS[name]), "InvalidIdError", name)
            return method(*args, **kwargs)
        except Refused:
            self.tables = before
            raise

    def find(self, record: type[R], id_: str, parameter: str | None = None) -> R:
        """Return the row with an id."""
        rows = self.tables.of(record)
        require(id_ in rows, "NotFoundError", parameter or f"{type_of(record)}_id")
        return rows[id_]

    def all(self, record: type[R], **fields: object) -> list[R]:
        """Return the rows with certain fields, ascending by id."""
        rows = sorted(self.tables.of(record).values(), key=lambda row: row.id)
        return [row for row in rows if all(getattr(row, f) == v for f, v in fields.items())]

    def member(self, org_id: object, usr_id: object) -> Mem | None:
        """Return a user's active membership in an organization."""
        return next(iter(self.all(Mem, org_id=org_id, usr_id=usr_id, status="active")), None)

    def is_last_owner(self, mem: Mem) -> bool:
        """Whether the organization would be ownerless without this active membership."""
        return self.all(Mem, org_id=mem.org_id, role="owner", status="active") == [mem]

    def is_overdue(self, inv: Inv) -> bool:
        """Whether an invitation is pending although its time is over."""
        return inv.status == "pending" and self.now > inv.expires_at

    def is_live(self, inv: Inv) -> bool:
        """Whether an invitation may be answered."""
        return inv.status == "pending" and not self.is_overdue(inv)

    def belongs(self, org_id: str, usr_id: str) -> bool:
        """Whether a user is an active or suspended member."""
        return any(m.status != "revoked" for m in self.all(Mem, org_id=org_id, usr_id=usr_id))

    def canonical(self, identifier: Any) -> Any:
        """Return an identifier as it is stored and compared."""
        text = self.rules.canonical and isinstance(identifier, str)
        return identifier.strip().lower() if text else identifier

    def seated(self, org_id: str) -> set[str]:
        """Return who has a seat: users by id, and whoever is invited by identifier."""
        members = {m.usr_id for m in self.all(Mem, org_id=org_id) if m.status != "revoked"}
        invited = [inv for inv in self.all(Inv, org_id=org_id) if self.is_live(inv)]
        return members | {self.canonical(inv.identifier) for inv in invited}

    def seat(self, org_id: str, who: str) -> None:
        """Refuse whoever has no seat where none is free."""
        taken, seats = self.seated(org_id), self.rules.seats
        require(seats is None or who in taken or len(taken) < seats, "SeatLimitError")

    def user(self, usr_id: str | None, parameter: str) -> None:
        """Refuse a user who does not exist, if one is named; in memory they register."""
        if usr_id is not None and usr_id not in self.tables.of(Usr):
            require(self.registers, "NotFoundError", parameter)
            self.tables.of(Usr)[usr_id] = self._new_user(usr_id)

    def _new_user(self, id_: str) -> Usr:
        born = {"created_at": self.now, "updated_at": self.now}
        return Usr(id=id_, status="active", display_name=None, **born)

    def add_user(self) -> str:
        """Add a user who is known by nothing but being new."""
        usr = self._new_user(self._identify(Usr))
        self.tables.of(Usr)[usr.id] = usr
        return usr.id

    def add(self, record: type[R], *known_by: str, **fields: Any) -> R:
        """Add a row."""
        id_ = self._identify(record, **{name: fields[name] for name in known_by})
        row = self.tables.of(record)[id_] = record(id=id_, **fields)
        return row

    def change(self, row: R, **fields: Any) -> R:
        """Replace a row by one with other values."""
        changed = self.tables.of(type(row))[row.id] = replace(row, **fields)
        return changed

    def join(
        self,
        usr_id: str,
        org_id: str,
        role: str,
        *,
        by: str | None,
        at: datetime | None = None,
        **history: str | None,
    ) -> Mem:
        """Add an active membership and the tuple that somebody signs."""
        at = at or self.now
        who = {"usr_id": usr_id, "org_id": org_id, "role": role, "status": "active"}
        past = {"replaces": None, "invited_by": None, "removed_by": None} | history
        mem = self.add(Mem, "usr_id", **who, **past, created_at=at, updated_at=at)
        self.grant(usr_id, Grant(role, "org", org_id), by=by)
        return mem

    def grant(self, usr_id: str, grant: Grant, *, by: str | None) -> Tup:
        """Add a tuple, or keep the one that is there."""
        key = {"subject_type": "usr", "subject_id": usr_id, **grant._asdict()}
        for kept in self.all(Tup, **key):
            return kept
        return self.add(Tup, *key, **key, created_at=self.now, created_by=by)

    def end(self, mem: Mem, status: str = "revoked", **fields: Any) -> Mem:
        """Take an active membership's tuple, and give the membership its new status."""
        if mem.status == "active":
            key = {"subject_type": "usr", "subject_id": mem.usr_id, "relation": mem.role}
            for tup in self.all(Tup, **key, object_type="org", object_id=mem.org_id):
                del self.tables.of(Tup)[tup.id]
        return self.change(mem, status=status, updated_at=self.now, **fields)

    def succeed(self, mem: Mem, role: str) -> Mem:
        """Revoke a membership and add the one that replaces it."""
        self.end(mem)
        later = max(self.now, mem.created_at + timedelta(microseconds=1))
        history = {"invited_by": mem.invited_by, "replaces": mem.id}
        return self.join(mem.usr_id, mem.org_id, role, by=None, at=later, **history)

    def administrator(self, org_id: str, usr_id: str) -> Mem:
        """Return the active owner or admin that a user is, or refuse them."""
        admin = self.member(org_id, usr_id)
        if admin is None or admin.role not in ("owner", "admin"):
            raise Refused("ForbiddenError")
        return admin
