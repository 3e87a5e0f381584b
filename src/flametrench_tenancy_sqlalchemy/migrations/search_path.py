"""Which schema a revision works in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from alembic.util import CommandError
from sqlalchemy import Connection, func, select


@contextmanager
def one_schema() -> Iterator[str | None]:
    """Hide all schemas but the one that tables are created in; yield its name, if it is known.

    Otherwise a table of the same name in a schema further down the search path could be taken,
    or dropped, for ours.
    """
    schema = None
    op.execute("SELECT set_config('tenancy.search_path', current_setting('search_path'), true)")
    if op.get_context().as_sql:
        op.execute("SELECT set_config('search_path', quote_ident(current_schema()), true)")
    else:
        schema = _target_schema(op.get_bind())
        only = func.set_config("search_path", func.quote_ident(schema), True)
        op.get_bind().execute(select(only))
    yield schema
    op.execute("SELECT set_config('search_path', current_setting('tenancy.search_path'), true)")


def _target_schema(connection: Connection) -> str:
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    schema: str | None = translated.get(None) or connection.scalar(select(func.current_schema()))
    if schema is None:
        raise CommandError("the search path names no schema that exists")
    return schema
