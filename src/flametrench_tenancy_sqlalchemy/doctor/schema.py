"""What the schema lacks of what the migrations create, or has in another form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, func, select, text

from ..migrations import catalog
from ..migrations.catalog import Definitions, Part
from ..migrations.comparison import differences
from ..migrations.functions import INSECURE_FUNCTIONS
from ..models.columns import OWN_SCHEMA
from ..transactions.isolation import SEES_ALL
from . import isolation, log
from .findings import EXAMPLES, Finding, Severity

# Those of the migrations, by table. A test compares them with a migrated database.
_TRIGGER_NAMES: Final = {
    "usr": ("usr_stamp", "usr_touch"),
    "org": ("org_revoked_is_final", "org_stamp", "org_touch"),
    "mem": (
        "mem_follows_replaced",
        "mem_identity_is_final",
        "mem_keeps_owner",
        "mem_keeps_owner_deleted",
        "mem_keeps_owner_joined",
        "mem_keeps_owner_returned",
        "mem_keeps_rows",
        "mem_org_not_revoked",
        "mem_org_not_revoked_again",
        "mem_org_not_revoked_successor",
        "mem_replaces_same_chain",
        "mem_revoked_is_final",
        "mem_stamp",
        "mem_touch",
        "mem_tup_duality",
        "mem_tup_duality_changed",
        "mem_tup_duality_deleted",
    ),
    "inv": ("inv_keeps_rows", "inv_org_not_revoked", "inv_terminal_is_final"),
    "tup": ("tup_keeps_rows", "tup_mem_duality", "tup_mem_duality_gone"),
}
TRIGGERS: Final = frozenset(
    Part("trigger", table, name) for table, names in _TRIGGER_NAMES.items() for name in names
)
_PARTS: Final = frozenset(catalog.items(OWN_SCHEMA)) | TRIGGERS
MISSING: Final = {
    "missing_table": (
        "table",
        "tables that are not there; the rows were not examined; `flametrench-tenancy migrate "
        "upgrade` creates them",
    ),
    "missing_column": ("column", "columns that are not there; the rows were not examined"),
    "missing_constraint": ("constraint", "constraints that are not there"),
    "missing_index": ("index", "indexes that are not there"),
    "missing_trigger": ("trigger", "triggers that are not there"),
}

# A foreign key is kept by triggers, which can be disabled like any other.
_DISABLED: Final = text(
    """
    SELECT DISTINCT CASE
        WHEN tgisinternal THEN format('constraint %s of %s', conname, referring.relname)
        ELSE format('trigger %s of %s', tgname, pg_class.relname) END
    FROM pg_trigger
        JOIN pg_class ON pg_class.oid = tgrelid
        JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
        LEFT JOIN pg_constraint ON pg_constraint.oid = tgconstraint
        LEFT JOIN pg_class referring ON referring.oid = conrelid
    WHERE nspname = :schema AND pg_class.relname IN :tables AND tgenabled NOT IN ('O', 'A')
        AND CASE WHEN tgisinternal THEN referring.relname IN :tables ELSE tgname IN :triggers END
    """
).bindparams(bindparam("tables", expanding=True), bindparam("triggers", expanding=True))

_LOGGED: Final = text(
    f"""
    SELECT true FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = :schema AND relname = '{log.TABLE}' AND relkind = 'p'
    """  # noqa: S608 -- put together of constants
)

# What a role may not see, it must not judge: a tuple that is hidden is not missing.
_UNSEEN: Final = text(
    f"""
    WITH seen AS (
        SELECT pg_class.oid, relname, nspname, pg_namespace.oid AS schema
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = :schema AND relname IN :tables
    )
    SELECT 'hidden_rows', format('table %s', relname) FROM seen
    WHERE NOT {SEES_ALL.format(table="seen.oid")}
    UNION
    SELECT 'unreadable', CASE WHEN has_any_column_privilege(oid, 'SELECT')
        THEN format('column %s of %s', attname, relname) ELSE format('table %s', relname) END
    FROM seen JOIN pg_attribute ON attrelid = oid
    WHERE attnum > 0 AND NOT attisdropped AND relname || '.' || attname IN :columns
        AND NOT has_column_privilege(oid, attnum, 'SELECT')
    UNION
    SELECT 'unreadable', format('schema %s', nspname) FROM seen
    WHERE NOT has_schema_privilege(schema, 'USAGE')
    """  # noqa: S608 - put together of constants
).bindparams(bindparam("tables", expanding=True), bindparam("columns", expanding=True))
_COLUMNS: Final = [
    f"{table.name}.{column.name}"
    for table in OWN_SCHEMA.tables.values()
    for column in table.columns
]
UNSEEN: Final = {
    "hidden_rows": "tables with row-level security for this role; the rows were not examined; ask "
    "as the tables' owner, or as an operator (`flametrench-tenancy grants`)",
    "unreadable": "what this role may not read; the rows were not examined; ask as the tables' "
    "owner",
}

# In whose sessions no trigger and no foreign key does its work.
_SILENCED: Final = text(
    """
    SELECT 'this session' WHERE current_setting('session_replication_role') = 'replica'
    UNION ALL
    SELECT concat_ws(' in ',
        CASE WHEN setrole <> 0 THEN format('role %s', setrole::regrole) ELSE 'all roles' END,
        'database ' || datname)
    FROM pg_db_role_setting LEFT JOIN pg_database ON oid = setdatabase
    WHERE (setdatabase = 0 OR datname = current_database())
        AND EXISTS (
            SELECT FROM unnest(setconfig) AS setting
            WHERE lower(setting) = 'session_replication_role=replica')
    """
)

# Any of the tables tells; the first schema of the path is where they would be created.
_VISIBLE: Final = text(
    """
    SELECT coalesce(
        (
            SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE pg_class.oid IN (to_regclass('mem'), to_regclass('org'), to_regclass('usr'))
            LIMIT 1
        ),
        current_schema(), 'public')
    """
)

# The definitions to compare with are those of temporary tables, and without their schema's name
# only where the role may use that.
_MAY_COMPARE: Final = text(
    """
    SELECT current_setting('transaction_read_only') = 'off'
        AND has_database_privilege(current_database(), 'TEMPORARY')
        AND current_schema() IS NOT NULL
    """
)


@dataclass(frozen=True)
class SchemaReport:
    """What is wrong with the schema, and what can be relied upon."""

    findings: list[Finding]
    sound: frozenset[str]
    """Names of the constraints and indexes that are exactly as they should be."""

    @property
    def shows_rows(self) -> bool:
        """Whether there is all that is needed to examine the rows, and none of it hidden."""
        needed = {"missing_table", "missing_column", *UNSEEN}
        return needed.isdisjoint(finding.check for finding in self.findings)


def examine_schema(connection: Connection) -> SchemaReport:
    """Compare the schema that the tables are in with the one that the migrations create.

    Where nothing may be written, parts are looked for by name only.
    """
    schema = _schema_of(connection)
    hidden = unseen(connection)
    logged = bool(connection.scalar(_LOGGED, {"schema": schema}))
    tables = [*OWN_SCHEMA.tables, *(log.TABLES if logged else ())]
    parts = _PARTS | log.PARTS if logged else _PARTS
    with _search_path(connection, "pg_catalog"):
        names = [part.name for part in parts if part.kind == "trigger"]
        parameters = {"schema": schema, "tables": tables, "triggers": names}
        disabled = connection.scalars(_DISABLED, parameters).all()
        silenced = connection.scalars(_SILENCED).all()
    # Alone on the path, lest the server tells names with their schema.
    with _search_path(connection, schema):
        found = catalog.describe(connection, schema, tables)
        insecure = connection.scalars(text(INSECURE_FUNCTIONS)).all()
        wanted = _wanted(connection)
        of_log = [*log.examine_log(connection)] if logged else []
        of_isolation = [*isolation.examine_isolation(connection, logged=logged)]
    missing = {
        # A table that is not there has no parts to miss.
        part
        for part in parts - found.keys()
        if part.kind == "table" or part.of_table in found
    }
    different = {
        part: difference
        for part in wanted.keys() & found.keys()
        for difference in differences({part: wanted[part]}, found, {})
    }
    findings = [
        *(
            finding
            for check, (kind, message) in MISSING.items()
            for finding in _finding(check, message, [p for p in missing if p.kind == kind])
        ),
        *(
            finding
            for check, message in UNSEEN.items()
            for finding in _finding(check, message, [part for of, part in hidden if of == check])
        ),
        *_finding("disabled_trigger", "triggers and foreign keys that are disabled", disabled),
        *_finding(
            "replication_role",
            "whose sessions ignore triggers and foreign keys (session_replication_role)",
            silenced,
        ),
        *_finding(
            "insecure_function",
            "trigger functions that do not look as the tables' owner into this schema alone; "
            "`flametrench-tenancy migrate upgrade` mends them",
            insecure,
        ),
        *_finding(
            "schema_difference",
            "parts of the schema that are not as expected",
            different.values(),
        ),
        *of_log,
        *of_isolation,
    ]
    sound = {
        part.name
        for part in (wanted.keys() & found.keys()) - different.keys()
        if part.kind in {"constraint", "index"}
    }
    return SchemaReport(findings, frozenset(sound))


def unseen(connection: Connection) -> list[tuple[str, str]]:
    """Return what the connection's role may not see of the rows, each by a check of `UNSEEN`."""
    given = {"schema": _schema_of(connection), "tables": list(OWN_SCHEMA.tables)}
    with _search_path(connection, "pg_catalog"):
        found = connection.execute(_UNSEEN, given | {"columns": _COLUMNS}).all()
    return [(check, part) for check, part in found]


