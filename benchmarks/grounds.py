"""Where benchmarks run: databases of their own on the tests' server, empty or seeded.

Rows by the million are written by the server itself, around the triggers. All members are in one
organization, beside as many that are empty. One membership in ten has a past; for every five there
is an invitation, one in four of them open and with a pre-tuple. A log has ten events for each, of
one in twenty suspensions and their ends. Ids ascend with time, as real ones.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeAlias

import psycopg
from sqlalchemy import URL

from benchmarks.sides import SIDES, libpq_url
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server, running_server

_EPOCH: Final = 1_700_000_000_000

_SEED: Final = """
SET session_replication_role = replica;

CREATE FUNCTION pg_temp.id(kind text, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex({epoch} + number), 12, '0') || '7' || substr(hash, 1, 3)
        || '8' || substr(hash, 4, 15))::uuid
    FROM (SELECT md5(kind || number) AS hash) AS hashed
$$;

INSERT INTO usr (id) SELECT pg_temp.id('usr', i) FROM generate_series(0, {members} - 1) AS i;

INSERT INTO org (id, name, slug)
SELECT pg_temp.id('org', i), 'Organization ' || md5('org' || i), 'org-' || i
FROM generate_series(0, {members}) AS i;

INSERT INTO mem (id, usr_id, org_id, role, invited_by, status, created_at)
SELECT pg_temp.id('old', i), pg_temp.id('usr', i), pg_temp.id('org', 0), 'guest',
    pg_temp.id('usr', 0), 'revoked', now() - interval '2 days'
FROM generate_series(0, {members} - 1, 10) AS i;

INSERT INTO mem (id, usr_id, org_id, role, invited_by, replaces, created_at)
SELECT pg_temp.id('mem', i), pg_temp.id('usr', i), pg_temp.id('org', 0),
    CASE i WHEN 0 THEN 'owner' WHEN 1 THEN 'admin' ELSE 'member' END,
    CASE i % 10 WHEN 0 THEN pg_temp.id('usr', 0) END,
    CASE i % 10 WHEN 0 THEN pg_temp.id('old', i) END,
    now() - interval '1 day'
FROM generate_series(0, {members} - 1) AS i;

INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id, created_by)
SELECT pg_temp.id('tup', row_number() OVER ()), 'usr', usr_id, role, 'org', org_id, invited_by
FROM mem WHERE status = 'active';

INSERT INTO inv (id, org_id, identifier, role, invited_by, expires_at, status, terminal_at,
    pre_tuples)
SELECT pg_temp.id('inv', i), pg_temp.id('org', 0), i || '@example.com', 'member',
    pg_temp.id('usr', i), now() + interval '1 day',
    CASE i % 4 WHEN 0 THEN 'pending' ELSE 'declined' END,
    CASE i % 4 WHEN 0 THEN NULL ELSE now() END,
    CASE i % 4 WHEN 0 THEN jsonb_build_array(jsonb_build_object(
        'relation', 'editor', 'object_type', 'proj', 'object_id', pg_temp.id('proj', i)
    )) ELSE '[]' END
FROM generate_series(0, {members} / 5 - 1) AS i;

SET session_replication_role = origin;
"""
_SEED_LOG: Final = """
INSERT INTO aud (occurred_at, action, target_kind, target_id, scope_kind, scope_id, metadata)
SELECT now() - interval '12 hours' + hour * interval '1 hour',
    CASE WHEN i % 20 > 0 THEN 'proj.open' WHEN hour % 2 = 1 THEN 'tenancy.member_suspended'
        ELSE 'tenancy.member_reinstated' END,
    'mem', 'mem_' || replace(pg_temp.id('mem', i)::text, '-', ''), 'org', '{org}',
    jsonb_build_object('was', CASE hour % 2 WHEN 1 THEN 'active' ELSE 'suspended' END)
FROM generate_series(0, {members} - 1) AS i, generate_series(1, 10) AS hour
"""
_CPUS: Final = Path("/proc/cpuinfo")
_PACKAGES: Final = ("sqlalchemy", "psycopg", "flametrench-tenancy")
_SETTINGS: Final = ("fsync", "synchronous_commit", "shared_buffers")


def seeded(kind: str) -> str:
    """Return the wire id of the first row: the organization of all, its owner, their membership."""
    digits = hashlib.md5(f"{kind}0".encode()).hexdigest()
    return f"{kind}_{_EPOCH:012x}7{digits[:3]}8{digits[3:18]}"


def _seed(url: URL, members: int, *, log: bool) -> None:
    """Fill empty tables; see to statistics and visibility maps."""
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        with connection.transaction():
            connection.execute(_SEED.format(epoch=_EPOCH, members=members))
            if log:
                connection.execute(_SEED_LOG.format(org=seeded("org"), members=members))
        connection.execute("VACUUM (ANALYZE)")


Database: TypeAlias = Callable[[str, int], URL]
"""Creates a side's database, seeded with members."""


@contextmanager
def grounds(server: Server | None) -> Iterator[tuple[Server, Database]]:
    """Hand out databases on a server: the one given, else the one the tests would find."""
    with ExitStack() as resources:
        server = server or resources.enter_context(running_server())
        databases = Databases(server)

        def create(side: str, members: int) -> URL:
            name = f"benchmark_{secrets.token_hex(4)}"
            url = databases.create(name)
            resources.callback(databases.drop, name)
            upgrade(url, SIDES[side].revision)
            for branch in SIDES[side].branches:
                upgrade(url, "heads", branches=[branch])
            if members:
                _seed(url, members, log="audit" in SIDES[side].branches)
            return url

        yield server, create


def environment(server: Server) -> dict[str, str]:
    """Return machine, versions and the server's settings: no number means anything without."""
    with psycopg.connect(libpq_url(server.url)) as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in _SETTINGS]
    processor = re.search(r"model name\s*: (.*)", _CPUS.read_text()) if _CPUS.exists() else None
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{processor[1] if processor else platform.machine()}, {os.cpu_count()} CPUs",
        "load": f"{os.getloadavg()[0]:.2f}",
        "server": f"{server.source} PostgreSQL {server.version}",
        **{name: row[0] for name, row in zip(_SETTINGS, shown, strict=True) if row},
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }
