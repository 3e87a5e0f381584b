"""SQL of a client that knows nothing of this package, on the cast of a scene."""

from __future__ import annotations

import re

from sqlalchemy import Connection

from tests.support.scenes import Scene


def run(connection: Connection, scene: Scene, *statements: str) -> None:
    """Run statements in which ``{ann}`` stands for that user's id, and so on."""
    for statement in statements:
        connection.exec_driver_sql(
            re.sub(r"\{(.+?)\}", lambda name: f"'{scene.uuid(name[1])}'", statement)
        )


def grant(user: str, role: str, org: str = "acme") -> str:
    """Return the statement that writes a role's tuple."""
    return (
        "INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id) "
        f"VALUES (gen_random_uuid(), 'usr', {{{user}}}, '{role}', 'org', {{{org}}})"
    )


def withdraw(user: str, org: str = "acme") -> str:
    """Return the statement that deletes a user's tuples on an organization."""
    return f"DELETE FROM tup WHERE subject_id = {{{user}}} AND object_id = {{{org}}}"


def join(
    user: str,
    role: str = "member",
    status: str = "active",
    *,
    org: str = "acme",
    replaces: str | None = None,
    at: str = "now()",
) -> str:
    """Return the statement that writes a membership, at the time of the client's clock."""
    predecessor = f"{{{replaces}}}" if replaces else "NULL"
    return (
        "INSERT INTO mem (id, usr_id, org_id, role, status, replaces, created_at, updated_at) "
        f"VALUES (gen_random_uuid(), {{{user}}}, {{{org}}}, '{role}', '{status}', {predecessor}, "
        f"{at}, {at})"
    )


def turn(membership: str, status: str) -> str:
    """Return the statement that changes a membership's status."""
    return f"UPDATE mem SET status = '{status}' WHERE id = {{{membership}}}"


def revoke(org: str) -> tuple[str, ...]:
    """Return the statements of another client that ends an organization."""
    return (
        f"UPDATE mem SET status = 'revoked' WHERE org_id = {{{org}}} AND status = 'active'",
        f"DELETE FROM tup WHERE object_id = {{{org}}}",
        f"UPDATE org SET status = 'revoked' WHERE id = {{{org}}}",
    )
