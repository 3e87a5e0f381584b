"""Every operation, ours and the peer's, turn by turn, at several distances."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import quantiles
from typing import Final

import psycopg
from sqlalchemy import URL

from benchmarks.comparison import COUNTED, Comparison, Samples, drawn, report
from benchmarks.databases import grounds
from benchmarks.environment import described, environment
from benchmarks.operations import OPERATIONS
from benchmarks.processes import hand
from benchmarks.proxy import delay_proxy
from benchmarks.report import FOLDER, save
from benchmarks.seeding import Population, seed
from benchmarks.sides import SIDES, libpq_url
from benchmarks.turns import HERE, MODES, Distance, Player, Turn, address, open_side
from flametrench_tenancy_sqlalchemy.testing.servers import Server

# psycopg prepares a statement when it comes the sixth time.
WARM_UP: Final = 6
_COUNTS: Final = 3


def compare(
    urls: dict[str, URL],
    operations: list[str],
    distances: list[Distance],
    rounds: int,
    population: Population | None = None,
) -> Comparison:
    """Play rounds of all operations, a turn of ours and a turn of the peer's in each.

    Args:
        urls: a migrated database for each side.
        operations: the names of the operations.
        distances: how far away the server is to be.
        rounds: how often to take the time, after the warm-up.
        population: who is in the databases already, if they are not empty.
    """
    places = [*distances, Distance(COUNTED, 0.0)]
    with ExitStack() as resources:
        players = {
            side: resources.enter_context(hand(open_side, side, url, places, population))
            for side, url in urls.items()
        }
        timed = [
            Turn(*turn) for turn in product(operations, MODES, [place.name for place in distances])
        ]
        waits = [Turn(*turn) for turn in product(operations, MODES, [COUNTED])]
        play(players, timed + waits, WARM_UP // len(MODES))
        return Comparison(
            operations,
            distances,
            play(players, timed, rounds) | play(players, waits, _COUNTS),
        )


def play(players: dict[str, Player], turns: list[Turn], rounds: int) -> Samples:
    """Have every side take every turn in each round, one after the other."""
    samples: Samples = defaultdict(list)
    for number in range(rounds):
        if sys.stderr.isatty():
            print(f"\r{len(turns)} turns, round {number + 1} of {rounds} ", end="", file=sys.stderr)
        for turn in turns:
            for side, player in players.items():
                samples[turn, side].append(player.do(turn))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return samples


def added_by_relay(url: URL, delay: float, *, times: int = 300) -> float:
    """Return what a relay really adds to a round trip, in seconds.

    It is told by the fastest twentieth of the round trips: a busy machine delays the others, with
    a relay or without one.
    """
    with delay_proxy(*address(url), delay) as proxy:
        there = url.set(host=proxy.host, port=proxy.port)
        with (
            psycopg.connect(libpq_url(url), autocommit=True) as near,
            psycopg.connect(libpq_url(there), autocommit=True) as far,
        ):
            waited: dict[int, list[float]] = defaultdict(list)
            for _ in range(times):
                for place, connection in enumerate((near, far)):
                    began = time.perf_counter()
                    connection.execute("SELECT 1")
                    waited[place].append(time.perf_counter() - began)
    near_best, far_best = (quantiles(waited[place], n=20)[0] for place in (0, 1))
    return far_best - near_best


def distances_at(url: URL, round_trips: list[float]) -> list[Distance]:
    """Return distances by the milliseconds that they add, less what the relay costs by itself."""
    own = added_by_relay(url, 0.0)
    return [
        Distance(f"+{added:g} ms", max(0.0, added / 1000 - own)) if added else HERE
        for added in round_trips
    ]


def run(
    *,
    name: str,
    rounds: int,
    round_trips: list[float],
    operations: list[str],
    memberships: int = 0,
    folder: Path = FOLDER,
    server: Server | None = None,
) -> Comparison:
    """Compare the sides on databases of their own, and save what came of it.

    Args:
        name: of the files.
        rounds: how often to take the time, after the warm-up.
        round_trips: milliseconds to add to each; 0 is a direct connection.
        operations: the names of the operations.
        memberships: how many to seed each database with.
        folder: where the files go.
        server: where to run.
    """
    population = Population(memberships) if memberships else None
    with grounds(server) as ground:
        urls = {side: ground.migrated(side) for side in SIDES}
        if population:
            for url in urls.values():
                with psycopg.connect(libpq_url(url), autocommit=True) as connection:
                    seed(connection, population)
        about = environment(ground.server.url, ground.server.source)
        distances = distances_at(urls["ours"], round_trips)
        added = {
            place.name: round(added_by_relay(urls["ours"], place.delay) * 1000, 3)
            for place in distances
            if place.delay is not None
        }
        comparison = compare(urls, operations, distances, rounds, population)
    measured = ", ".join(f"{place}: {really} ms" for place, really in added.items())
    text = "\n\n".join(
        [
            f"# Ours and the peer's, operation by operation\n\n{described(about)}",
            f"{rounds} rounds, sides taking turns, among {memberships:,} memberships. Added round "
            f"trips, as measured: {measured or 'none'}.",
            f"![Ratios]({name}.svg)",
            report(comparison),
        ]
    )
    raw = {
        "benchmark": name,
        "environment": about,
        "rounds": rounds,
        "memberships": memberships,
        "added_milliseconds": added,
        "samples": comparison.raw(),
    }
    save(folder, name, raw=raw, text=text, picture=drawn(comparison))
    return comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--name", default="operations", help="of the files that are written")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--round-trips",
        type=lambda given: [float(part) for part in given.split(",")],
        default=[0.0, 0.5, 1.0, 2.0],
        help="milliseconds to add to each, with commas; 0 is a direct connection",
    )
    parser.add_argument(
        "--memberships", type=int, default=0, help="how many to seed each database with"
    )
    parser.add_argument("--operations", nargs="*", choices=OPERATIONS, metavar="OPERATION")


def main(arguments: argparse.Namespace) -> None:
    """Run, and print the tables."""
    comparison = run(
        name=arguments.name,
        rounds=arguments.rounds,
        round_trips=arguments.round_trips,
        operations=arguments.operations or list(OPERATIONS),
        memberships=arguments.memberships,
        folder=arguments.folder,
    )
    print(report(comparison))
