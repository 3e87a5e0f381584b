"""The pytest plugin: fixtures named `tenancy_…`, on one PostgreSQL server per test run.

The server is the one that `TENANCY_TEST_DATABASE_URL` names, else a container where a Docker
engine answers (`TENANCY_TEST_POSTGRES_IMAGE`, default postgres:18-alpine), else the embedded
server. `TENANCY_TEST_DRIVER` names the SQLAlchemy driver, default psycopg.

Nothing happens until a test asks for one of the fixtures. Whatever is heavy is imported by the
fixture that needs it.
"""

# ruff: noqa: PLC0415 - a run that uses no fixture of ours must not pay for their imports

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Protocol

import pytest

from .handover import ServerGuest, ServerOwner, ServerSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL, Engine
    from sqlalchemy.orm import Session
    from xdist.workermanage import WorkerController

    from flametrench_tenancy_sqlalchemy import Membership, Organization, User

    from .databases import Databases
    from .servers import Server

_SOURCE = pytest.StashKey[ServerSource]()
_SHOWN = pytest.StashKey[bool]()
_INVITATION = "tenancy_server"


class NewDatabase(Protocol):
    """Creates a throw-away database, empty unless it is asked to be migrated."""

    def __call__(self, *, migrated: bool = False) -> URL: ...  # noqa: D102 - said above


def start_server(config: pytest.Config) -> Server:
    """Start the run's server now rather than at its first use, so that the header can name it."""
    return config.stash[_SOURCE].get()


def pytest_configure(config: pytest.Config) -> None:
    """Decide who this process gets its server from; start nothing yet."""
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_SOURCE] = ServerGuest(worker[_INVITATION])
        return
    owner = ServerOwner()
    config.stash[_SOURCE] = owner
    config.add_cleanup(owner.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tell a worker of pytest-xdist where to ask for the server."""
    owner = node.config.stash[_SOURCE]
    assert isinstance(owner, ServerOwner)  # noqa: S101 - workers have no workers of their own
    node.workerinput[_INVITATION] = owner.invite()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which server the tests run on, where it has been started already."""
    line = _server_line(config)
    config.stash[_SHOWN] = line is not None
    return line


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say in the end which server the tests ran on, where the header could not."""
    line = _server_line(config)
    if line and not config.stash.get(_SHOWN, False):
        terminalreporter.write_line(line)


def _server_line(config: pytest.Config) -> str | None:
    source = config.stash[_SOURCE]
    if isinstance(source, ServerOwner) and source.server is not None:
        return f"tenancy database: {source.server}"
    return None


@pytest.fixture(scope="session")
def tenancy_server(pytestconfig: pytest.Config) -> Server:
    """The PostgreSQL server of this test run, shared by all workers."""
    return start_server(pytestconfig)


@pytest.fixture(scope="session")
def tenancy_databases(tenancy_server: Server) -> Databases:
    """What creates and drops the databases of this test run."""
    from .databases import Databases

    return Databases(tenancy_server)


@pytest.fixture(scope="session")
def tenancy_migrate() -> Callable[[URL], object]:
    """What brings an empty database up to date; override it to add your own migrations."""
    from flametrench_tenancy_sqlalchemy.migrations import upgrade

    return upgrade


@pytest.fixture(scope="session")
def tenancy_template(tenancy_databases: Databases, tenancy_migrate: Callable[[URL], object]) -> str:
    """The database that all others are cloned from, migrated once per test run."""
    return tenancy_databases.ensure_template("template", tenancy_migrate)


@pytest.fixture(scope="session")
def tenancy_database_url(
    tenancy_databases: Databases, tenancy_template: str, pytestconfig: pytest.Config
) -> Iterator[URL]:
    """A migrated database of this worker's own."""
    name = getattr(pytestconfig, "workerinput", {}).get("workerid", "main")
    yield tenancy_databases.create(name, template=tenancy_template)
    tenancy_databases.drop(name)


@pytest.fixture(scope="session")
def tenancy_engine(tenancy_database_url: URL) -> Iterator[Engine]:
    """An engine on this worker's database."""
    from sqlalchemy import create_engine

    engine = create_engine(tenancy_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def tenancy_session(tenancy_engine: Engine) -> Iterator[Session]:
    """A Session whose work, committed or not, is gone after the test."""
    from sqlalchemy.orm import Session

    with tenancy_engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        outer.rollback()


@pytest.fixture
def tenancy_clean_engine(tenancy_engine: Engine, tenancy_database_url: URL) -> Iterator[Engine]:
    """The worker's engine, for tests that commit: the tables are emptied afterwards."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    from .databases import empty_tables

    yield tenancy_engine
    # As their owner: the engine may be a request's.
    with create_engine(tenancy_database_url, poolclass=NullPool).begin() as connection:
        empty_tables(connection)


@pytest.fixture
def tenancy_new_database(
    tenancy_databases: Databases, request: pytest.FixtureRequest
) -> Iterator[NewDatabase]:
    """Creates throw-away databases, empty or migrated, and drops them after the test."""
    created: list[str] = []

    def create(*, migrated: bool = False) -> URL:
        # Asked for only when needed: a test of an empty database needs no migrations that work.
        template = request.getfixturevalue("tenancy_template") if migrated else None
        name = f"new_{secrets.token_hex(4)}"
        url = tenancy_databases.create(name, template=template)
        created.append(name)
        return url

    yield create
    for name in created:
        tenancy_databases.drop(name)


@pytest.fixture
def tenancy_make_user(tenancy_session: Session) -> Callable[..., User]:
    """`make_user` on the test's Session."""
    from .factories import make_user

    return partial(make_user, tenancy_session)


@pytest.fixture
def tenancy_make_org(tenancy_session: Session) -> Callable[..., Organization]:
    """`make_org` on the test's Session."""
    from .factories import make_org

    return partial(make_org, tenancy_session)


@pytest.fixture
def tenancy_make_member(tenancy_session: Session) -> Callable[..., Membership]:
    """`make_member` on the test's Session."""
    from .factories import make_member

    return partial(make_member, tenancy_session)
