"""Every operation, ours and the peer's, turn by turn, at several distances."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from itertools import product
from math import prod
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg
from sqlalchemy import URL

from benchmarks.databases import grounds
from benchmarks.environment import described, environment
from benchmarks.operations import OPERATIONS
from benchmarks.picture import Panel, picture
from benchmarks.processes import hand
from benchmarks.proxy import delay_proxy
from benchmarks.report import FOLDER, Spread, milliseconds, save, table
from benchmarks.sides import SIDES, libpq_url
from benchmarks.turns import HERE, MODES, Distance, Mode, Player, Sample, Turn, address, open_side
from flametrench_tenancy_sqlalchemy.testing.servers import Server

_COUNTED: Final = "counted"
"""The distance at which waits are counted: through a relay that adds nothing but its own cost."""

# psycopg prepares a statement when it comes the sixth time.
WARM_UP: Final = 6
_COUNTS: Final = 3

Samples = dict[tuple[Turn, str], list[Sample]]


class Comparison:
    """The samples of a run, by turn and side."""

    def __init__(self, operations: list[str], distances: list[Distance], samples: Samples) -> None:
        self.operations = operations
        self.distances = distances
        self._samples = samples

    def spread(self, operation: str, mode: Mode, distance: str, side: str) -> Spread:
        """Return the times of a side's operation."""
        samples = self._samples[Turn(operation, mode, distance), side]
        return milliseconds(sample.seconds for sample in samples)

    def waits(self, operation: str, mode: Mode, side: str) -> float:
        """Return how often a side's operation waits for the server."""
        samples = self._samples[Turn(operation, mode, _COUNTED), side]
        return median(sample.waits for sample in samples if sample.waits is not None)

    def busy(self, operation: str, mode: Mode, side: str) -> float:
        """Return how many milliseconds a side's operation keeps the client's processor at work."""
        place = self.distances[0].name
        samples = self._samples[Turn(operation, mode, place), side]
        return median(sample.busy for sample in samples) * 1000

    def ratio(self, operation: str, mode: Mode, distance: str) -> float:
        """Return our median time as a share of the peer's."""
        ours, peer = (self.spread(operation, mode, distance, side).middle for side in SIDES)
        return ours / peer

    def mean_ratio(self, mode: Mode, distance: str) -> float:
        """Return the geometric mean of the operations' ratios."""
        ratios = [self.ratio(operation, mode, distance) for operation in self.operations]
        return prod(ratios) ** (1 / len(ratios))

    def raw(self) -> list[dict[str, Any]]:
        """Return every sample, in microseconds."""
        return [
            {
                "operation": turn.operation,
                "mode": turn.mode,
                "distance": turn.distance,
                "side": side,
                "microseconds": [round(sample.seconds * 1e6, 1) for sample in samples],
                "busy_microseconds": [round(sample.busy * 1e6, 1) for sample in samples],
                "waits": [sample.waits for sample in samples if sample.waits is not None],
            }
            for (turn, side), samples in self._samples.items()
        ]


def compare(
    urls: dict[str, URL], operations: list[str], distances: list[Distance], rounds: int
) -> Comparison:
    """Play rounds of all operations, a turn of ours and a turn of the peer's in each.

    Args:
        urls: a migrated database for each side.
        operations: the names of the operations.
        distances: how far away the server is to be.
        rounds: how often to take the time, after the warm-up.
    """
    counted = Distance(_COUNTED, 0.0)
    with ExitStack() as resources:
        players = {
            side: resources.enter_context(hand(open_side, side, url, [*distances, counted]))
            for side, url in urls.items()
        }
        timed = [
            Turn(*turn) for turn in product(operations, MODES, [place.name for place in distances])
        ]
        waits = [Turn(*turn) for turn in product(operations, MODES, [_COUNTED])]
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
    """Return what a relay really adds to a round trip, in seconds: its median."""
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
    return median(waited[1]) - median(waited[0])


def distances_at(url: URL, round_trips: list[float]) -> list[Distance]:
    """Return distances by the milliseconds that they add, less what the relay costs by itself."""
    own = added_by_relay(url, 0.0)
    return [
        Distance(f"+{added:g} ms", max(0.0, added / 1000 - own)) if added else HERE
        for added in round_trips
    ]


def report(comparison: Comparison) -> str:
    """Return the comparison as Markdown."""
    names = [distance.name for distance in comparison.distances]
    parts = []
    for mode in MODES:
        rows = [
            [
                operation,
                *(f"{comparison.waits(operation, mode, side):g}" for side in SIDES),
                *(f"{comparison.busy(operation, mode, side):.2f}" for side in SIDES),
                *(f"{comparison.ratio(operation, mode, name):.2f}" for name in names),
            ]
            for operation in comparison.operations
        ]
        means = [f"**{comparison.mean_ratio(mode, name):.2f}**" for name in names]
        rows.append(["**geometric mean**", *[""] * 4, *means])
        parts.append(f"## {mode.capitalize()}: waits, and our time as a share of the peer's\n")
        head = ["", "our waits", "peer's", "our CPU ms", "peer's", *names]
        parts.append(table(head, rows) + "\n")
    for mode, name in product(MODES, names):
        parts.append(f"## {mode.capitalize()}, {name}: milliseconds, median (quartiles)\n")
        rows = [
            [
                operation,
                *(str(comparison.spread(operation, mode, name, side)) for side in SIDES),
                f"{comparison.ratio(operation, mode, name):.2f}",
            ]
            for operation in comparison.operations
        ]
        parts.append(table(["", "ours", "peer", "ratio"], rows) + "\n")
    return "\n".join(parts)


def drawn(comparison: Comparison) -> str:
    """Return the ratios as a picture."""
    panels = [
        Panel(
            mode,
            {
                operation: [
                    comparison.ratio(operation, mode, distance.name)
                    for distance in comparison.distances
                ]
                for operation in comparison.operations
            },
        )
        for mode in MODES
    ]
    return picture(
        "Our time as a share of the peer's: left of the line we are faster",
        [distance.name for distance in comparison.distances],
        panels,
    )


def run(
    *,
    name: str,
    rounds: int,
    round_trips: list[float],
    operations: list[str],
    folder: Path = FOLDER,
    server: Server | None = None,
) -> Comparison:
    """Compare the sides on fresh databases, and save what came of it."""
    with grounds(server) as ground:
        urls = {side: ground.migrated(side) for side in SIDES}
        about = environment(ground.server.url, ground.server.source)
        distances = distances_at(urls["ours"], round_trips)
        added = {
            place.name: round(added_by_relay(urls["ours"], place.delay) * 1000, 3)
            for place in distances
            if place.delay is not None
        }
        comparison = compare(urls, operations, distances, rounds)
    measured = ", ".join(f"{place}: {really} ms" for place, really in added.items())
    text = "\n\n".join(
        [
            f"# Ours and the peer's, operation by operation\n\n{described(about)}",
            f"{rounds} rounds, sides taking turns. Added round trips, as measured: "
            f"{measured or 'none'}.",
            f"![Ratios]({name}.svg)",
            report(comparison),
        ]
    )
    raw = {
        "benchmark": name,
        "environment": about,
        "rounds": rounds,
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
    parser.add_argument("--operations", nargs="*", choices=OPERATIONS, metavar="OPERATION")


def main(arguments: argparse.Namespace) -> None:
    """Run, and print the tables."""
    comparison = run(
        name=arguments.name,
        rounds=arguments.rounds,
        round_trips=arguments.round_trips,
        operations=arguments.operations or list(OPERATIONS),
        folder=arguments.folder,
    )
    print(report(comparison))
