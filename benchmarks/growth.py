"""What operations cost as the tables grow: ten thousand memberships, a million, ten million."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.compare import WARM_UP, play
from benchmarks.comparison import Samples
from benchmarks.databases import grounds
from benchmarks.environment import described, environment
from benchmarks.operations import OPERATIONS
from benchmarks.processes import hand
from benchmarks.report import FOLDER, milliseconds, save, table
from benchmarks.seeding import Population, seed
from benchmarks.sides import SIDES, libpq_url
from benchmarks.turns import HERE, Turn, open_side
from flametrench_tenancy_sqlalchemy.testing.servers import Server


def run(
    *,
    name: str,
    rounds: int,
    populations: list[Population],
    sides: list[str],
    operations: list[str],
    folder: Path = FOLDER,
    server: Server | None = None,
) -> str:
    """Take the time of operations in seeded organizations; return the tables, which are saved.

    Args:
        name: of the files.
        rounds: how often, after the warm-up; all populations in each.
        populations: from the smallest to the largest.
        sides: one of them, or both.
        operations: the names of the operations.
        folder: where the files go.
        server: where to run.
    """
    with ExitStack() as resources:
        ground = resources.enter_context(grounds(server))
        about = environment(ground.server.url, ground.server.source)
        players = {}
        for population in populations:
            for side in sides:
                url = ground.migrated(side)
                with psycopg.connect(libpq_url(url), autocommit=True) as connection:
                    began = time.perf_counter()
                    seed(connection, population)
                took = time.perf_counter() - began
                print(f"{_label(side, population)}: seeded in {took:.0f} s", flush=True)
                players[_label(side, population)] = resources.enter_context(
                    hand(open_side, side, url, [HERE], population)
                )
        turns = [Turn(operation, "standalone", HERE.name) for operation in operations]
        play(players, turns, WARM_UP)
        samples = play(players, turns, rounds)
    tables = "\n\n".join(_table(samples, side, populations, operations) for side in sides)
    per_org = f"{populations[0].per_org:,} members" if populations[0].orgs > 1 else "all of them"
    text = (
        f"# Operations as the tables grow\n\n{described(about)}\n\n{rounds} rounds on loopback, "
        f"standalone, in seeded organizations ({per_org} in each).\n\n{tables}"
    )
    raw = {"benchmark": name, "environment": about, "rounds": rounds, "samples": _raw(samples)}
    save(folder, name, raw=raw, text=text)
    return tables


def _label(side: str, population: Population) -> str:
    return f"{side} with {population.memberships:,}"


def _table(
    samples: Samples, side: str, populations: list[Population], operations: list[str]
) -> str:
    rows = []
    for operation in operations:
        turn = Turn(operation, "standalone", HERE.name)
        spreads = [
            milliseconds(sample.seconds for sample in samples[turn, _label(side, population)])
            for population in populations
        ]
        growth = spreads[-1].middle / spreads[0].middle
        rows.append([operation, *map(str, spreads), f"{growth:.2f}"])
    sizes = [f"{population.memberships:,}" for population in populations]
    head = ["", *sizes, "last by first"]
    return (
        f"## {side.capitalize()}: milliseconds, median (quartiles), by memberships\n\n"
        f"{table(head, rows)}"
    )


def _raw(samples: Samples) -> list[dict[str, Any]]:
    return [
        {
            "operation": turn.operation,
            "database": label,
            "microseconds": [round(sample.seconds * 1e6, 1) for sample in taken],
        }
        for (turn, label), taken in samples.items()
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--name", default="growth", help="of the files that are written")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--memberships",
        type=int,
        nargs="+",
        default=[10_000, 1_000_000],
        help="ten million take about 15 GB for each side",
    )
    parser.add_argument(
        "--per-org", type=int, default=20, help="members of each organization; 0 puts all in one"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--operations", nargs="*", choices=OPERATIONS, metavar="OPERATION")


def main(arguments: argparse.Namespace) -> None:
    """Run, and print the tables."""
    tables = run(
        name=arguments.name,
        rounds=arguments.rounds,
        populations=[
            Population(count, arguments.per_org or count) for count in sorted(arguments.memberships)
        ],
        sides=arguments.sides,
        operations=arguments.operations or list(OPERATIONS),
        folder=arguments.folder,
    )
    print(tables)
