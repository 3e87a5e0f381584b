"""What a benchmark leaves behind: raw numbers as JSON, goals and tables as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was."""

    what: str
    at_most: float | None
    """``None`` where it is only told."""
    figure: float | None
    """``None`` where the run did not measure it."""
    by: str = ""
    """Which operation the figure is of, if it is one's."""

    @property
    def verdict(self) -> str:
        """Whether it is met."""
        if self.figure is None:
            return "not measured"
        if self.at_most is None:
            return ""
        return "met" if round(self.figure, 2) <= self.at_most else "missed"


def worst(what: str, at_most: float, figures: dict[str, float]) -> Goal:
    """Return a goal that the largest of some figures decides."""
    name = max(figures, key=lambda each: figures[each], default="")
    return Goal(what, at_most, figures.get(name), name)


def average(what: str, at_most: float | None, ratios: dict[str, float]) -> Goal:
    """Return a goal for the geometric mean of some ratios."""
    return Goal(what, at_most, mean(ratios.values()) if ratios else None)


def mean(ratios: Iterable[float]) -> float:
    """Return the geometric mean of ratios, one at least."""
    ratios = list(ratios)
    return prod(ratios) ** (1 / len(ratios))


def number(value: float | None) -> str:
    """Show a number that may be missing."""
    return "" if value is None else f"{value:.2f}".removesuffix(".00")


def spread(values: list[float]) -> str:
    """Show the median of values, if there are any, and the quartiles around it."""
    if not values:
        return ""
    low, middle, high = quantiles(values * 2 if len(values) == 1 else values, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table: words on the left, numbers on the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def save(path: Path, title: str, goals: Sequence[Goal], parts: Iterable[str], **raw: Any) -> str:
    """Write a benchmark's tables and raw numbers beside each other; return the former."""
    head = ["goal", "at most", "measured", "by", ""]
    rows = [[it.what, number(it.at_most), number(it.figure), it.by, it.verdict] for it in goals]
    shown = "\n\n".join([f"# {title}", *([table(head, rows)] if goals else []), *parts]) + "\n"
    reached = [{**asdict(goal), "verdict": goal.verdict} for goal in goals]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps({**raw, "goals": reached}) + "\n")
    path.with_suffix(".md").write_text(shown)
    return shown
