"""What PostgreSQL's catalog says about tables, each part in the server's own words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Constraint,
    Index,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    select,
    text,
)
from sqlalchemy.schema import CreateIndex, CreateTable

Item = Table | Column[Any] | Constraint | Index


class Part(NamedTuple):
    """A table, or something that belongs to it."""

    kind: str
    """``table``, ``column``, ``constraint``, ``index`` or ``trigger``."""
    table: str
    name: str

    @property
    def of_table(self) -> Part:
        """The table that it belongs to, or is."""
        return Part("table", self.table, self.table)

    def __str__(self) -> str:
        if self.kind == "table":
            return f"table {self.name}"
        return f"{self.kind} {self.name} of {self.table}"


Definitions = Mapping[Part, str]

# Names come without their schema as long as that is the only one on the search path. Not-null
# constraints, which PostgreSQL 18 gives names of their own, are seen at the columns.
_PARTS: Final = text(
    """
    WITH wanted AS (
        SELECT c.oid, c.relname, c.relkind
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = CAST(:schema AS pg_catalog.name) AND c.relname IN :tables
    )
    SELECT 'table', relname, relname,
        CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
            ELSE 'relation of another kind' END
    FROM wanted
    UNION ALL
    SELECT 'column', relname, attname, pg_catalog.concat_ws(' ',
        pg_catalog.format_type(atttypid, atttypmod),
        CASE WHEN attidentity <> '' THEN 'GENERATED AS IDENTITY' END,
        CASE attgenerated WHEN '' THEN 'DEFAULT ' ELSE 'GENERATED ALWAYS AS ' END
            || pg_catalog.pg_get_expr(adbin, adrelid),
        CASE WHEN attnotnull THEN 'NOT NULL' END)
    FROM wanted JOIN pg_attribute ON attrelid = wanted.oid AND attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    UNION ALL
    SELECT 'constraint', relname, conname, pg_catalog.pg_get_constraintdef(pg_constraint.oid, true)
    FROM wanted JOIN pg_constraint ON conrelid = wanted.oid
    WHERE contype IN ('p', 'u', 'f', 'c', 'x')
    UNION ALL
    SELECT 'index', wanted.relname, i.relname, pg_catalog.concat_ws(' ',
        pg_catalog.replace(pg_catalog.pg_get_indexdef(i.oid, 0, true),
            pg_catalog.quote_ident(i.relname) || ' ON ', 'ON '),
        CASE WHEN NOT indisvalid THEN '(invalid)' END)
    FROM wanted JOIN pg_index ON indrelid = wanted.oid JOIN pg_class i ON i.oid = indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint
        WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT 'trigger', relname, tgname, pg_catalog.pg_get_triggerdef(pg_trigger.oid, true)
    FROM wanted JOIN pg_trigger ON tgrelid = wanted.oid
    WHERE NOT tgisinternal
    """
).bindparams(
    # As words of the statement: an operator of somebody's would fit the type of parameters better.
    bindparam("tables", type_=Text, expanding=True, literal_execute=True)
)


def describe(connection: Connection, schema: str, tables: Collection[str]) -> dict[Part, str]:
    """Return the definition of every part that the tables of these names have in a schema."""
    rows = connection.execute(_PARTS, {"schema": schema, "tables": list(tables)})
    return {Part(kind, table, name): definition for kind, table, name, definition in rows}


def items(metadata: MetaData) -> dict[Part, Item]:
    """Return every part of some tables, in an order in which they can be created."""
    tables = metadata.tables.values()
    columns = {Part("column", c.table.name, c.name): c for table in tables for c in table.columns}
    constraints = {_named("constraint", table, c): c for table in tables for c in table.constraints}
    indexes = {_named("index", table, index): index for table in tables for index in table.indexes}
    return {
        **{Part("table", table.name, table.name): table for table in tables},
        **columns,
        **dict(sorted(constraints.items())),
        **dict(sorted(indexes.items())),
    }


def _named(kind: str, table: Table, item: Constraint | Index) -> Part:
    return Part(kind, table.name, str(item.name))


def expected(connection: Connection, metadata: MetaData) -> dict[Part, str]:
    """Return the definitions that tables would have, from temporary ones created for a moment.

    Only the server itself knows how it words a constraint. The role needs the right to create
    temporary tables, which all have unless it has been revoked.
    """
    savepoint = connection.begin_nested()
    connection.execute(text("SET LOCAL search_path TO pg_temp"))
    # Temporary they are even where the application has schema names translated.
    untranslated: dict[str, Any] = {"schema_translate_map": {}}
    for table in metadata.tables.values():
        connection.execute(CreateTable(table), execution_options=untranslated)
        for index in table.indexes:
            connection.execute(CreateIndex(index), execution_options=untranslated)
    schema = connection.scalars(select(func.current_schema())).one()
    definitions = describe(connection, schema, metadata.tables)
    savepoint.rollback()
    return {part: definitions[part] for part in items(metadata)}
