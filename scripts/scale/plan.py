"""What an application of some size needs, by what was measured: disk, processors, memory, cells.

What connections remember of cells is simulated: requests come to a few cells often and to most
seldom, and each goes through whichever connection is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from statistics import mean
from typing import Final

from .server import KIB

DAYS: Final = 30
BUSY: Final = 0.5
"""How much of a processor is to be used at the peak."""
SAMPLE: Final = 50
"""Connections that are simulated."""


@dataclass(frozen=True)
class Application:
    """Its size, and what it does at its peak, in a second."""

    organizations: int = 10_000
    members: int = 100
    """Of each organization."""
    guards: float = 1_000.0
    """`role_of`, in a second."""
    pages: float = 100.0
    """Lists, in a second."""
    changes: float = 50.0
    """Joins, other roles and invitations, in a second, a third of each."""
    turnover: float = 0.05
    """How many of the members have another role, or another member in their place, each month."""
    cells: int = 1
    connections: int = 100
    lifetime: float = 3_600.0
    """Seconds after which a connection is renewed."""

    @property
    def memberships(self) -> int:
        """How many there are in all."""
        return self.organizations * self.members


def plan(application: Application, measured: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield what an application needs, in words and a figure."""
    it, row = application, measured["bytes of mem a membership"]
    tables = row + measured["bytes of tup a membership"]
    users = measured["bytes of usr a user without attributes"]
    yield "memberships", f"{it.memberships:,}"
    yield (
        "disk for them, their tuples and users",
        f"{it.memberships * (tables + users) / 1e9:.1f} GB",
    )
    yield (
        "and each year, as the past stays",
        f"{it.memberships * it.turnover * 12 * row / 1e9:.2f} GB",
    )

    for side in ("server", "application"):
        busy = sum(
            rate * measured[f"{name}: ms of the {side}'s processor"] / 1e3
            for name, rate in _rates(it)
        )
        yield f"processors of the {side} at the peak, half idle", f"{busy / BUSY:.1f}"
    logged = sum(rate * measured[f"{name}: kB of write-ahead log"] for name, rate in _rates(it))
    yield "write-ahead log at the peak", f"{logged / 1e3:.2f} MB/s"

    changed = it.memberships * it.turnover / DAYS
    if changed:
        yield (
            "autovacuum begins with mem, by default, after",
            f"{it.memberships / 5 / changed:.0f} days",
        )
        yield "with a scale factor of 0.01, after", f"{it.memberships / 100 / changed:.1f} days"

    yield "organizations in a cell", f"{it.organizations / it.cells:,.0f}"
    catalogs = measured["MB of a database with one cell"] / 1e3
    catalogs += (it.cells - 1) * measured["kB of each further cell"] / 1e6
    yield "disk for catalogs and empty tables", f"{catalogs:.2f} GB"
    seen = _cells_seen(it, it.guards + it.pages + it.changes)
    memory = measured["MiB of a connection that has used one cell"]
    memory += (seen - 1) * measured["KiB of a connection for each further cell"] / KIB
    written = _cells_seen(it, it.changes)
    memory += written * measured["KiB of a connection more, where it has written"] / KIB
    yield "cells that a connection has used when it ends", f"{seen:.0f}"
    yield "memory of all connections then", f"{it.connections * memory / KIB:.2f} GiB"


def _rates(application: Application) -> Iterator[tuple[str, float]]:
    yield "role_of", application.guards
    yield "list_members", application.pages
    for name in ("add_member", "change_role", "create_invitation"):
        yield name, application.changes / 3


def _cells_seen(application: Application, rate: float) -> float:
    """Simulate some connections; return how many cells each has used at its end, on average."""
    requests = int(rate * application.lifetime / application.connections)
    random, cells = Random(0), range(application.cells)  # noqa: S311 - a simulation
    # As words in a text and visitors of sites: the second cell has half of the first one's.
    popularity = [1 / (number + 1) for number in cells]
    return mean(len(set(random.choices(cells, popularity, k=requests))) or 1 for _ in range(SAMPLE))
