"""What the model of tenancy knows, and what it asks of arguments and rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from tests.model.records import Grant, Mem, R, Tables, Tup, Usr, object_id

ROLES: Final = ("owner", "admin", "member", "guest", "viewer", "editor")
RANKS: Final = {"owner": 4, "admin": 3, "member": 2, "guest": 1}

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
}


class Refused(Exception):  # noqa: N818 - not an error of the tests
    """What an operation raises: the error's name, and the detail that the contract promises."""

    def __init__(self, error: str, detail: str | None = None) -> None:
        super().__init__(error, detail)
        self.error = error
        self.detail = detail
        self.code = CODES.get(error, f"precondition.{detail}")


class Identify(Protocol):
    """Tells the id that the package gave to a new row with certain fields."""

    def __call__(self, record: type[R], /, **fields: object) -> str: ...


def precondition(holds: bool, reason: str, error: str = "PreconditionError") -> None:
    """Refuse for a reason, unless something holds."""
    if not holds:
        raise Refused(error, reason)


def require(holds: bool, error: str, detail: str | None = None) -> None:
    """Refuse with an error, unless something holds."""
    if not holds:
        raise Refused(error, detail)


def require_id(value: object, type_: str, parameter: str) -> None:
    """Refuse what is not a wire id of a type."""
    is_id = isinstance(value, str) and re.fullmatch(f"{type_}_[0-9a-f]{{32}}", value)
    require(bool(is_id), "InvalidIdError", parameter)


def is_text(value: object) -> bool:
    """Whether PostgreSQL can store it."""
    return isinstance(value, str) and not re.search("[\0\ud800-\udfff]", value)


def is_slug(value: object) -> bool:
    """Whether it can be an organization's handle."""
    return isinstance(value, str) and bool(
        re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value)
    )


def is_type(value: object) -> bool:
    """Whether it can be the type of a tuple's subject or object."""
    return isinstance(value, str) and bool(re.fullmatch("[a-z]{2,6}", value))


def is_relation(value: object) -> bool:
    """Whether it can be a tuple's relation."""
    return isinstance(value, str) and bool(re.fullmatch("[a-z_]{2,32}", value))


def is_object_id(value: object, type_: str) -> bool:
    """Whether it has one of the three forms of an id of that type."""
    uuid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    form = f"({type_}_)?[0-9a-f]{{32}}|{uuid}"
    return isinstance(value, str) and bool(re.fullmatch(form, value))


def well_formed(grant: Grant | Mapping[str, str]) -> Grant:
    """Return a pre-tuple as it is read back, if an invitation may carry it."""
    if isinstance(grant, Mapping):
        precondition(set(grant) == {"relation", "object_type", "object_id"}, "pre_tuple_format")
        grant = Grant(**grant)
    precondition(
        is_relation(grant.relation)
        and is_type(grant.object_type)
        and is_object_id(grant.object_id, grant.object_type),
        "pre_tuple_format",
    )
    precondition(not (grant.object_type == "org" and grant.relation in ROLES), "pre_tuple_org_role")
    return grant._replace(object_id=object_id(grant.object_type, grant.object_id))


class State:
    """The model's tables, its clock, and the questions that several operations ask."""

    def __init__(
        self, clock: Callable[[], datetime], identify: Identify, *, registers: bool = False
    ) -> None:
        self.tables = Tables()
        self.registers = registers
        self._clock = clock
        self._identify = identify

    @property
    def now(self) -> datetime:
        """The time."""
        return self._clock()

    def run(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Run an operation; one that is refused leaves no trace."""
        before = self.tables.copy()
        try:
            return getattr(self, operation)(*args, **kwargs)
        except Refused:
            self.tables = before
            raise

    def find(self, record: type[R], id_: object, parameter: str) -> R:
        """Return the row with an id."""
        require_id(id_, record.__name__.lower(), parameter)
        row = self.tables.of(record).get(str(id_))
        if row is None:
            raise Refused("NotFoundError", parameter)
        return row

    def all(self, record: type[R], **fields: object) -> list[R]:
        """Return the rows with certain fields, ascending by id."""
        return sorted(
            (
                row
                for row in self.tables.of(record).values()
                if all(getattr(row, name) == value for name, value in fields.items())
            ),
            key=lambda row: row.id,
        )

    def member(self, org_id: object, usr_id: object) -> Mem | None:
        """Return a user's active membership in an organization."""
        return next(iter(self.all(Mem, org_id=org_id, usr_id=usr_id, status="active")), None)

    def is_last_owner(self, mem: Mem) -> bool:
        """Whether the organization would be ownerless without this active membership."""
        owners = self.all(Mem, org_id=mem.org_id, role="owner", status="active")
        return owners == [mem]

    def user(self, usr_id: str | None, parameter: str) -> None:
        """Refuse a user who does not exist, if one is named; in memory they are registered."""
        if usr_id is None or usr_id in self.tables.of(Usr):
            return
        require(self.registers, "NotFoundError", parameter)
        self.tables.of(Usr)[usr_id] = Usr(usr_id, "active", None, self.now, self.now)

    def add(self, record: type[R], known_by: Iterable[str] = (), **fields: Any) -> R:
        """Add a row."""
        id_ = self._identify(record, **{name: fields[name] for name in known_by})
        row = record(id=id_, **fields)
        self.tables.of(record)[id_] = row
        return row

    def change(self, row: R, **fields: Any) -> R:
        """Replace a row by one with other values."""
        changed = replace(row, **fields)
        self.tables.of(type(row))[row.id] = changed
        return changed

    def join(
        self,
        usr_id: str,
        org_id: str,
        role: str,
        *,
        created_by: str | None,
        created_at: datetime,
        invited_by: str | None = None,
        replaces: str | None = None,
    ) -> Mem:
        """Add an active membership and its tuple."""
        mem = self.add(
            Mem,
            ["usr_id"],
            usr_id=usr_id,
            org_id=org_id,
            role=role,
            status="active",
            replaces=replaces,
            invited_by=invited_by,
            removed_by=None,
            created_at=created_at,
            updated_at=created_at,
        )
        self.grant(usr_id, Grant(role, "org", org_id), created_by=created_by)
        return mem

    def grant(self, usr_id: str, grant: Grant, *, created_by: str | None) -> Tup:
        """Add a tuple, or keep the one that is there."""
        key = {"subject_type": "usr", "subject_id": usr_id, **grant._asdict()}
        for kept in self.all(Tup, **key):
            return kept
        return self.add(Tup, key, **key, created_at=self.now, created_by=created_by)

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
        return self.join(
            mem.usr_id,
            mem.org_id,
            role,
            created_by=None,
            created_at=later,
            invited_by=mem.invited_by,
            replaces=mem.id,
        )

    def administrator(self, org_id: str, usr_id: str) -> Mem:
        """Return the active owner or admin that a user is, or refuse them."""
        admin = self.member(org_id, usr_id)
        if admin is None or admin.role not in ("owner", "admin"):
            raise Refused("ForbiddenError")
        return admin
