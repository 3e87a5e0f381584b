"""What a comparison has found: ratios, waits and times, as tables and as a picture."""

from __future__ import annotations

from itertools import product
from math import prod
from statistics import median
from typing import Any, Final

from benchmarks.picture import Panel, picture
from benchmarks.report import Spread, milliseconds, table
from benchmarks.sides import SIDES
from benchmarks.turns import MODES, Distance, Mode, Sample, Turn

COUNTED: Final = "counted"
"""The distance at which waits are counted: through a relay that adds nothing but its own cost."""

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
        samples = self._samples[Turn(operation, mode, COUNTED), side]
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