def _schema_of(connection: Connection) -> str:
    """Return the schema that an unqualified name of a table means on this connection."""
    translated = (connection.get_execution_options().get("schema_translate_map") or {}).get(None)
    if translated is not None:
        return str(translated)
    visible: str = connection.scalars(_VISIBLE).one()
    return visible


@contextmanager
def _search_path(connection: Connection, schema: str) -> Iterator[None]:
    """Have names mean what they mean in one schema, and in the server's own.

    On a longer path, somebody's functions and operators could fit the doctor's questions better
    than the server's.
    """
    functions = func.pg_catalog
    before = connection.scalar(select(functions.current_setting("search_path")))
    alone = functions.quote_ident(schema)
    connection.execute(select(functions.set_config("search_path", alone, True)))
    yield
    connection.execute(select(functions.set_config("search_path", before, True)))


def _wanted(connection: Connection) -> Definitions:
    """Return the definitions to compare with, if that is possible here."""
    if not connection.scalar(_MAY_COMPARE):
        return {}
    return catalog.expected(connection, OWN_SCHEMA)


def _finding(check: str, message: str, parts: Iterable[object]) -> Iterator[Finding]:
    names = sorted(map(str, parts))
    if names:
        yield Finding(
            check,
            Severity.ERROR,
            count=len(names),
            examples=tuple(names[:EXAMPLES]),
            message=message,
        )
