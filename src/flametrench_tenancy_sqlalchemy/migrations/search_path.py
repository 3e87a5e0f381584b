"""Which schema a revision works in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from alembic.util import CommandError
from sqlalchemy import Connection, func, select

from .owners import require_own


@contextmanager
def one_schema() -> Iterator[str | None]:
    """Hide all schemas but the one that tables are created in; yield its name, if it is known.

    Otherwise a table of the same name in a schema further down the search path could be taken,
    or dropped, for ours.

    Raises:
        SchemaMismatchError: something in it belongs to somebody else.
    """
    schema = None
    _set_path("tenancy.search_path", "pg_catalog.current_setting('search_path')")
    if op.get_context().as_sql:
        _set_path("search_path", "pg_catalog.quote_ident(pg_catalog.current_schema())")
    else:
        schema = target_schema(op.get_bind())
        require_own(op.get_bind(), schema)
        only = func.pg_catalog.quote_ident(schema)
        op.get_bind().execute(select(func.pg_catalog.set_config("search_path", only, True)))
    yield schema
    _set_path("search_path", "pg_catalog.current_setting('tenancy.search_path')")


def _set_path(name: str, value: str) -> None:
    op.execute(f"SELECT pg_catalog.set_config('{name}', {value}, true)")


def target_schema(connection: Connection) -> str:
    """Return the name of the schema that tables are created in.

    Raises:
        CommandError: there is none.
    """
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    current = select(func.pg_catalog.current_schema())
    schema: str | None = translated.get(None) or connection.scalar(current)
    if schema is None:
        raise CommandError("the search path names no schema that exists")
    return schema
