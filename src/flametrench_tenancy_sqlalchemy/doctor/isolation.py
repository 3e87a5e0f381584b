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
"""Those of the audit log, which isolates its table whether the others are or not."""

_THERE: Final = text(
    """
    SELECT EXISTS (
        SELECT FROM pg_proc WHERE proname = 'flametrench_tenancy_orgs_of_memberships'
            AND pronamespace = quote_ident(current_schema())::regnamespace
    )
    """
)
_STATE: Final = text(
    """
    SELECT relname AS table, relrowsecurity AS enabled, relforcerowsecurity AS forced,
        rolsuper OR rolbypassrls AS passes,
        ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = pg_class.oid) AS policies
    FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
    WHERE relnamespace = quote_ident(current_schema())::regnamespace
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
        [row.table for row in state if not row.enabled],
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
        "tables with FORCE ROW LEVEL SECURITY whose owner lacks BYPASSRLS: the triggers that "
        "uphold the rules see nothing",
        [row.table for row in state if row.forced and not row.passes],
    )


def _finding(
    check: str, severity: Severity, message: str, parts: Iterable[str]
) -> Iterator[Finding]:
    names = sorted(parts)
    if names:
        examples = tuple(names[:EXAMPLES])
        yield Finding(check, severity, count=len(names), examples=examples, message=message)
