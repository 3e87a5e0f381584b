"""Write the part of the command line's page that the parser knows best.

Run it with the package installed: `.venv/bin/python scripts/command_line.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from flametrench_tenancy_sqlalchemy.cli.answers import MEANINGS
from flametrench_tenancy_sqlalchemy.cli.documents import FIELDS, TITLES
from flametrench_tenancy_sqlalchemy.cli.parser import PROGRAM, Argument, Command, commands

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"
MARK: Final = "<!-- from here on written by scripts/command_line.py -->\n"
BAR: Final = r"\|"
SHARED: Final = 5
"""In how many commands an option has to be for a place in the common table."""


def page() -> str:
    """Return the page as it should be."""
    head, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    return f"{head}{mark}\n" + "\n".join(_written())


def _written() -> Iterator[str]:
    places = [place for place in commands() if place.path and not place.below]
    taken = Counter(option for place in places for option in map(_row, _options(place)))
    shared = {option for option, times in taken.items() if times >= SHARED}

    yield "## Exit codes\n"
    yield from _table("code", "meaning", ((str(int(code)), MEANINGS[code]) for code in MEANINGS))
    yield "\n## Fields\n"
    yield from _table(
        "entity",
        "fields",
        ((TITLES[kind], ", ".join(f"`{name}`" for name in FIELDS[kind])) for kind in FIELDS),
    )
    yield "\n## Options of many commands\n"
    yield from _table("option", "meaning", sorted(shared))
    yield "\n## Commands"
    for place in places:
        yield f"\n### {' '.join(place.path)}\n"
        yield f"{place.what}{f' {place.more}' if place.more else ''}\n"
        positional = [each.names[0] for each in place.arguments if not each.is_option]
        yield f"    {' '.join((PROGRAM, *place.path, *positional))}\n"
        own = [_row(each) for each in place.arguments if not _is_help(each)]
        own = [row for row in own if row not in shared]
        if own:
            yield from _table("argument", "meaning", own)
        also = [each.names[-1] for each in _options(place) if _row(each) in shared]
        yield f"\nAlso: {', '.join(f'`{name}`' for name in also)}."


def _options(place: Command) -> Iterator[Argument]:
    return (each for each in place.arguments if each.is_option and not _is_help(each))


def _is_help(argument: Argument) -> bool:
    return "--help" in argument.names


def _row(argument: Argument) -> tuple[str, str]:
    value = f" {argument.value}" if argument.value else ""
    needed = " (required)" if argument.is_option and argument.required else ""
    what = argument.what[0].upper() + argument.what[1:] + "." + needed
    return f"`{', '.join(argument.names)}{value}`", what


def _table(first: str, second: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"| {first} | {second} |"
    yield "| --- | --- |"
    for left, right in rows:
        yield f"| {left.replace('|', BAR)} | {right} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
