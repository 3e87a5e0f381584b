"""A database with an audit log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy.audit import AuditLog
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases, empty_tables
from flametrench_tenancy_sqlalchemy.testing.servers import Server
from tests.support.stage import Stage


@pytest.fixture(scope="session")
def logged_template(server: Server) -> str:
    """The database that those with a log are cloned from."""
    return Databases(server).ensure_template("logged", lambda url: upgrade(url, branches=["audit"]))


@pytest.fixture(scope="session")
def logged_engine(
    server: Server, logged_template: str, pytestconfig: pytest.Config
) -> Iterator[Engine]:
    """An engine on this worker's database with a log, as the owner of its tables."""
    databases = Databases(server)
    name = f"logged_{getattr(pytestconfig, 'workerinput', {}).get('workerid', 'main')}"
    engine = create_engine(databases.create(name, template=logged_template))
    yield engine
    engine.dispose()
    databases.drop(name)


@pytest.fixture
def logged(logged_engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back in the end."""
    with logged_engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


@pytest.fixture
def session(logged: Connection) -> Iterator[Session]:
    """A Session in that transaction."""
    with Session(logged, join_transaction_mode="create_savepoint") as session:
        yield session


@pytest.fixture
def log(stage: Stage) -> AuditLog:
    """The log, at the stage's clock."""
    return AuditLog(stage.session, clock=stage.clock)


@pytest.fixture
def clean_engine(logged_engine: Engine) -> Iterator[Engine]:
    """The engine for tests that commit: all tables are emptied afterwards."""
    yield logged_engine
    with logged_engine.begin() as connection:
        empty_tables(connection)
