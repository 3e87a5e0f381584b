"""Measure what memberships, schemas and connections cost a server, for docs/concepts/scale.md.

Run it with the package installed: `.venv/bin/python scripts/scale.py`; on the server that
`TENANCY_TEST_DATABASE_URL` names, or on the embedded one. It makes databases of its own.
"""

from __future__ import annotations

import os
import platform
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import TenancyRepository, User, new_id
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES, Databases
from flametrench_tenancy_sqlalchemy.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection

MEMBERS: Final = 20_000
BATCH: Final = 1_000
SCHEMAS: Final = 100
CONNECTIONS: Final = 20
KIB: Final = 1024


def main() -> None:
    """Print a table of what was measured."""
    with running_server() as server:
        databases = Databases(server)
        try:
            print(f"{platform.machine()}, {os.cpu_count()} cores; {server}\n")
            print("| measured | |", "| --- | ---: |", sep="\n")
            members, cells = databases.create("members"), databases.create("cells")
            for name, figure in (*of_members(members), *of_cells(cells)):
                print(f"| {name} | {figure} |")
        finally:
            databases.drop_all()


def of_members(url: URL) -> Iterator[tuple[str, str]]:
    """Yield what a membership takes on disk, its tuple and all indexes included."""
    upgrade(url)
    engine = create_engine(url, poolclass=NullPool)
    with Session(engine) as session, session.begin():
        users = [new_id("usr") for _ in range(MEMBERS)]
        session.add_all(User(id=usr_id) for usr_id in users)
    before = _sizes(url)
    with Session(engine) as session, session.begin():
        tenancy = TenancyRepository(session)
        org_id = tenancy.create_org(users[0]).org.id
        for first in range(1, MEMBERS, BATCH):
            members = dict.fromkeys(users[first : first + BATCH], "member")
            tenancy.add_members(org_id, members)
    after = _sizes(url)
    for table in ("mem", "tup"):
        yield f"`{table}`: bytes for a membership", f"{(after[table] - before[table]) // MEMBERS}"
    yield "`usr`: bytes for a user without attributes", f"{before['usr'] // MEMBERS}"
    yield "a fresh database with our tables, MB", f"{_database_size(url) / KIB**2:.0f}"


def of_cells(url: URL) -> Iterator[tuple[str, str]]:
    """Yield what schemas take, each with tables of its own, and what they cost a connection."""
    empty = _database_size(url)
    upgrade(url, schema="cell_0")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        relations = _relations(connection)
    one = _database_size(url)
    for number in range(1, SCHEMAS):
        upgrade(url, schema=f"cell_{number}")
    with engine.connect() as connection:
        relations = (_relations(connection) - relations) // (SCHEMAS - 1)
    all_ = _database_size(url)
    yield "the first schema, kB", f"{(one - empty) / KIB:.0f}"
    yield "each further schema, tables empty, kB", f"{(all_ - one) / (SCHEMAS - 1) / KIB:.0f}"
    yield "relations in each schema (`pg_class`)", f"{relations}"
    for visited in (1, SCHEMAS):
        memory = _memory_of_connections(url, visited)
        yield f"a connection that has used {visited} of {SCHEMAS} schemas, MB of its own", memory


def _sizes(url: URL) -> dict[str, int]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        size = text("SELECT pg_total_relation_size(CAST(:name AS regclass))")
        return {table: connection.scalar(size, {"name": table}) or 0 for table in TABLES}


def _database_size(url: URL) -> int:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        size: int = connection.execute(
            text("SELECT pg_database_size(current_database())")
        ).scalar_one()
        return size


def _relations(connection: Connection) -> int:
    found: int = connection.execute(text("SELECT count(*) FROM pg_class")).scalar_one()
    return found


def _memory_of_connections(url: URL, schemas: int) -> str:
    """Return what idle connections take for themselves after they have used so many schemas."""
    engine = create_engine(url, pool_size=CONNECTIONS)
    with ExitStack() as open_:
        pids = []
        for _ in range(CONNECTIONS):
            connection = open_.enter_context(engine.connect())
            for number in range(schemas):
                connection.execute(text(f"SET search_path = cell_{number}"))
                with Session(connection) as session:
                    TenancyRepository(session).list_orgs()
                    TenancyRepository(session).role_of(new_id("org"), new_id("usr"))
            pids.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        own = [_private(pid) for pid in pids]
    engine.dispose()
    return f"{sum(own) / len(own) / KIB:.1f}"


def _private(pid: int) -> int:
    """Return how many kB a process has that no other shares; Linux tells."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
