"""What is wrong with row-level security, where an opt-in branch has brought it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy import Connection, bindparam, text

from .findings import EXAMPLES, Finding, Severity

TABLES: Final = ("org", "mem", "inv", "tup")
# Those of the branch's migrations. A test compares them with a migrated database.
POLICIES: Final = frozenset(
    {f"{table}_in_context_{verb}" for table in TABLES for verb in ("select", "insert", "update")}
    | {"tup_in_context_delete"}
)

LOG: Final = "aud"
LOG_POLICIES: Final = frozenset({"aud_own_organization"})
"""Those of the audit log, which has them whether the others do or not; `log` says if it is open."""

# Functions are qualified: what somebody has put into the schema might fit better.
_THERE: Final = text(
    """
    SELECT EXISTS (
        SELECT FROM pg_proc WHERE proname = 'flametrench_tenancy_orgs_of_memberships'
            AND pronamespace
                = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace::oid
    )
    """
)
_STATE: Final = text(
    """
    SELECT relname AS table, relrowsecurity AS enabled,
        EXISTS (
            SELECT FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner
            WHERE pronamespace = relnamespace
                AND pg_catalog.starts_with(proname, 'flametrench_tenancy_')
                AND NOT (
                    rolsuper OR rolbypassrls OR NOT relforcerowsecurity
                        AND pg_catalog.pg_has_role(proowner, relowner, 'USAGE')
                )
        ) AS blinds,
        ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = pg_class.oid) AS policies
    FROM pg_class
    WHERE relnamespace = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace::oid
        AND relname IN :tables
    ORDER BY relname
    """
).bindparams(bindparam("tables", expanding=True))


def examine_isolation(connection: Connection, *, logged: bool) -> Iterator[Finding]:
    """Yield what is wrong with it, in the schema that is alone on the search path.

    Args:
        connection: the connection.
        logged: whether there is an audit log.
    """
    there = bool(connection.scalar(_THERE))
    tables = [*(TABLES if there else ()), *([LOG] if logged else [])]
    if not tables:
        return
    wanted = (POLICIES if there else frozenset()) | (LOG_POLICIES if logged else frozenset())
    state = connection.execute(_STATE, {"tables": tables}).all()
    found = {policy for row in state for policy in row.policies}
    yield from _finding(
        "isolation_off",
        Severity.ERROR,
        "tables on which row-level security is not enabled, though its branch is there",
        [row.table for row in state if not row.enabled and row.table != LOG],
    )
    yield from _finding(
        "isolation_policy_missing",
        Severity.ERROR,
        "policies of row-level security that are not there",
        wanted - found,
    )
    yield from _finding(
        "isolation_policy_foreign",
        Severity.WARNING,
        "policies that are not ours: a permissive one shows more than one tenant's rows",
        [
            f"{policy} on {row.table}"
            for row in state
            for policy in row.policies
            if policy not in wanted and not policy.startswith(f"{row.table}_all_for_")
        ],
    )
    yield from _finding(
        "isolation_blinds_triggers",
        Severity.ERROR,
        "tables whose rows are hidden from the owner of the triggers that uphold the rules, and "
        "refuse all changes then: under FORCE ROW LEVEL SECURITY that owner needs BYPASSRLS",
        [row.table for row in state if row.enabled and row.blinds],
    )


def _finding(
    check: str, severity: Severity, message: str, parts: Iterable[str]
) -> Iterator[Finding]:
    names = sorted(parts)
    if names:
        examples = tuple(names[:EXAMPLES])
        yield Finding(check, severity, count=len(names), examples=examples, message=message)
