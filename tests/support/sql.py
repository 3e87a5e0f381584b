"""What the database holds, read with plain SQL: no model, no type of ours in between."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy.testing.databases import TABLES

Row: TypeAlias = dict[str, Any]
Reader: TypeAlias = Session | Connection


def bare(wire_id: str) -> str:
    """Return the UUID behind a wire id, as PostgreSQL prints it."""
    return str(UUID(wire_id.rpartition("_")[2]))


def stored(reader: Reader, table: str, wire_id: str) -> Row:
    """Return a row as PostgreSQL prints it; only its timestamps are parsed."""
    query = text(f"SELECT to_jsonb({table}) FROM {table} WHERE id = CAST(:id AS uuid)")
    row: Row = reader.execute(query, {"id": bare(wire_id)}).scalar_one()
    return {
        name: datetime.fromisoformat(value) if value and name.endswith("_at") else value
        for name, value in row.items()
    }


def grants_on(reader: Reader, org_id: str) -> set[tuple[str, str, str | None]]:
    """Return who holds which relation to an organization, and by whose hand: bare UUIDs."""
    query = text(
        "SELECT CAST(subject_id AS text), relation, CAST(created_by AS text) FROM tup "
        "WHERE subject_type = 'usr' AND object_type = 'org' AND object_id = CAST(:id AS uuid)"
    )
    return {tuple(row) for row in reader.execute(query, {"id": bare(org_id)})}


def grants_of(reader: Reader, usr_id: str) -> set[tuple[str, str, str, str | None]]:
    """Return the relations that a user holds, to which objects, and by whose hand: bare UUIDs."""
    query = text(
        "SELECT relation, object_type, CAST(object_id AS text), CAST(created_by AS text) FROM tup "
        "WHERE subject_type = 'usr' AND subject_id = CAST(:id AS uuid)"
    )
    return {tuple(row) for row in reader.execute(query, {"id": bare(usr_id)})}


def everything(reader: Reader) -> dict[str, list[Row]]:
    """Return all rows of the five tables."""
    return {
        table: list(
            reader.execute(text(f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY id")).scalars()
        )
        for table in TABLES
    }


def insert(reader: Reader, table: str, **values: object) -> None:
    """Write a row as another program would."""
    names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
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
    return list(reader.execute(query))
