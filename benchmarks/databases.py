"""Where benchmarks run: databases of their own, dropped afterwards, on the tests' server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL

from benchmarks.sides import SIDES
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server, running_server


class Grounds:
    """Hands out migrated databases on one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._databases = Databases(server)
        self._names: list[str] = []

    def migrated(self, side: str) -> URL:
        """Create a database at the revision that a side runs on."""
        name = f"benchmark_{secrets.token_hex(4)}"
        url = self._databases.create(name)
        self._names.append(name)
        upgrade(url, SIDES[side].revision)
        return url

    def drop(self) -> None:
        """Drop the databases that were handed out."""
        for name in self._names:
            self._databases.drop(name)


@contextmanager
def grounds(server: Server | None = None) -> Iterator[Grounds]:
    """Hand out databases on a server: the one given, else the one the tests would find."""
    if server is None:
        with running_server() as found, grounds(found) as ready:
            yield ready
        return
    ground = Grounds(server)
    try:
        yield ground
    finally:
        ground.drop()
