"""How long the doctor takes for a million memberships, check by check.

    python -m benchmarks.doctor [MEMBERSHIPS]

It runs where the tests do (`TENANCY_TEST_DATABASE_URL`, Docker, or the embedded server), in a
database of its own, which is dropped afterwards.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from itertools import pairwise

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from benchmarks.seeding import Population, seed
from benchmarks.sides import libpq_url
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.doctor.checks import checks
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import running_server


def main() -> None:
    """Seed, examine, and print what took how long."""
    memberships = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with running_server() as server:
        print(f"on {server}")
        databases = Databases(server)
        engine = create_engine(databases.create("benchmark"))
        upgrade(engine.url)
        began = time.perf_counter()
        with psycopg.connect(libpq_url(engine.url), autocommit=True) as connection:
            seed(connection, Population(memberships))
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
