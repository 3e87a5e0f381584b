"""What is wrong with the audit log, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, text

from ..migrations import catalog
from ..migrations.catalog import Part
from ..models import AuditBase
from .findings import EXAMPLES, Finding, Severity

TABLE: Final = "aud"
TABLES: Final = tuple(AuditBase.metadata.tables)

# Those of the branch's migrations, by table. A test compares them with a migrated database.
TRIGGERS: Final = frozenset(
    {
        *(Part("trigger", TABLE, f"aud_is_final_{verb}") for verb in ("updated", "deleted")),
        Part("trigger", TABLE, "aud_keeps_rows"),
        *(
            Part("trigger", table, f"{table}_log_{verb}")
            for table in ("org", "mem", "inv", "tup")
            for verb in ("insert", "update", "delete")
        ),
    }
)
PARTS: Final = frozenset(catalog.items(AuditBase.metadata)) | TRIGGERS

_READABLE: Final = text(
    "SELECT has_table_privilege('aud', 'SELECT') AND NOT row_security_active('aud')"
    " AND has_table_privilege('aud_default', 'SELECT')"
)
_WITHOUT_MONTH: Final = text("SELECT count(*) FROM aud_default")
_NEXT_MONTH: Final = text(
    """
    SELECT name FROM to_char((now() AT TIME ZONE 'UTC') + interval '1 month', '"aud_"YYYY_MM')
        AS name
    WHERE to_regclass(quote_ident(name)) IS NULL
    """
)
# Each month has the table's triggers, of which each can be disabled there, and one of its own.
_UNGUARDED: Final = text(
    """
    WITH guard AS (
        SELECT tgrelid, tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')
            AND tgname IN ('aud_is_final_updated', 'aud_is_final_deleted', 'aud_keeps_rows')
    )
    SELECT DISTINCT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        JOIN guard ON guard.tgrelid = inhparent
    WHERE inhparent = to_regclass('aud') AND NOT EXISTS (
        SELECT FROM guard AS here WHERE here.tgrelid = inhrelid AND here.tgname = guard.tgname)
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
    if missing := connection.scalar(_NEXT_MONTH):
        yield _warning(
            "log_month_missing",
            1,
            "months without a partition of the audit log, whose events will go to the default one; "
            "`flametrench-tenancy retention make` makes it",
            missing,
        )
    if unguarded := connection.scalars(_UNGUARDED).all():
        yield Finding(
            "log_unguarded",
            Severity.ERROR,
            count=len(unguarded),
            examples=tuple(unguarded[:EXAMPLES]),
            message="months of the audit log whose triggers are disabled or not there: what they "
            "have can be changed, deleted or truncated",
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
