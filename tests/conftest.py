"""Short names for the plugin's fixtures, and what only this repository's own tests need."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, text

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.migrations.grants import grants
from flametrench_tenancy_sqlalchemy.testing import plugin, servers
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from tests.support import cluster
from tests.support.isolation import ISOLATED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL, Engine
    from sqlalchemy.orm import Session

    from flametrench_tenancy_sqlalchemy import Membership, Organization, User
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
    from flametrench_tenancy_sqlalchemy.testing.servers import Server

# How long an example takes depends on the machine and on its neighbours, not on what is tested.
settings.register_profile("tenancy", deadline=None, print_blob=True)
settings.load_profile("tenancy")

# The packages that stand beside ours have an environment of their own.
NEIGHBOURS_ARE_HERE = find_spec("advanced_alchemy") is not None
collect_ignore = [] if NEIGHBOURS_ARE_HERE else ["neighbours"]


def pytest_report_header() -> list[str]:
    """Say what is left out."""
    left_out = {
        "tests/neighbours: left out (make neighbours)": NEIGHBOURS_ARE_HERE,
        f"tests of a cluster: left out ({cluster.URL_VARIABLE})": cluster.COORDINATOR,
    }
    return [line for line, is_here in left_out.items() if not is_here]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin where the package runs from a checkout, without its entry point."""
    if cluster.COORDINATOR:
        os.environ[servers.URL_VARIABLE] = cluster.COORDINATOR
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "flametrench_tenancy")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the server before the header, which names it."""
    if not session.config.option.collectonly:
        plugin.start_server(session.config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what tries an operation on all organizations, among others."""
    for item in items:
        if re.search(r"\[.*\b(list_orgs|expire_invitations)\b", item.name):
            item.add_marker("sees_all")


@pytest.fixture(scope="session")
def tenancy_databases(tenancy_server: Server) -> Databases:
    """Databases, or cells in their place."""
    kind = cluster.CellsForDatabases if cluster.COORDINATOR else Databases
    return kind(tenancy_server)


@pytest.fixture(scope="session")
def server(tenancy_server: Server) -> Server:
    """The PostgreSQL server of this test run."""
    return tenancy_server


@pytest.fixture(scope="session")
def database_url(tenancy_database_url: URL) -> URL:
    """This worker's migrated database."""
    return tenancy_database_url


@pytest.fixture(scope="session")
def owner_engine(database_url: URL) -> Iterator[Engine]:
    """An engine on this worker's database, as the owner of its tables."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def tenancy_engine(owner_engine: Engine) -> Iterator[Engine]:
    """An engine on this worker's database; as a request's role, if `TENANCY_TEST_ROLE` says so."""
    purpose = os.environ.get("TENANCY_TEST_ROLE")
    if purpose is None:
        yield owner_engine
        return
    role = f"{owner_engine.url.database}_{purpose}"
    branches = ["rls"] if ISOLATED else []
    with owner_engine.begin() as connection:
        upgrade(connection, branches=branches)
        for statement in (f'CREATE ROLE "{role}"', *grants(role, purpose, branches=branches)):
            connection.execute(text(statement))
    engine = create_engine(owner_engine.url.update_query_dict({"options": f"-c role={role}"}))
    yield engine
    engine.dispose()
    with owner_engine.begin() as connection:
        connection.execute(text(f'DROP OWNED BY "{role}"'))
        connection.execute(text(f'DROP ROLE "{role}"'))


@pytest.fixture(scope="session")
def engine(tenancy_engine: Engine) -> Engine:
    """An engine on this worker's database."""
    return tenancy_engine


@pytest.fixture
def session(tenancy_session: Session) -> Session:
    """A Session whose work is gone after the test."""
    return tenancy_session


@pytest.fixture
def clean_engine(tenancy_clean_engine: Engine) -> Engine:
    """The worker's engine, for tests that commit: the tables are emptied afterwards."""
    return tenancy_clean_engine


@pytest.fixture
def new_database(tenancy_new_database: NewDatabase) -> NewDatabase:
    """Creates throw-away databases, empty or migrated, and drops them after the test."""
    return tenancy_new_database


@pytest.fixture
def make_user(tenancy_make_user: Callable[..., User]) -> Callable[..., User]:
    """Adds users to the test's Session."""
    return tenancy_make_user


@pytest.fixture
def make_org(tenancy_make_org: Callable[..., Organization]) -> Callable[..., Organization]:
    """Creates organizations in the test's Session."""
    return tenancy_make_org


@pytest.fixture
def make_member(tenancy_make_member: Callable[..., Membership]) -> Callable[..., Membership]:
    """Adds members in the test's Session."""
    return tenancy_make_member
