"""The least privileges of the roles that work with the tables.

Triggers need none of the caller's: they act as the owner of the tables. Nor do foreign keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

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


def grants(role: str, purpose: str = "app", *, schema: str = "public") -> Iterator[str]:
    """Yield the statements that give an existing role what its purpose takes, and no more.

    Changing tables that are there takes more than can be granted: to own them, or to be a member
    of the role that does.

    Args:
        role: the role.
        purpose: ``app``, ``operator`` or ``worker``.
        schema: the schema of the tables.
    """
    place, whom = _quoted(schema), _quoted(role)
    usage = "USAGE, CREATE" if purpose == "operator" else "USAGE"
    yield f"GRANT {usage} ON SCHEMA {place} TO {whom}"
    for table, privileges in PURPOSES[purpose].items():
        yield f"GRANT {privileges} ON {place}.{table} TO {whom}"


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
