"""Rows as plain values: what the model keeps, what the database holds, what operations return.

Nothing here imports the package: ids, times and pre-tuples are taken apart independently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text


class Grant(NamedTuple):
    """A pre-tuple."""

    relation: str
    object_type: str
    object_id: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """What all rows have."""

    id: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Usr(Row):
    """A row of usr."""

    status: str
    display_name: str | None
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Org(Row):
    """A row of org."""

    status: str
    name: str | None
    slug: str | None
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Mem(Row):
    """A row of mem."""

    usr_id: str
    org_id: str
    role: str
    status: str
    replaces: str | None
    invited_by: str | None
    removed_by: str | None
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Inv(Row):
    """A row of inv."""

    org_id: str
    identifier: str
    role: str
    status: str
    pre_tuples: tuple[Grant, ...]
    invited_by: str
    invited_user_id: str | None
    expires_at: datetime
    terminal_at: datetime | None
    terminal_by: str | None


@dataclass(frozen=True, kw_only=True)
class Tup(Row):
    """A row of tup."""

    subject_type: str
    subject_id: str
    relation: str
    object_type: str
    object_id: str
    created_by: str | None


Record: TypeAlias = Usr | Org | Mem | Inv | Tup
R = TypeVar("R", bound=Record)

RECORDS: Final[tuple[type[Record], ...]] = (Usr, Org, Mem, Inv, Tup)

# Types whose ids read as wire ids, as far as the tests use them; `proj` and `doc` are not.
REGISTERED: Final = ("usr", "org", "mem", "inv", "tup")

_POINTS_AT: Final = {
    "usr_id": "usr",
    "invited_user_id": "usr",
    "org_id": "org",
    "replaces": "mem",
    **dict.fromkeys(["invited_by", "removed_by", "terminal_by", "created_by"], "usr"),
}


def type_of(record: type[Row]) -> str:
    """Return the type of a record's ids, which is its table's name."""
    return record.__name__.lower()


class Tables:
    """The rows of all tables, by type and id."""

    def __init__(self) -> None:
        self._rows: dict[type[object], dict[str, Any]] = {record: {} for record in RECORDS}

    def of(self, record: type[R]) -> dict[str, R]:
        """Return the rows of one table."""
        return self._rows[record]

    def copy(self) -> Tables:
        """Return a copy that later changes do not reach."""
        copy = Tables()
        copy._rows = {record: dict(rows) for record, rows in self._rows.items()}
        return copy

    def __iter__(self) -> Iterator[Record]:
        for rows in self._rows.values():
            yield from rows.values()


def read_tables(connection: Connection) -> Tables:
    """Return what is stored, as this connection sees it, read with plain SQL."""
    tables = Tables()
    for record in RECORDS:
        for row in connection.execute(text(f"SELECT * FROM {type_of(record)}")).mappings():
            values = {field.name: _read(record, field.name, row) for field in fields(record)}
            tables.of(record)[values["id"]] = record(**values)
    return tables


def differences(expected: Tables, actual: Tables) -> list[str]:
    """Return the rows that only one side has."""
    wanted, found = set(expected), set(actual)
    return [f"missing: {row}" for row in wanted - found] + [
        f"too much: {row}" for row in found - wanted
    ]


def object_id(type_: str, value: object) -> str:
    """Return the id of a tuple's subject or object in the form in which it is read."""
    uuid = UUID(str(value)[-32:]) if "_" in str(value) else UUID(str(value))
    return f"{type_}_{uuid.hex}" if type_ in REGISTERED else str(uuid)


def _read(record: type[Record], name: str, row: RowMapping) -> Any:
    value = row[name]
    if value is None:
        return None
    if name.endswith("_at"):
        return _time(value)
    if type_ := type_of(record) if name == "id" else _POINTS_AT.get(name):
        return f"{type_}_{UUID(str(value)).hex}"
    if name in ("subject_id", "object_id"):
        return object_id(row[name.replace("_id", "_type")], value)
    if name == "pre_tuples":
        return tuple(map(_grant, json.loads(value) if isinstance(value, str) else value))
    return value


def _grant(stored: Mapping[str, str]) -> Grant:
    assert set(stored) == {"relation", "object_type", "object_id"}
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", stored["object_id"])
    type_ = stored["object_type"]
    return Grant(stored["relation"], type_, object_id(type_, stored["object_id"]))


def _time(value: object) -> datetime:
    time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
