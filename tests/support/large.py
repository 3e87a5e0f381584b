"""Databases that are large enough for the planner to have a choice."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, text

from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server


@contextmanager
def large_database(
    server: Server, template: str, seed: Callable[[Connection], object]
) -> Iterator[Engine]:
    """Yield an engine, on psycopg, on a database that has been filled and analyzed."""
    databases = Databases(server)
    name = f"large_{secrets.token_hex(4)}"
    url = databases.create(name, template=template).set(drivername="postgresql+psycopg")
    # Rows of a commit that might still be lost do not count as visible to all.
    engine = create_engine(url, connect_args={"options": "-c synchronous_commit=on"})
    with engine.begin() as connection:
        seed(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    yield engine
    engine.dispose()
    databases.drop(name)
