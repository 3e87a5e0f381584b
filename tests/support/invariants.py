"""The rules that always hold, asked of the tables in plain SQL, without any of our code."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, text

RULES: Final = {
    "an active membership without its tuple": """
        SELECT mem.org_id, mem.id FROM mem WHERE mem.status = 'active' AND NOT EXISTS (
            SELECT FROM tup WHERE tup.subject_type = 'usr' AND tup.subject_id = mem.usr_id
            AND tup.relation = mem.role AND tup.object_type = 'org'
            AND tup.object_id = mem.org_id
        )
    """,
    "a role's tuple without an active membership": """
        SELECT tup.object_id, tup.id FROM tup WHERE tup.object_type = 'org'
        AND tup.relation IN ('owner', 'admin', 'member', 'guest', 'viewer', 'editor')
        AND NOT EXISTS (
            SELECT FROM mem WHERE mem.status = 'active' AND mem.usr_id = tup.subject_id
            AND mem.role = tup.relation AND mem.org_id = tup.object_id
        )
    """,
    "an organization that is not revoked and has no active owner": """
        SELECT org.id, org.id FROM org WHERE org.status <> 'revoked' AND NOT EXISTS (
            SELECT FROM mem WHERE mem.org_id = org.id
            AND mem.role = 'owner' AND mem.status = 'active'
        )
    """,
    "two active memberships of one user": """
        SELECT org_id, usr_id FROM mem WHERE status = 'active'
        GROUP BY org_id, usr_id HAVING count(*) > 1
    """,
    "a successor of another user's or organization's membership": """
        SELECT new.org_id, new.id FROM mem AS new JOIN mem AS old ON old.id = new.replaces
        WHERE (new.usr_id, new.org_id) <> (old.usr_id, old.org_id)
    """,
    "a successor that is not later than its predecessor": """
        SELECT new.org_id, new.id FROM mem AS new JOIN mem AS old ON old.id = new.replaces
        WHERE new.created_at <= old.created_at
    """,
    "a successor of a membership that is not revoked": """
        SELECT new.org_id, new.id FROM mem AS new JOIN mem AS old ON old.id = new.replaces
        WHERE old.status <> 'revoked'
    """,
    "a successor that did not inherit its inviter": """
        SELECT new.org_id, new.id FROM mem AS new JOIN mem AS old ON old.id = new.replaces
        WHERE new.invited_by IS DISTINCT FROM old.invited_by
    """,
    "a membership with two successors": """
        SELECT org_id, replaces FROM mem WHERE replaces IS NOT NULL
        GROUP BY org_id, replaces HAVING count(*) > 1
    """,
    "a revoked organization with a membership": """
        SELECT org.id, mem.id FROM org JOIN mem ON mem.org_id = org.id
        WHERE org.status = 'revoked' AND mem.status <> 'revoked'
    """,
    "a revoked organization with a tuple": """
        SELECT org.id, tup.id FROM org JOIN tup ON tup.object_id = org.id
        WHERE org.status = 'revoked' AND tup.object_type = 'org'
    """,
    "a revoked organization with a pending invitation": """
        SELECT org.id, inv.id FROM org JOIN inv ON inv.org_id = org.id
        WHERE org.status = 'revoked' AND inv.status = 'pending'
    """,
    "an invitation that ended without a time, or has one while it is pending": """
        SELECT org_id, id FROM inv WHERE (status = 'pending') <> (terminal_at IS NULL)
    """,
    "an invitation whose end names the wrong people": """
        SELECT org_id, id FROM inv WHERE
            (status = 'accepted') <> (invited_user_id IS NOT NULL)
            OR (status = 'accepted' AND invited_user_id IS DISTINCT FROM terminal_by)
            OR (status IN ('pending', 'expired') AND terminal_by IS NOT NULL)
    """,
    "an accepted invitation without its membership": """
        SELECT inv.org_id, inv.id FROM inv WHERE inv.status = 'accepted' AND NOT EXISTS (
            SELECT FROM mem WHERE mem.org_id = inv.org_id AND mem.usr_id = inv.invited_user_id
            AND mem.role = inv.role AND mem.invited_by = inv.invited_by
        )
    """,
    "a member by an invitation without a tuple that it promised": """
        SELECT inv.org_id, inv.id FROM inv CROSS JOIN jsonb_array_elements(inv.pre_tuples) AS pre
        WHERE inv.status = 'accepted' AND EXISTS (
            SELECT FROM mem WHERE mem.org_id = inv.org_id AND mem.usr_id = inv.invited_user_id
            AND mem.status <> 'revoked'
        ) AND NOT EXISTS (
            SELECT FROM tup WHERE tup.subject_type = 'usr' AND tup.subject_id = inv.invited_user_id
            AND tup.relation = pre ->> 'relation' AND tup.object_type = pre ->> 'object_type'
            AND tup.object_id = (pre ->> 'object_id')::uuid
        )
    """,
    "a tuple of a promise that was not kept": """
        SELECT inv.org_id, tup.id FROM inv CROSS JOIN jsonb_array_elements(inv.pre_tuples) AS pre
        JOIN tup ON tup.relation = pre ->> 'relation' AND tup.object_type = pre ->> 'object_type'
            AND tup.object_id = (pre ->> 'object_id')::uuid
        WHERE NOT EXISTS (
            SELECT FROM inv AS kept CROSS JOIN jsonb_array_elements(kept.pre_tuples) AS its
            WHERE kept.status = 'accepted' AND kept.invited_user_id = tup.subject_id
            AND its ->> 'relation' = tup.relation AND its ->> 'object_type' = tup.object_type
            AND (its ->> 'object_id')::uuid = tup.object_id
        )
    """,
}
"""What must not be there: a name, and a query for organizations and the rows in question."""

_BREACHES = text(
    "SELECT * FROM ("
    + " UNION ALL ".join(
        f"SELECT $rule${name}$rule$ AS rule, found.* FROM ({query}) AS found (org_id, row_id)"
        for name, query in RULES.items()
    )
    + ") AS breach"
)
_OF_ORGANIZATIONS = text(f"{_BREACHES.text} WHERE org_id = ANY(CAST(:org_ids AS uuid[]))")


def breaches(connection: Connection, org_ids: Collection[str] | None = None) -> list[str]:
    """Return every breach of a rule, of the whole database or of organizations named by UUID."""
    found = (
        connection.execute(_BREACHES)
        if org_ids is None
        else connection.execute(_OF_ORGANIZATIONS, {"org_ids": list(org_ids)})
    )
    return [f"organization {org_id}: {rule} ({row_id})" for rule, org_id, row_id in found]
