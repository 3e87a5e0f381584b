"""Indexes for tables that are in use: built while others go on writing to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from alembic import context, op
from sqlalchemy import select, text

from . import catalog
from .catalog import Part
from .errors import SchemaMismatchError

# Kept for the session under these names while there is no transaction for them to be local to.
_ALONE: Final = "tenancy.one_schema"
_KEPT: Final = ("tenancy.search_path", "tenancy.lock_timeout", _ALONE)
_SESSIONS_OWN: Final = "tenancy.session_search_path"


def create_indexes(indexes: Mapping[Part, str], schema: str | None) -> None:
    """Create those of some indexes that are missing, or half built.

    They are built concurrently, which ends the transaction: it is committed, and another begins
    afterwards. It is not where the tables have no rows yet, nor inside a transaction that is not
    Alembic's to end; there, writers wait for the caller's commit. What an interrupted build left
    behind is dropped, and what has been built is not built again.

    Args:
        indexes: their definitions, as PostgreSQL words them after ``USING``.
        schema: the only one on the search path; ``None`` where there is no connection.

    Raises:
        SchemaMismatchError: there is another index of that name.
    """
    found = {}
    if schema is not None:
        found = catalog.describe(op.get_bind(), schema, {part.table for part in indexes})
    wanted = {part: f"CREATE INDEX ON {part.table} USING {on}" for part, on in indexes.items()}
    refused = [
        f"{part}: expected {definition}, found {found[part]}"
        for part, definition in wanted.items()
        if part in found and found[part].removesuffix(" (invalid)") != definition
    ]
    if refused:
        raise SchemaMismatchError(schema or "", refused)
    missing = [part for part, definition in wanted.items() if found.get(part) != definition]
    with _building(missing) as concurrently:
        for part in missing:
            if part in found:
                op.execute(f"DROP INDEX {concurrently}{part.name}")
            op.execute(
                f"CREATE INDEX {concurrently}{part.name} ON {part.table} USING {indexes[part]}"
            )


def drop_indexes(indexes: Iterable[Part]) -> None:
    """Drop indexes, which takes a moment only."""
    for part in indexes:
        op.execute(f"DROP INDEX IF EXISTS {part.name}")


@contextmanager
def _building(parts: list[Part]) -> Iterator[str]:
    """Leave the transaction if that is called for and possible; yield the word to build with."""
    if not _in_use({part.table for part in parts}) or not _may_commit():
        yield ""
        return
    _set("tenancy.lock_timeout", _setting("lock_timeout"))
    _set(_ALONE, _setting("search_path"))
    for name in _KEPT:
        _set(name, _setting(name))
    with op.get_context().autocommit_block():
        if not op.get_context().as_sql:
            # Alembic has asked for the isolation level, which began a transaction on pg8000.
            op.get_bind().connection.rollback()
        _set(_SESSIONS_OWN, _setting("search_path"))
        _set("search_path", _setting(_ALONE))
        try:
            yield "CONCURRENTLY "
        finally:
            _set("search_path", _setting(_SESSIONS_OWN))
    _set("search_path", _setting(_ALONE), local=True)
    _set("lock_timeout", _setting("tenancy.lock_timeout"), local=True)


def _in_use(tables: set[str]) -> bool:
    """Whether one of the tables has rows; where nobody can tell, whether it is older than this."""
    if op.get_context().as_sql:
        return context.get_starting_revision_argument() is not None
    rows = (select(text(f"EXISTS (SELECT FROM {table})")) for table in tables)
    return any(op.get_bind().scalar(query) for query in rows)


def _may_commit() -> bool:
    """Whether Alembic has begun the transaction itself; it has no public way to ask."""
    return op.get_context().as_sql or op.get_context()._transaction is not None


def _setting(name: str) -> str:
    return f"pg_catalog.current_setting('{name}')"


def _set(name: str, value: str, *, local: bool = False) -> None:
    op.execute(f"SELECT pg_catalog.set_config('{name}', {value}, {str(local).lower()})")
