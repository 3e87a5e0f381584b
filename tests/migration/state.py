"""What is in a database, for comparing before and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text

from flametrench_tenancy_sqlalchemy.migrations.catalog import Part, describe

from .reference import TABLES

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = :schema ORDER BY 1"
_FUNCTIONS = """
    SELECT proname, pg_get_functiondef(oid), obj_description(oid, 'pg_proc')
    FROM pg_proc
    WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema) ORDER BY 1
    """


@contextmanager
def _looking_at(database: Engine | Connection) -> Iterator[Connection]:
    """Yield a connection whose settings are as before after the block."""
    if isinstance(database, Engine):
        with database.connect() as connection:
            yield connection
    else:
        with database.begin_nested() as savepoint:
            yield database
            savepoint.rollback()


def tables_of(connection: Connection, schema: str = "public") -> list[str]:
    """Return the names of all tables in a schema."""
    return list(connection.scalars(text(_TABLES), {"schema": schema}))


def functions_of(connection: Connection, schema: str = "public") -> list[tuple[Any, ...]]:
    """Return the definitions and comments of all functions in a schema."""
    return [tuple(row) for row in connection.execute(text(_FUNCTIONS), {"schema": schema})]


def tenancy_schema(database: Engine | Connection, schema: str = "public") -> dict[Part, str]:
    """Return the definition of all that belongs to the five tables."""
    with _looking_at(database) as connection:
        connection.execute(text(f'SET LOCAL search_path TO "{schema}"'))
        return describe(connection, schema, TABLES)


def rows_of(connection: Connection, table: str, columns: str = "*") -> list[dict[str, Any]]:
    """Return the rows of a table in a settled order."""
    query = text(f"SELECT {columns} FROM {table} ORDER BY 1")
    return [dict(row) for row in connection.execute(query).mappings()]


def everything(database: Engine | Connection, schema: str = "public") -> tuple[Any, ...]:
    """Return all of a schema: tables with their parts and rows, and functions."""
    with _looking_at(database) as connection:
        tables = tables_of(connection, schema)
        return (
            describe(connection, schema, tables) if tables else {},
            {table: rows_of(connection, f'"{schema}"."{table}"') for table in tables},
            functions_of(connection, schema),
        )
