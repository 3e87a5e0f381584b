"""How a revision takes over tables that another Flametrench SDK created.

The revision describes its tables as a `MetaData` of its own. What the database lacks of them is
created, what it has is left as it is, and what differs is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alembic import op
from alembic.operations.ops import AddConstraintOp
from sqlalchemy import Column, Constraint, Index, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable

from . import catalog
from .catalog import Definitions, Item, Part
from .comparison import differences, sound_tables, violations
from .errors import SchemaMismatchError
from .record import Record


def establish(
    metadata: MetaData,
    triggers: Mapping[Part, str],
    *,
    schema: str | None,
    older: Definitions,
    record: Record,
) -> None:
    """Create what the database lacks of some tables and their triggers, and record it.

    Args:
        metadata: the tables, with a name for every constraint.
        triggers: a ``CREATE OR REPLACE TRIGGER`` statement for each.
        schema: the only one on the search path; ``None`` where there is no connection, and
            everything is created.
        older: definitions that are replaced instead of refused, as the catalog words them.
        record: what the revision created here before, if it did; it is added to.

    Raises:
        SchemaMismatchError: the database has something that differs.
    """
    found: Definitions = {}
    if schema is not None:
        found = catalog.describe(op.get_bind(), schema, metadata.tables)
    missing = _missing(metadata, found, older)
    if schema is not None and found:
        wanted = catalog.expected(op.get_bind(), metadata)
        _refuse(
            schema,
            *differences(wanted, found, older),
            *_foreign_triggers(triggers, found, older, record),
            *violations(op.get_bind(), missing, sound_tables(wanted, found)),
        )
    for part, item in missing.items():
        if part.kind in {"table", "column"}:
            _create(part, item)
    if schema is not None and found:
        # Once more, for the rules about what has only just been added.
        _refuse(schema, *violations(op.get_bind(), missing, metadata.tables))
    for part, item in missing.items():
        if part.kind in {"constraint", "index"}:
            if part in found:  # in an older form
                op.drop_constraint(part.name, part.table)
            _create(part, item)
    for statement in triggers.values():
        op.execute(statement)
    record.add([*missing, *triggers], found)


def _missing(metadata: MetaData, found: Definitions, older: Definitions) -> dict[Part, Item]:
    """Return what is to be created; a new table brings its columns and constraints along."""
    return {
        part: item
        for part, item in catalog.items(metadata).items()
        if part not in found or found[part] == older.get(part)
        if isinstance(item, Table | Index) or part.of_table in found
    }


def _foreign_triggers(
    triggers: Mapping[Part, str], found: Definitions, older: Definitions, record: Record
) -> Iterator[str]:
    """Compare the triggers that have the names of ours, unless they are ours."""
    for part in triggers:
        if part in found and found[part] != older.get(part) and not record.owns(part):
            yield f"{part}: expected none, or {older.get(part)}, found {found[part]}"


def _refuse(schema: str, *found: str) -> None:
    if found:
        raise SchemaMismatchError(schema, found)


def _create(part: Part, item: Item) -> None:
    match item:
        case Table():
            op.execute(CreateTable(item))
        case Column():
            op.add_column(part.table, item)
        case Index():
            op.execute(CreateIndex(item))
        case Constraint():
            op.invoke(AddConstraintOp.from_constraint(item))
