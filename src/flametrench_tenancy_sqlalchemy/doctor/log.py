"""What is wrong with the audit log, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, text

from ..migrations import catalog
from ..migrations.catalog import Part
from ..models import AuditBase
from ..transactions.isolation import SEES_ALL
from .findings import Finding, Severity

TABLE: Final = "aud"
TABLES: Final = tuple(AuditBase.metadata.tables)

# Those of the branch's migrations, by table. A test compares them with a migrated database.
TRIGGERS: Final = frozenset(
    {
        *(Part("trigger", TABLE, f"aud_is_final_{verb}") for verb in ("updated", "deleted")),
        *(Part("trigger", table, f"{table}_keeps_rows") for table in TABLES),
        *(Part("trigger", table, f"{table}_id_is_final") for table in ("org", "inv", "tup")),
        *(
            Part("trigger", table, f"{table}_log_{verb}")
            for table in ("org", "mem", "inv", "tup")
            for verb in ("insert", "update", "delete")
        ),
    }
)
PARTS: Final = frozenset(catalog.items(AuditBase.metadata)) | TRIGGERS

_READABLE: Final = text(
    f"""
    SELECT bool_and(has_table_privilege(oid, 'SELECT') AND {SEES_ALL.format(table="its.oid")})
    FROM (VALUES (to_regclass('aud')), (to_regclass('aud_default'))) AS its (oid)
    """  # noqa: S608 - put together of constants
)
_WITHOUT_MONTH: Final = text("SELECT count(*) FROM aud_default")
_MISSING: Final = text(
    """
    SELECT name FROM generate_series(0, 1) AS ahead, to_char(
        (now() AT TIME ZONE 'UTC') + make_interval(months => ahead), '"aud_"YYYY_MM'
    ) AS name
    WHERE NOT EXISTS (
        SELECT FROM pg_inherits
        WHERE inhparent = to_regclass('aud')
            AND inhrelid = to_regclass(pg_catalog.quote_ident(name))
    )
    """
)
# Partitions have triggers of their own, and whoever asks one by its name passes by the policies.
_OPEN: Final = text(
    """
    SELECT relname FROM pg_class
    WHERE oid IN (SELECT relid FROM pg_partition_tree(to_regclass('aud'))) AND NOT (
        relrowsecurity AND (relkind = 'p' OR (
            SELECT count(*) = 3 FROM pg_trigger WHERE tgrelid = pg_class.oid
            AND tgname IN ('aud_is_final_updated', 'aud_is_final_deleted', 'aud_keeps_rows')
            AND tgenabled IN ('O', 'A')
        ))
    )
    ORDER BY relname
    """
)
# A transaction's number that this server has not reached yet is another server's.
_AHEAD: Final = text(
    """
    SELECT newest.xid::text FROM (
        SELECT xid FROM aud WHERE era = (SELECT max(era) FROM aud_era) ORDER BY xid DESC LIMIT 1
    ) AS newest
    WHERE newest.xid >= pg_snapshot_xmax(pg_current_snapshot())
    """
)


def examine_log(connection: Connection) -> Iterator[Finding]:
    """Yield what is wrong with the log, in the schema that is alone on the search path."""
    if unprotected := connection.scalars(_OPEN).all():
        yield Finding(
            "log_open",
            Severity.ERROR,
            count=len(unprotected),
            examples=tuple(unprotected),
            message="parts of the audit log whose events may be changed, or be seen by others",
        )
    if missing := connection.scalars(_MISSING).all():
        yield _warning(
            "log_month_missing",
            len(missing),
            "months without a partition of the audit log, whose events will go to the default one; "
            "`flametrench-tenancy retention make` makes them",
            *missing,
        )
    if not connection.scalar(_READABLE):
        yield _warning("log_unreadable", 1, "what this role may not read of the log", TABLE)
        return
    if count := connection.scalars(_WITHOUT_MONTH).one():
        yield _warning(
            "log_default_in_use",
            count,
            "events in no month's partition; `flametrench-tenancy retention make` moves them",
            "aud_default",
        )
    if ahead := connection.scalar(_AHEAD):
        yield Finding(
            "log_horizon",
            Severity.ERROR,
            count=1,
            examples=(ahead,),
            message="transactions in the audit log that this server has not come to: it has been "
            "restored from another one, and no follower sees them; begin a new era",
        )


def _warning(check: str, count: int, message: str, *examples: Any) -> Finding:
    return Finding(check, Severity.WARNING, count=count, examples=examples, message=message)
