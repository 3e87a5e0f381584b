"""Parts of an answer as lines of text: aligned, cut to a width, and harmless to a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias
from unicodedata import category, east_asian_width

from .answers import Column, Facts, Part, Table, Verbatim

Segment: TypeAlias = tuple[str, str]
"""Some text and its style, in rich's words."""

Line: TypeAlias = list[Segment]

_GAP: Final = "  "
_ELLIPSIS: Final = "…"
_NARROWEST: Final = 8
"""To how many cells a column may be cut."""

_PASSWORD: Final = re.compile(r"(://[^:/@\s]*:)\S*(?=@)|(\bpassword=)[^&\s]*", re.IGNORECASE)

_STYLES: Final = {
    "active": "green",
    "accepted": "green",
    "pending": "cyan",
    "suspended": "yellow",
    "warning": "yellow",
    "error": "red",
    "revoked": "dim",
    "declined": "dim",
    "expired": "dim",
}
"""A word that is a whole cell -> how it is drawn."""


def visible(text: str) -> str:
    """Return text of one line with all that would steer a terminal, or hide, written out."""
    return "".join(
        char if char.isprintable() or category(char) == "Zs" else repr(char)[1:-1] for char in text
    )


def discreet(text: str) -> str:
    """Return a message without passwords, and harmless in each of its lines."""
    hidden = _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", text)
    return "\n".join(map(visible, hidden.splitlines()))


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return sum(map(_cells_of, text))


def cut(text: str, width: int) -> str:
    """Return as much of a text as fits into so many cells, with an ellipsis where it was cut."""
    if cells(text) <= width:
        return text
    taken, left = "", width - 1
    for char in text:
        left -= _cells_of(char)
        if left < 0:
            break
        taken += char
    return taken + _ELLIPSIS


def lines(part: Part, width: int | None) -> Iterator[Line]:
    """Yield the lines of a part.

    Args:
        part: the part.
        width: how many cells wide the terminal is; ``None`` for a file, where nothing is cut.
    """
    match part:
        case Table():
            yield from _table(part, width)
        case Facts():
            yield from _facts(part)
        case Verbatim():
            yield from ([(line, "")] for line in part.text.rstrip("\n").split("\n"))
        case _:
            yield from ([(visible(line), "")] for line in part.splitlines())


def left_out(table: Table, width: int | None) -> list[str]:
    """Return the titles of the columns for which a terminal is too narrow."""
    columns, wide = _measured(table)
    kept = _fitting(columns, wide, width)
    return [column.title for at, column in enumerate(columns) if at not in kept]


def _cells_of(char: str) -> int:
    if category(char) in {"Mn", "Me"}:
        return 0
    return 2 if east_asian_width(char) in {"W", "F"} else 1


def _measured(table: Table) -> tuple[Sequence[Column], list[int]]:
    """Return the columns, and how wide each would like to be."""
    full = [row for row in table.rows if len(row) > 1]
    wide = [
        max(cells(visible(cell)) for cell in (column.title, *(row[at] for row in full)))
        for at, column in enumerate(table.columns)
    ]
    return table.columns, wide


def _fitting(columns: Sequence[Column], wide: Sequence[int], width: int | None) -> dict[int, int]:
    """Return which columns fit, the first in any case, and how wide each of them is."""
    if width is None:
        return dict(enumerate(wide))
    kept: dict[int, int] = {}
    left = width + len(_GAP)
    for at, (column, wanted) in enumerate(zip(columns, wide, strict=True)):
        least = min(wanted, max(_NARROWEST, len(column.title))) if column.cuttable else wanted
        if not kept or least + len(_GAP) <= left:
            kept[at] = least
            left -= least + len(_GAP)
    for at, least in kept.items():
        kept[at] = least + max(0, min(left, wide[at] - least))
        left -= kept[at] - least
    return kept


def _table(table: Table, width: int | None) -> Iterator[Line]:
    columns, wide = _measured(table)
    kept = _fitting(columns, wide, width)
    if table.caption:
        yield [(table.caption, "bold")]
    yield _row([(cut(columns[at].title, fit), "bold", fit) for at, fit in kept.items()])
    yield _row([("-" * fit, "dim", fit) for fit in kept.values()])
    for row in table.rows:
        if len(row) == 1:
            yield [(visible(row[0]), "dim")]
            continue
        shown = [(cut(visible(row[at]), fit), fit) for at, fit in kept.items()]
        yield _row([(cell, _STYLES.get(cell, ""), fit) for cell, fit in shown])


def _row(drawn: Sequence[tuple[str, str, int]]) -> Line:
    """Return the cells of a row, each filled up to its width but for those at the end."""
    last = max((at for at, (cell, _, _) in enumerate(drawn) if cell), default=-1)
    line: Line = []
    for at, (cell, style, fit) in enumerate(drawn[: last + 1]):
        line.append((cell, style))
        if at < last:
            line.append((" " * (fit - cells(cell)) + _GAP, ""))
    return line


def _facts(part: Facts) -> Iterator[Line]:
    yield [(part.title, "bold")]
    fit = max(map(len, part.facts), default=0)
    for name, fact in part.facts.items():
        shown = visible(fact)
        yield [(f"{_GAP}{name.ljust(fit)}{_GAP}", "dim"), (shown, _STYLES.get(shown, ""))]
