"""Rows by the million, written by the server itself, around the triggers.

In ten memberships one has a past and two tuples of the application's own stand beside them; for
every five there is an invitation, one in four of them open and with a pre-tuple. Ids ascend with
time, as real ones do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import psycopg

_EPOCH: Final = 1_700_000_000_000

_SEED: Final = """
SET session_replication_role = replica;

CREATE FUNCTION pg_temp.id(kind text, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex({epoch} + number), 12, '0') || '7' || substr(hash, 1, 3)
        || '8' || substr(hash, 4, 15))::uuid
    FROM (SELECT md5(kind || number) AS hash) AS hashed
$$;

INSERT INTO usr (id) SELECT pg_temp.id('usr', i) FROM generate_series(0, {users} - 1) AS i;

INSERT INTO org (id, name, slug)
SELECT pg_temp.id('org', i), 'Organization ' || md5(i::text), 'org-' || i
FROM generate_series(0, {orgs} - 1) AS i;

INSERT INTO mem (id, usr_id, org_id, role, invited_by, status, created_at)
SELECT pg_temp.id('old', i), pg_temp.id('usr', i % {users}), pg_temp.id('org', i / {per_org}),
    'guest', pg_temp.id('usr', i / {per_org}), 'revoked', now() - interval '2 days'
FROM generate_series(0, {memberships} - 1, 10) AS i;

INSERT INTO mem (id, usr_id, org_id, role, invited_by, replaces, created_at)
SELECT pg_temp.id('mem', i), pg_temp.id('usr', i % {users}), pg_temp.id('org', i / {per_org}),
    CASE i % {per_org} WHEN 0 THEN 'owner' WHEN 1 THEN 'admin' ELSE 'member' END,
    CASE i % 10 WHEN 0 THEN pg_temp.id('usr', i / {per_org}) END,
    CASE i % 10 WHEN 0 THEN pg_temp.id('old', i) END,
    now() - interval '1 day'
FROM generate_series(0, {memberships} - 1) AS i;

INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id, created_by)
SELECT pg_temp.id('tup', row_number() OVER ()), 'usr', usr_id, role, 'org', org_id, invited_by
FROM mem WHERE status = 'active';

INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id)
SELECT pg_temp.id('app', i), 'usr', pg_temp.id('usr', i % {users}), 'editor', 'proj',
    pg_temp.id('proj', i)
FROM generate_series(0, {memberships} - 1, 5) AS i;

INSERT INTO inv (
    id, org_id, identifier, role, invited_by, expires_at,
    status, terminal_at, pre_tuples
)
SELECT pg_temp.id('inv', i), pg_temp.id('org', i / {per_org}), i || '@example.com', 'member',
    pg_temp.id('usr', i), now() + interval '1 day',
    CASE i % 4 WHEN 0 THEN 'pending' ELSE 'declined' END,
    CASE i % 4 WHEN 0 THEN NULL ELSE now() END,
    CASE i % 4 WHEN 0 THEN jsonb_build_array(jsonb_build_object(
        'relation', 'editor', 'object_type', 'proj', 'object_id', pg_temp.id('proj', i)
    )) ELSE '[]' END
FROM generate_series(0, {memberships} / 5 - 1) AS i;

SET session_replication_role = origin;
"""


@dataclass(frozen=True)
class Population:
    """How many memberships there are, and how many of them in each organization."""

    memberships: int
    per_org: int = 20

    @property
    def orgs(self) -> int:
        """How many organizations there are."""
        return max(1, self.memberships // self.per_org)

    @property
    def users(self) -> int:
        """How many users there are: half as many as memberships, unless all are in one place."""
        return self.memberships if self.orgs == 1 else self.memberships // 2

    def org(self, number: int) -> str:
        """Return the wire id of an organization."""
        return wire_id("org", number)

    def owner(self, number: int) -> str:
        """Return the wire id of the user who owns an organization."""
        return wire_id("usr", number * self.per_org % self.users)

    def owner_membership(self, number: int) -> str:
        """Return the wire id of an owner's membership."""
        return wire_id("mem", number * self.per_org)


def wire_id(kind: str, number: int) -> str:
    """Return the id of a seeded row."""
    digits = hashlib.md5(f"{kind}{number}".encode()).hexdigest()
    return f"{kind}_{_EPOCH + number:012x}7{digits[:3]}8{digits[3:18]}"


def seed(connection: psycopg.Connection[Any], population: Population) -> None:
    """Fill empty tables, and have their statistics and visibility maps as they are in the long run.

    Args:
        connection: an autocommit connection.
        population: what to fill them with.
    """
    with connection.transaction():
        connection.execute(
            _SEED.format(
                epoch=_EPOCH,
                memberships=population.memberships,
                per_org=population.per_org,
                orgs=population.orgs,
                users=population.users,
            )
        )
    connection.execute("VACUUM (ANALYZE) usr, org, mem, tup, inv")


def seed_orgs(connection: psycopg.Connection[Any], count: int) -> None:
    """Add organizations without anybody in them; the last one's slug is ``other-<count>``."""
    connection.execute(
        "INSERT INTO org (id, name, slug) SELECT gen_random_uuid(), "
        "'Organization ' || md5('other' || i), 'other-' || i FROM generate_series(1, %s) AS i",
        [count],
    )
    connection.execute("VACUUM (ANALYZE) org")
