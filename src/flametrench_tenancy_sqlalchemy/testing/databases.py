"""Databases for tests: migrated once, cloned for each worker, dropped in the end."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .servers import Server

TABLES = ("tup", "inv", "mem", "org", "usr")


class Databases:
    """Creates and drops the databases of one test run on one server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def create(self, name: str, *, template: str | None = None) -> URL:
        """Create a database of this run, as a copy of another one if a template is named."""
        database = self._full_name(name)
        copied = f' TEMPLATE "{self._full_name(template)}"' if template else ""
        with self._maintenance() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{database}"{copied}')
        return self._server.database_url(database)

    def drop(self, name: str) -> None:
        """Drop a database of this run, whoever is still connected to it."""
        with self._maintenance() as connection:
            self._drop(connection, self._full_name(name))

    def drop_all(self) -> None:
        """Drop every database of this run, those of crashed workers included."""
        with self._maintenance() as connection:
            mine = text("SELECT datname FROM pg_database WHERE starts_with(datname, :prefix)")
            for name in connection.scalars(mine, {"prefix": self._full_name("")}).all():
                self._drop(connection, name)

    def ensure_template(self, name: str, migrate: Callable[[URL], object]) -> str:
        """Migrate a database to clone from, once per run, whichever worker comes first."""
        finished = self._full_name(name)
        with self._maintenance() as connection:
            # Held until the connection closes; the others wait here and then find it done.
            connection.execute(
                text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": finished}
            )
            if not self._exists(connection, finished):
                draft = f"{name}_{secrets.token_hex(4)}"
                migrate(self.create(draft))
                self._hang_up(connection, self._full_name(draft))
                # Only a database that is complete ever bears the template's name.
                connection.exec_driver_sql(
                    f'ALTER DATABASE "{self._full_name(draft)}" RENAME TO "{finished}"'
                )
        return name

    def _full_name(self, name: str) -> str:
        return f"{self._server.prefix}_{name}"

    @contextmanager
    def _maintenance(self) -> Iterator[Connection]:
        engine = create_engine(self._server.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            yield connection

    @staticmethod
    def _exists(connection: Connection, database: str) -> bool:
        query = text("SELECT true FROM pg_database WHERE datname = :name")
        return connection.scalar(query, {"name": database}) is not None

    @staticmethod
    def _hang_up(connection: Connection, database: str) -> None:
        """End the connections that a migration has left in a pool: they would be in the way."""
        idle = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        idle += "WHERE datname = :name AND state = 'idle'"
        connection.execute(text(idle), {"name": database})

    @staticmethod
    def _drop(connection: Connection, database: str) -> None:
        connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


def empty_tables(connection: Connection) -> None:
    """Empty our tables, with the audit log, and those of an application that refer to them."""
    # A test that leaves a transaction open gets an error, not a run that never ends.
    connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
    connection.exec_driver_sql("SET LOCAL tenancy.allow_truncate = on")
    log = "SELECT name FROM unnest(ARRAY['aud', 'aud_consumer', 'aud_skipped']) AS name "
    log += "WHERE to_regclass(name) IS NOT NULL"
    tables = [*TABLES, *connection.exec_driver_sql(log).scalars()]
    connection.exec_driver_sql(f"TRUNCATE {', '.join(tables)} CASCADE")
