"""What the database holds, read with plain SQL: no model, no type of ours in between."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy.testing.databases import TABLES
from tests.support.isolation import in_full

Row: TypeAlias = dict[str, Any]
Reader: TypeAlias = Session | Connection

_TYPES: Final = {
    "org_id": "org",
    "replaces": "mem",
    **dict.fromkeys(("usr_id", "invited_by", "removed_by", "invited_user_id"), "usr"),
    **dict.fromkeys(("terminal_by", "created_by"), "usr"),
}
_EVERYTHING: Final = text(
    " UNION ALL ".join(f"SELECT '{table}', to_jsonb(t) FROM {table} AS t" for table in TABLES)
)


def bare(wire_id: str) -> str:
    """Return the UUID behind a wire id, as PostgreSQL prints it."""
    return str(UUID(wire_id.rpartition("_")[2]))


def wire(type_: str, uuid: str) -> str:
    """Return the wire id of a UUID."""
    return f"{type_}_{UUID(uuid).hex}"


def snapshot(reader: Reader) -> dict[str, Row]:
    """Return every row by its wire id, and every tuple by what it says; see `fact`."""
    with in_full(reader):
        found = reader.execute(_EVERYTHING).all()
    return {
        _key(table, row): {
            name: _value(name, value)
            for name, value in row.items()
            if name != "id" and not name.startswith(("subject", "relation", "object"))
        }
        for table, row in found
    }


def fact(subject: str, relation: str, object_: str) -> str:
    """Return the name of a tuple in a snapshot; ids are wire ids, of any type."""
    return f"{subject} {relation} {object_}"


def _key(table: str, row: Row) -> str:
    if table != "tup":
        return wire(table, row["id"])
    ends = [wire(row[f"{end}_type"], row[f"{end}_id"]) for end in ("subject", "object")]
    return fact(ends[0], row["relation"], ends[1])


def _value(name: str, value: Any) -> Any:
    if value and name.endswith("_at"):
        return datetime.fromisoformat(value)
    return wire(_TYPES[name], value) if value and name in _TYPES else value


def insert(reader: Reader, table: str, **values: object) -> None:
    """Write a row as another program would."""
    names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    with in_full(reader):
        reader.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)


def disagreements(reader: Reader) -> list[Any]:
    """Return where an active membership lacks its tuple, or a tuple its membership."""
    query = text(
        """
        WITH member AS (SELECT usr_id, org_id, role FROM mem WHERE status = 'active'),
        granted AS (
            SELECT subject_id, object_id, relation FROM tup
            WHERE subject_type = 'usr' AND object_type = 'org'
            AND relation IN ('owner', 'admin', 'member', 'guest', 'viewer', 'editor')
        )
        (TABLE member EXCEPT TABLE granted) UNION ALL (TABLE granted EXCEPT TABLE member)
        """
    )
    with in_full(reader):
        return list(reader.execute(query))
