"""What keeps tables from being adopted, in sentences for whoever has to do something about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Connection,
    ForeignKeyConstraint,
    Index,
    Select,
    UniqueConstraint,
    func,
    select,
    text,
)

from .catalog import Definitions, Item, Part


def differences(wanted: Definitions, found: Definitions, older: Definitions) -> Iterator[str]:
    """Compare tables that are there with what they should be.

    Args:
        wanted: every part that there should be.
        found: every part that there is.
        older: definitions that the migration itself will replace.
    """
    for part, definition in wanted.items():
        there = found.get(part)
        kind = found.get(part.of_table)
        if kind is None:
            continue  # the whole table is going to be created
        if kind != "table":
            if part.kind == "table":
                yield f"{part}: expected a table, found a {kind}"
        elif there is None:
            yield from _obstacles(part, definition, wanted, found)
        elif not _agree(definition, there) and there != older.get(part):
            yield f"{part}: expected {definition}, found {there}"


def sound_tables(wanted: Definitions, found: Definitions) -> set[str]:
    """Return the tables that have all their columns, each as it should be."""
    columns = [part for part in wanted if part.kind in {"table", "column"}]
    unsound = {part.table for part in columns if not _agree(wanted[part], found.get(part, ""))}
    return {part.table for part in columns} - unsound


def violations(
    connection: Connection, missing: Mapping[Part, Item], tables: Collection[str]
) -> Iterator[str]:
    """Count what is in the way of missing constraints and indexes of these tables."""
    for part, item in missing.items():
        others = {item.referred_table.name} if isinstance(item, ForeignKeyConstraint) else set()
        query = _offenders(item)
        if query is not None and {part.table} | others <= set(tables):
            count = connection.scalar(select(func.count()).select_from(query.subquery()))
            if count:
                unique = isinstance(item, UniqueConstraint | Index)
                problem = "values that are there twice" if unique else "rows that break it"
                yield f"{part} cannot be added; {problem}: {count}"


def _obstacles(
    part: Part, definition: str, wanted: Definitions, found: Definitions
) -> Iterator[str]:
    """Say why a part that is missing from a table cannot simply be added."""
    if part.kind == "column" and "NOT NULL" in definition and "DEFAULT" not in definition:
        yield f"{part}: expected {definition}, found no such column"
    for other in found.keys() - wanted.keys():
        same_kind = (other.kind, other.table) == (part.kind, part.table)
        if same_kind and found[other] == definition and part.kind != "column":
            yield f"{part}: found it under the name {other.name}; rename it"


def _agree(definition: str, there: str) -> bool:
    # Two spellings of one default; the server remembers which was used.
    return there.replace("DEFAULT CURRENT_TIMESTAMP ", "DEFAULT now() ") == definition


def _offenders(item: Item) -> Select[Any] | None:
    """Return a query for the rows, or groups of rows, that break a rule."""
    match item:
        case CheckConstraint():
            return select(item.table.c.id).where(text(f"NOT ({item.sqltext})"))
        case ForeignKeyConstraint():
            [key] = item.elements
            target = item.referred_table.alias()
            known = select(target).where(target.c[key.column.name] == key.parent).exists()
            return select(key.parent).where(key.parent.is_not(None), ~known)
        case UniqueConstraint() | Index(unique=True):
            keys = list(item.columns)
            query = select(*keys).group_by(*keys).having(func.count() > 1)
            where = item.dialect_options["postgresql"].get("where")
            return query if where is None else query.where(where)
    return None
