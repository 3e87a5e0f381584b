"""The reads of every request, beside raw psycopg that fetches the same columns."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from benchmarks.databases import grounds
from benchmarks.environment import described, environment
from benchmarks.report import FOLDER, milliseconds, save, table
from benchmarks.seeding import Population, seed
from benchmarks.sides import libpq_url
from flametrench_tenancy_sqlalchemy import Role, TenancyRepository
from flametrench_tenancy_sqlalchemy.testing.servers import Server

_COLUMNS: Final = (
    "mem.id, mem.usr_id, mem.org_id, mem.role, mem.status, mem.replaces, mem.invited_by, "
    "mem.removed_by, mem.created_at, mem.updated_at"
)
_FIND: Final = f"SELECT {_COLUMNS} FROM mem WHERE usr_id = %s AND org_id = %s AND status = 'active'"
_REQUIRE: Final = (
    f"SELECT {_COLUMNS} FROM mem JOIN org ON org.id = mem.org_id WHERE mem.usr_id = %s "
    "AND mem.org_id = %s AND mem.status = 'active' AND org.status = 'active'"
)
_POPULATION: Final = Population(10_000)

Read = Callable[[str, str], Any]


def run(*, name: str, rounds: int, folder: Path = FOLDER, server: Server | None = None) -> str:
    """Take turns reading the owners of seeded organizations; return the table, which is saved.

    Args:
        name: of the files.
        rounds: how often each way, after a tenth as many for warmth.
        folder: where the files go.
        server: where to run.
    """
    with ExitStack() as resources:
        ground = resources.enter_context(grounds(server))
        about = environment(ground.server.url, ground.server.source)
        url = ground.migrated("ours")
        with psycopg.connect(libpq_url(url), autocommit=True) as connection:
            seed(connection, _POPULATION)
        engine = create_engine(url)
        resources.callback(engine.dispose)
        session = resources.enter_context(Session(engine))
        session.execute(text("SELECT 1"))  # the caller's transaction has begun
        raw = resources.enter_context(psycopg.connect(libpq_url(url)))
        ways = _ways(TenancyRepository(session), raw.cursor())
        _taken(ways, max(10, rounds // 10))
        times = _taken(ways, rounds)
    spreads = {way: milliseconds(seconds) for way, seconds in times.items()}
    rows = [
        [
            read,
            spreads[read],
            spreads[f"{read}, raw"],
            f"{spreads[read].middle / spreads[f'{read}, raw'].middle:.2f}",
        ]
        for read in ("find_membership", "require_role")
    ]
    shown = table(
        ["milliseconds, median (quartiles)", "ours", "raw psycopg", "ratio"],
        [[str(cell) for cell in row] for row in rows],
    )
    text_ = (
        f"# Reads on the hot path\n\n{described(about)}\n\nA repository on a Session whose "
        f"transaction is open, and one psycopg cursor with one prepared statement that fetches "
        f"the same columns; loopback, {rounds} reads each, taking turns.\n\n{shown}"
    )
    numbers = {way: [round(one * 1e6, 1) for one in seconds] for way, seconds in times.items()}
    saved = {"benchmark": name, "environment": about, "microseconds": numbers}
    save(folder, name, raw=saved, text=text_)
    return shown


def _ways(tenancy: TenancyRepository, cursor: psycopg.Cursor[Any]) -> dict[str, Read]:
    def fetched(statement: str) -> Read:
        # Typed values, as the driver would get them from an application.
        return lambda org_id, usr_id: cursor.execute(
            statement, (usr_id[4:], org_id[4:]), prepare=True
        ).fetchone()

    return {
        "find_membership": tenancy.find_membership,
        "find_membership, raw": fetched(_FIND),
        "require_role": lambda org_id, usr_id: tenancy.require_role(
            org_id, usr_id, Role.OWNER, Role.ADMIN
        ),
        "require_role, raw": fetched(_REQUIRE),
    }


def _taken(ways: dict[str, Read], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        org = number % _POPULATION.orgs
        org_id, usr_id = _POPULATION.org(org), _POPULATION.owner(org)
        for way, read in ways.items():
            began = time.perf_counter()
            found = read(org_id, usr_id)
            times[way].append(time.perf_counter() - began)
            assert found is not None
    return times


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--name", default="reads", help="of the files that are written")
    parser.add_argument("--rounds", type=int, default=5_000)


def main(arguments: argparse.Namespace) -> None:
    """Run, and print the table."""
    print(run(name=arguments.name, rounds=arguments.rounds, folder=arguments.folder))
