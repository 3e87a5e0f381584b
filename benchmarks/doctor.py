"""How long the doctor takes for a million memberships, check by check.

    python benchmarks/doctor.py [MEMBERSHIPS]

It runs where the tests do (`TENANCY_TEST_DATABASE_URL`, Docker, or the embedded server), in a
database of its own, which is dropped afterwards.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from itertools import pairwise

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.doctor.checks import checks
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import running_server

# Twenty members to an organization, one in ten with a past, two tuples of the application's own
# for every ten, an invitation for every five, one in four of them open and with a pre-tuple.
SEED = """
SET session_replication_role = replica;

INSERT INTO usr (id) SELECT md5('usr' || i)::uuid FROM generate_series(0, :n / 2) AS i;

INSERT INTO org (id, slug)
SELECT md5('org' || i)::uuid, 'org-' || i FROM generate_series(0, :n / 20) AS i;

INSERT INTO mem (id, usr_id, org_id, role, invited_by, status, created_at)
SELECT md5('old' || i)::uuid, md5('usr' || i % (:n / 2))::uuid, md5('org' || i / 20)::uuid,
    'guest', md5('usr' || i / 20)::uuid, 'revoked', now() - interval '2 days'
FROM generate_series(0, :n - 1, 10) AS i;

INSERT INTO mem (id, usr_id, org_id, role, invited_by, replaces, created_at)
SELECT md5('mem' || i)::uuid, md5('usr' || i % (:n / 2))::uuid, md5('org' || i / 20)::uuid,
    CASE i % 20 WHEN 0 THEN 'owner' WHEN 1 THEN 'admin' ELSE 'member' END,
    CASE i % 10 WHEN 0 THEN md5('usr' || i / 20)::uuid END,
    CASE i % 10 WHEN 0 THEN md5('old' || i)::uuid END,
    now() - interval '1 day'
FROM generate_series(0, :n - 1) AS i;

INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id, created_by)
SELECT md5('tup' || id)::uuid, 'usr', usr_id, role, 'org', org_id, invited_by
FROM mem WHERE status = 'active';

INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id)
SELECT md5('app' || i)::uuid, 'usr', md5('usr' || i % (:n / 2))::uuid, 'editor', 'proj',
    md5('proj' || i)::uuid
FROM generate_series(0, :n - 1, 5) AS i;

INSERT INTO inv (
    id, org_id, identifier, role, invited_by, expires_at,
    status, terminal_at, pre_tuples
)
SELECT md5('inv' || i)::uuid, md5('org' || i / 20)::uuid, i || '@example.com', 'member',
    md5('usr' || i)::uuid, now() + interval '1 day',
    CASE i % 4 WHEN 0 THEN 'pending' ELSE 'declined' END,
    CASE i % 4 WHEN 0 THEN NULL ELSE now() END,
    CASE i % 4 WHEN 0 THEN jsonb_build_array(jsonb_build_object(
        'relation', 'editor', 'object_type', 'proj', 'object_id', md5('proj' || i)::uuid
    )) ELSE '[]' END
FROM generate_series(0, :n / 5) AS i;

SET session_replication_role = origin;
ANALYZE usr, org, mem, tup, inv;
"""


def seed(connection: Connection, memberships: int) -> None:
    """Fill the tables, a statement for each kind of row, around the triggers."""
    for statement in SEED.split(";\n"):
        if statement.strip():
            connection.execute(
                text(statement.replace(":n", str(memberships)).replace("::", r"\:\:"))
            )


def main() -> None:
    """Seed, examine, and print what took how long."""
    memberships = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with running_server() as server:
        print(f"on {server}")
        databases = Databases(server)
        engine = create_engine(databases.create("benchmark"))
        upgrade(engine.url)
        began = time.perf_counter()
        with engine.begin() as connection:
            seed(connection, memberships)
        print(f"seeded {memberships:,} active memberships in {time.perf_counter() - began:.1f} s")

        times = [time.perf_counter()]
        with Session(engine) as session:
            findings = diagnose(session, progress=lambda *_: times.append(time.perf_counter()))
        engine.dispose()
        databases.drop("benchmark")
    if findings:
        sys.exit(f"the seeded database is not healthy: {findings}")
    names = ["schema", *(check.name for check in checks(datetime.now(UTC)))]
    for name, (before, after) in zip(names, pairwise(times), strict=True):
        print(f"{name:26} {after - before:6.2f} s")
    print(f"{'in all':26} {times[-1] - times[0]:6.2f} s")


if __name__ == "__main__":
    main()
