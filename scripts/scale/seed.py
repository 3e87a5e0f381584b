"""Memberships by the million, written by the server itself, around the triggers."""

from __future__ import annotations

import hashlib
from time import monotonic
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.migrations import upgrade

from .server import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

EPOCH: Final = 1_700_000_000_000

MEMBERS: Final = 100
"""Of each organization."""

# Ids ascend with time, as real ones do.
ID: Final = f"""
CREATE FUNCTION seeded_id(kind text, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex({EPOCH} + number), 12, '0') || '7' || substr(hash, 1, 3)
        || '8' || substr(hash, 4, 15))::uuid
    FROM (SELECT md5(kind || number) AS hash) AS hashed
$$
"""  # noqa: S608 - a number of ours
ROWS: Final = (
    """
    INSERT INTO usr (id) SELECT seeded_id('usr', i) FROM generate_series(0, :members - 1) AS i
    """,
    """
    INSERT INTO org (id, name, slug)
    SELECT seeded_id('org', i), 'Organization ' || i, 'org-' || i
    FROM generate_series(0, :members / :size - 1) AS i
    """,
    """
    INSERT INTO mem (id, usr_id, org_id, role)
    SELECT seeded_id('mem', i), seeded_id('usr', i), seeded_id('org', i / :size),
        CASE i % :size WHEN 0 THEN 'owner' WHEN 1 THEN 'admin' ELSE 'member' END
    FROM generate_series(0, :members - 1) AS i
    """,
    """
    INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id)
    SELECT seeded_id('tup', row_number() OVER ()), 'usr', usr_id, role, 'org', org_id FROM mem
    """,
)


def wire_id(kind: str, number: int) -> str:
    """Return the id of a seeded row."""
    digits = hashlib.md5(f"{kind}{number}".encode()).hexdigest()  # noqa: S324 - as above
    return f"{kind}_{EPOCH + number:012x}7{digits[:3]}8{digits[3:18]}"


def fill(url: URL, members: int) -> Iterator[tuple[str, float]]:
    """Fill a database; yield how long it took, and what it takes."""
    upgrade(url)
    began = monotonic()
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(ID))
        for rows in ROWS:
            connection.execute(text(rows), {"members": members, "size": MEMBERS})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) usr, org, mem, tup"))
    yield "s to fill the large database", monotonic() - began
    yield "GB of the large database", size_of(url) / 1e9
