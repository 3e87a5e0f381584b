"""What a benchmark leaves behind: raw numbers as JSON, tables as Markdown, a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final, Self

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of values, one at least."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median(values), high)

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def milliseconds(seconds: Iterable[float]) -> Spread:
    """Return the spread of times in milliseconds."""
    return Spread.of([value * 1000 for value in seconds])


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table: words on the left, numbers on the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def save(folder: Path, name: str, *, raw: dict[str, Any], text: str, picture: str = "") -> None:
    """Write the files of a benchmark, in place of those of its last run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(raw) + "\n")
    (folder / f"{name}.md").write_text(text.rstrip() + "\n")
    if picture:
        (folder / f"{name}.svg").write_text(picture)
