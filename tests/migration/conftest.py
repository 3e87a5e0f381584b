"""Databases to migrate."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.migrations.catalog import Part
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
from flametrench_tenancy_sqlalchemy.testing.servers import Server

from .state import tenancy_schema


def _engine(url: URL) -> Engine:
    """Return an engine through psycopg, whatever driver the other tests use."""
    return create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool)


@pytest.fixture
def empty(new_database: NewDatabase) -> Engine:
    """An engine on an empty database of the test's own, where it may commit."""
    return _engine(new_database())


@pytest.fixture(scope="session")
def _shared(server: Server) -> Iterator[Engine]:
    databases, name = Databases(server), f"blank_{secrets.token_hex(4)}"
    yield _engine(databases.create(name))
    databases.drop(name)


@pytest.fixture
def blank(_shared: Engine) -> Iterator[Connection]:
    """A connection to an empty database, in a transaction that is rolled back in the end."""
    with _shared.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


@pytest.fixture(scope="session")
def built(_shared: Engine) -> dict[Part, str]:
    """The schema as the first revision builds it from nothing."""
    with _shared.connect() as connection, connection.begin() as transaction:
        upgrade(connection, "ft0001")
        schema = tenancy_schema(connection)
        transaction.rollback()
    return schema
