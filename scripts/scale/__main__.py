"""``python -m scripts.scale measure`` and ``… plan``, run in the checkout.

`measure` runs on the server that `TENANCY_TEST_DATABASE_URL` names, or on the embedded one, in
databases of its own. Ten million memberships need 15 GB of disk and half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server, running_server

from . import cells, load, seed, sizes, vacuum
from .plan import Application, plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MEASURED: Final = Path(__file__).parents[2] / "docs" / "benchmarks" / "scale.json"
PARTS: Final = ("sizes", "cells", "load", "vacuum")
SETTINGS: Final = ("fsync", "synchronous_commit", "shared_buffers", "max_wal_size")


def main() -> None:
    """Measure a server, or say what an application needs."""
    parser = argparse.ArgumentParser(prog="python -m scripts.scale", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    measuring = commands.add_parser("measure", help="measure a server; takes half an hour")
    measuring.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all, if none is named")
    measuring.add_argument("--members", type=int, default=10_000_000)
    measuring.add_argument("--seconds", type=float, default=10.0, help="for each load")
    measuring.set_defaults(run=measure)
    planning = commands.add_parser("plan", help="say what an application of some size needs")
    for field in fields(Application):
        name, kind = field.name.replace("_", "-"), type(field.default)
        planning.add_argument(f"--{name}", type=kind, default=field.default)
    planning.set_defaults(run=planned)
    arguments = vars(parser.parse_args())
    arguments.pop("run")(**arguments)


def measure(parts: list[str], members: int, seconds: float) -> None:
    """Measure what is asked for, and write it where the documentation has its figures."""
    found = json.loads(MEASURED.read_text()) if MEASURED.exists() else {"figures": {}}
    with running_server() as server:
        found |= {"environment": _environment(server), "members": members}
        for name, figure in _figures(server, parts or PARTS, members, seconds):
            print(f"{name}: {figure:,.2f}", flush=True)
            found["figures"][name] = round(figure, 3)
    MEASURED.write_text(json.dumps(found, indent=1) + "\n")


def _figures(
    server: Server, parts: Sequence[str], members: int, seconds: float
) -> Iterator[tuple[str, float]]:
    databases = Databases(server)
    try:
        if "sizes" in parts:
            yield from sizes.measure(databases.create("sizes"))
        if "cells" in parts:
            yield from cells.measure(databases.create("cells"))
        large = databases.create("large")
        if {"load", "vacuum"} & {*parts}:
            yield from seed.fill(large, members)
        if "load" in parts:
            yield from load.measure(large, members, seconds)
        if "vacuum" in parts:
            yield from vacuum.measure(large, members)
    finally:
        databases.drop_all()


def _environment(server: Server) -> dict[str, str]:
    with create_engine(server.url, poolclass=NullPool).connect() as connection:
        shown = {name: connection.scalar(text(f"SHOW {name}")) for name in SETTINGS}
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "server": f"PostgreSQL {server.version}",
        **shown,
    }


def planned(**sizes: Any) -> None:
    """Print what an application of some size needs, by the figures measured."""
    figures = json.loads(MEASURED.read_text())["figures"]
    for name, need in plan(Application(**sizes), figures):
        print(f"{name:60} {need}")


if __name__ == "__main__":
    main()
