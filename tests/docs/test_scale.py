"""The page on scale says what was measured, and what follows from it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Final

import pytest

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from scripts.scale.__main__ import MEASURED
from scripts.scale.load import CLIENTS, OPERATIONS
from scripts.scale.plan import Application, plan
from tests.support.guides import DOCS, Reader, chapters

PAGE: Final = DOCS / "concepts" / "scale.md"
FIGURES: Final[dict[str, float]] = json.loads(MEASURED.read_text(encoding="utf-8"))["figures"]
APPLICATION: Final = Application()
MEMORY: Final = "memory of all connections then"
TAKEN: Final = (
    *(f"ms of the {side}'s processor" for side in ("server", "application")),
    "kB of write-ahead log",
)


def needs(application: Application) -> dict[str, str]:
    return dict(plan(application, FIGURES))


def number(need: str) -> float:
    return float(need.partition(" ")[0].replace(",", ""))


def test_what_is_to_be_set_can_be_set_and_the_plan_is_what_the_command_prints(
    reader: Reader,
) -> None:
    upgrade(reader.database)
    [[settings, plan_]] = chapters("concepts/scale.md")
    reader.follow([settings])
    assert plan_.code == "".join(f"{it:60} {need}\n" for it, need in plan(APPLICATION, FIGURES))


def test_the_page_quotes_figures_that_were_measured() -> None:
    quoted = re.findall(r"^\| ([^|]+) \| ([\d,.]+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(quoted) == 4
    for name, figure in quoted:
        assert float(figure.replace(",", "")) == pytest.approx(FIGURES[name], rel=0.05), name


def test_the_page_shows_what_clients_got_done_and_what_an_operation_takes() -> None:
    page, operations = PAGE.read_text(encoding="utf-8"), [each.__name__ for each in OPERATIONS]
    for clients in CLIENTS:
        done = [f"{FIGURES[f'{name} a second, {clients} clients']:,.0f}" for name in operations]
        assert f"| {clients} | {' | '.join(done)} |" in page
    for what in TAKEN:
        taken = [f"{FIGURES[f'{name}: {what}']:.2f}" for name in operations]
        assert f"| {what} | {' | '.join(taken)} |" in page


def test_the_page_shows_what_vacuums_took() -> None:
    for share in ("a hundredth", "a fifth"):
        grown = FIGURES[f"% that mem grew by, {share} changed"]
        mem, tup = (FIGURES[f"s of a vacuum of {t}, {share} changed"] for t in ("mem", "tup"))
        guard = FIGURES[f"ms of a guard meanwhile, mem, {share} changed"]
        shown = f"| {share} | {grown:.0f} % | {mem:.0f} s | {guard:.2f} ms | {tup:.0f} s |"
        assert shown in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("cells", [10, 100, 1_000])
def test_the_page_shows_what_cells_cost_a_hundred_connections(cells: int) -> None:
    memory = [
        needs(replace(APPLICATION, cells=cells, lifetime=lifetime))[MEMORY]
        for lifetime in (3_600.0, 300.0)
    ]
    assert f"| {cells:,} | {' | '.join(memory)} |" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "more, need",
    [
        ({"organizations": 20_000}, "disk for them, their tuples and users"),
        ({"guards": 2_000.0}, "processors of the server at the peak, half idle"),
        ({"changes": 100.0}, "write-ahead log at the peak"),
        ({"cells": 100}, "disk for catalogs and empty tables"),
        ({"cells": 100}, MEMORY),
        ({"cells": 100, "lifetime": 36_000.0}, "cells that a connection has used when it ends"),
    ],
)
def test_more_of_it_needs_more(more: dict[str, float], need: str) -> None:
    larger = replace(APPLICATION, **more)  # type: ignore[arg-type]  # each of its own type
    assert number(needs(larger)[need]) > number(needs(APPLICATION)[need])


def test_a_connection_that_ends_early_remembers_fewer_cells() -> None:
    cells = replace(APPLICATION, cells=1_000, connections=1_000)
    early = replace(cells, lifetime=60.0)
    name = "cells that a connection has used when it ends"
    assert number(needs(early)[name]) < number(needs(cells)[name])
