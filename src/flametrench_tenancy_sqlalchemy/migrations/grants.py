"""The least privileges of the roles that work with the tables.

Triggers need none of the caller's: they act as the owner of the tables. Nor do foreign keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from alembic.util import CommandError

_LONGEST_NAME: Final = 63  # in bytes

# What the opt-in audit log adds: privileges on tables, and those all of whose rows may be seen. A
# request reads the organization that its transaction names, by the table's policy.
LOG: Final[Mapping[str, tuple[Mapping[str, str], Collection[str]]]] = {
    "app": ({"aud": "SELECT"}, ()),
    # The doctor asks what is in no month's partition.
    "operator": (
        dict.fromkeys(("aud", "aud_default", "aud_consumer", "aud_skipped", "aud_era"), "SELECT"),
        ("aud", "aud_default"),
    ),
    # Whoever follows the log, too.
    "worker": (
        {
            "aud": "SELECT",
            "aud_consumer": "SELECT, INSERT, UPDATE",
            "aud_skipped": "SELECT, INSERT",
            "aud_era": "SELECT",
        },
        ("aud",),
    ),
}
LOG_FUNCTION: Final = "flametrench_tenancy_log_event(jsonb)"
"""Writes an application's own events, and refusals: nobody inserts into the table."""

# What the opt-in row-level security adds: purpose -> the commands by which all rows of a table are
# reached, whoever they belong to. A request finds its organizations by the functions.
SPANS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "app": {},
    "operator": dict.fromkeys(("org", "mem", "inv", "tup"), ("SELECT",)),
    "worker": {"inv": ("SELECT", "UPDATE")},
}
FINDERS: Final = (
    "flametrench_tenancy_orgs_of_slugs(text[])",
    "flametrench_tenancy_orgs_of_memberships(uuid[])",
    "flametrench_tenancy_orgs_of_invitations(uuid[])",
    "flametrench_tenancy_orgs_of_identifiers(text[])",
    "flametrench_tenancy_orgs_of_users(uuid[])",
)
"""They find the organizations that an operation is about, which it cannot see before."""

PURPOSES: Final[Mapping[str, Mapping[str, str]]] = {
    # A request: every operation, and no more of a row than operations change. Tuples never change;
    # of those that are there already some are locked, which takes the right to change something.
    "app": {
        "usr": "SELECT, INSERT",
        "org": "SELECT, INSERT, UPDATE (status, name, slug, updated_at)",
        "mem": "SELECT, INSERT, UPDATE (status, removed_by, updated_at)",
        "inv": "SELECT, INSERT, UPDATE "
        "(identifier, status, invited_user_id, expires_at, terminal_at, terminal_by)",
        "tup": "SELECT, INSERT, DELETE, UPDATE (created_by)",
    },
    # Whoever looks at all organizations, and migrates: what they create is theirs.
    "operator": dict.fromkeys(("usr", "org", "mem", "inv", "tup"), "SELECT"),
    # Whatever calls `expire_invitations` from time to time.
    "worker": {"inv": "SELECT, UPDATE (status, terminal_at, terminal_by)"},
}
"""What a role is for -> the privileges on each table that this takes."""


def grants(
    role: str, purpose: str = "app", *, schema: str = "public", branches: Collection[str] = ()
) -> Iterator[str]:
    """Yield the statements that give an existing role what its purpose takes, and no more.

    Changing tables that are there takes more than can be granted: to own them, or to be a member
    of the role that does.

    Args:
        role: the role.
        purpose: ``app``, ``operator`` or ``worker``.
        schema: the schema of the tables.
        branches: the opt-in branches that are there: ``audit`` has a table, ``rls`` hides rows.

    Raises:
        CommandError: there is no such purpose.
    """
    if purpose not in PURPOSES:
        raise CommandError(f"{purpose!r} is not a role's purpose; {', '.join(PURPOSES)} are")
    place, whom = _quoted(schema), _quoted(role)
    usage = "USAGE, CREATE" if purpose == "operator" else "USAGE"
    yield f"GRANT {usage} ON SCHEMA {place} TO {whom}"
    for table, privileges in PURPOSES[purpose].items():
        yield f"GRANT {privileges} ON {place}.{table} TO {whom}"
    if "audit" in branches:
        tables, shown = LOG[purpose]
        for table, privileges in tables.items():
            yield f"GRANT {privileges} ON {place}.{table} TO {whom}"
        yield f"GRANT EXECUTE ON FUNCTION {place}.{LOG_FUNCTION} TO {whom}"
        for table in shown:
            yield from _shows_all(role, f"{place}.{table}", table, "SELECT")
    if "rls" in branches:
        for function in FINDERS if purpose != "worker" else ():
            yield f"GRANT EXECUTE ON FUNCTION {place}.{function} TO {whom}"
        for table, commands in SPANS[purpose].items():
            for command in commands:
                yield from _shows_all(role, f"{place}.{table}", table, command)


def _shows_all(role: str, where: str, table: str, command: str) -> Iterator[str]:
    """Yield the policy that shows a role all rows of a table."""
    verb = "" if command == "SELECT" else f"{command.lower()}_"
    policy = _quoted(_fitting(f"{table}_all_for_{verb}{role}"))
    yield f"DROP POLICY IF EXISTS {policy} ON {where}"
    yield f"CREATE POLICY {policy} ON {where} FOR {command} TO {_quoted(role)} USING (true)"


def _fitting(name: str) -> str:
    """Return a name that PostgreSQL does not cut, and that no other one becomes."""
    told = name.encode()
    if len(told) <= _LONGEST_NAME:
        return name
    mark = hashlib.sha256(told).hexdigest()[:8]
    return f"{told[: _LONGEST_NAME - 9].decode(errors='ignore')}_{mark}"


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
