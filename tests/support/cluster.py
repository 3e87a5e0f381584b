"""A cluster of Citus in place of one server: what is a database elsewhere is a cell there.

`TENANCY_TEST_CITUS_URL` names a database on the coordinator, and then all tests of a run go there.
`make cells` runs those that ask for no more than operations do; the others say why they do not run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server

URL_VARIABLE: Final = "TENANCY_TEST_CITUS_URL"
COORDINATOR: Final = os.environ.get(URL_VARIABLE)

WORDS_OF_NODES: Final = frozenset({"23514", "XX000"})
"""What the schema's refusals are on a node: without a name, and at the commit without a cause."""

on_a_cluster: Final = pytest.mark.skipif(not COORDINATOR, reason="no cluster is named")


def on_one_server(reason: str) -> pytest.MarkDecorator:
    """Leave a test out of a run on a cluster, and say why."""
    return pytest.mark.skipif(bool(COORDINATOR), reason=f"on a cluster: {reason}")


# A test that has leftovers to empty says so with SET LOCAL, which must reach the node.
_SETTINGS: Final = (
    ("citus.enable_schema_based_sharding", "on"),
    ("citus.enable_unsafe_triggers", "on"),
    ("citus.propagate_set_commands", "local"),
)


ASYNC_DRIVERS: Final = (
    "psycopg",
    pytest.param("asyncpg", marks=on_one_server("asyncpg has another way to name a search path")),
)


class CellsForDatabases(Databases):
    """Creates and drops cells, each of which its URL leads to by the search path."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._coordinator = server.url

    def create(self, name: str, *, template: str | None = None) -> URL:
        """Create a cell of this run, with our tables if a template is named."""
        schema = self._full_name(name)
        settings = " ".join(
            f"-c {setting}={value}" for setting, value in (("search_path", schema), *_SETTINGS)
        )
        driver = self._server.database_url("").drivername
        url = self._coordinator.set(drivername=driver).update_query_dict({"options": settings})
        if template is not None:
            upgrade(url, schema=schema)
        else:
            with self._connected(url) as connection:
                connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        return url

    def drop(self, name: str) -> None:
        """Drop a cell of this run."""
        with self._connected(self._coordinator) as connection:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {self._full_name(name)} CASCADE")

    def drop_all(self) -> None:
        """Drop every cell of this run."""
        mine = text("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix)")
        with self._connected(self._coordinator) as connection:
            for schema in connection.scalars(mine, {"prefix": self._full_name("")}).all():
                connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")

    def ensure_template(self, name: str, migrate: Callable[[URL], object]) -> str:
        """Do nothing: a cell is no copy of another one."""
        return name

    @staticmethod
    @contextmanager
    def _connected(url: URL) -> Iterator[Connection]:
        engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            yield connection
