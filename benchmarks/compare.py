"""Plans of what is measured, and their playing: lanes side by side, turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psycopg
from sqlalchemy import URL

from benchmarks import turns
from benchmarks.grounds import environment, grounds
from benchmarks.operations import READS
from benchmarks.report import Goal, mean, number, save, spread, table
from benchmarks.sides import Mode, libpq_url
from benchmarks.turns import HERE, Distance, Sample, Samples, Setup, Turn
from flametrench_tenancy_sqlalchemy.testing.servers import Server

_MEASURES: Final[dict[str, Callable[[Sample], float | None]]] = {
    "ms": lambda sample: sample.seconds * 1000,
    "waits": lambda sample: sample.waits,
    "CPU ms": lambda sample: sample.busy * 1000,
    "KiB": lambda sample: sample.peak / 1024,
}


@dataclass(frozen=True)
class Lane:
    """A column of a table: who plays, from where, on which database."""

    name: str
    side: str
    mode: Mode = "standalone"
    distance: Distance = HERE
    members: int = 0
    """How many its database is seeded with."""

    @property
    def player(self) -> str:
        """The name of who plays in it."""
        return f"{self.side}, {self.members:,}" if self.members else self.side

    def has(self, operation: str) -> bool:
        """Tell whether its side has an operation that is its own."""
        if self.side == "with seats":
            return operation == "create_invitation"
        if self.side == "by hand":
            return operation not in READS
        return (self.side, operation) != ("peer", "require_role")


class Results:
    """What was measured, by operation and lane."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def figures(self, operation: str, lane: Lane, measure: str = "ms") -> list[float]:
        """Return what was measured of a lane's operation."""
        turn = Turn(operation, lane.mode, lane.distance.name, measure == "KiB")
        taken = map(_MEASURES[measure], self._samples.get((turn, lane.player), []))
        return [figure for figure in taken if figure is not None]

    def figure(self, operation: str, lane: Lane, measure: str = "ms") -> float | None:
        """Return the median of what was measured of a lane's operation."""
        figures = self.figures(operation, lane, measure)
        return median(figures) if figures else None

    def ratios(
        self, operations: Iterable[str], one: Lane, other: Lane, measure: str = "ms"
    ) -> dict[str, float]:
        """Return one lane's figures as a share of another's, where both have them."""
        both = {
            each: [self.figure(each, lane, measure) for lane in (one, other)] for each in operations
        }
        return {name: mine / theirs for name, (mine, theirs) in both.items() if mine and theirs}


@dataclass(frozen=True)
class Plan:
    """What to measure, and how it is shown."""

    name: str
    title: str
    rounds: int
    operations: list[str]
    means: dict[str, list[str]]
    """Rows of geometric means: their name, and the operations that they are taken over."""
    tables: dict[str, list[Lane]]
    """Lanes by title; the first's times are told as a share of each other's."""
    goals: Callable[[Results], list[Goal]] = lambda _: []
    traced: bool = False
    """Whether memory is taken, too."""
    rows: int = 0

    def run(self, folder: Path, server: Server | None = None) -> str:
        """Measure on databases of their own; return the tables, which are saved."""
        lanes = [lane for lanes in self.tables.values() for lane in lanes]
        program = [
            (Turn(operation, lane.mode, lane.distance.name, traced), lane.player)
            for traced in ([False, True] if self.traced else [False])
            for operation in self.operations
            for lane in lanes
            if lane.has(operation)
        ]
        with grounds(server) as (found, database):
            about = environment(found)
            distances = tuple(dict.fromkeys(lane.distance for lane in lanes))
            setups = {}
            for player, lane in {lane.player: lane for lane in lanes}.items():
                url = database(lane.side, lane.members)
                setups[player] = Setup(lane.side, url, distances, lane.members, self.rows)
            samples = turns.play(setups, program, self.rounds)
            growth = [_growth(it.url) for it in setups.values() if it.side == "logged"]
        results = Results(samples)
        parts = [f"## {head}\n\n{self._table(results, of)}" for head, of in self.tables.items()]
        how = f"Medians (quartiles) of {self.rounds} rounds, all taking turns."
        return save(
            folder / self.name,
            self.title,
            [*self.goals(results), *growth],
            [", ".join(f"{name} {value}" for name, value in about.items()), how, *parts],
            benchmark=self.name,
            environment=about,
            rounds=self.rounds,
            samples=turns.raw(samples),
        )

    def _table(self, results: Results, lanes: list[Lane]) -> str:
        first, *others = lanes
        further = [
            (lane, measure)
            for measure in ("waits", "CPU ms", "KiB")
            for lane in lanes
            if any(results.figures(operation, lane, measure) for operation in self.operations)
        ]
        head = ["", *(f"{lane.name}, ms" for lane in lanes)]
        head += [f"{first.name} / {other.name}" for other in others]
        head += [f"{lane.name}, {measure}" for lane, measure in further]
        rows = []
        for each in self.operations:
            times = [spread(results.figures(each, lane)) for lane in lanes]
            ratios = [results.ratios([each], first, other).get(each) for other in others]
            figures = [results.figure(each, lane, measure) for lane, measure in further]
            rows.append([each, *times, *map(number, [*ratios, *figures])])
        for name, operations in self.means.items():
            shares = [results.ratios(operations, first, other).values() for other in others]
            means = [f"**{mean(share):.2f}**" if share else "" for share in shares]
            rows.append([f"**{name}**", *[""] * len(lanes), *means, *[""] * len(further)])
        return table(head, rows)


def _growth(url: URL) -> Goal:
    """Tell by how much an event has made the log grow, in whose months there are any."""
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(month)) / sum(events) FROM "
            "(SELECT tableoid AS month, count(*) AS events FROM aud GROUP BY tableoid) AS months"
        ).fetchone()
    return Goal("logged: bytes an event, indexes included", None, float(row[0]) if row else None)
