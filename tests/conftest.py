"""Short names for the plugin's fixtures, and what only this repository's own tests need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from flametrench_tenancy_sqlalchemy.testing import plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Engine
    from sqlalchemy.orm import Session

    from flametrench_tenancy_sqlalchemy import Membership, Organization, User
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
    from flametrench_tenancy_sqlalchemy.testing.servers import Server

# How long an example takes depends on the machine and on its neighbours, not on what is tested.
settings.register_profile("tenancy", deadline=None, print_blob=True)
settings.load_profile("tenancy")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin where the package runs from a checkout, without its entry point."""
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "flametrench_tenancy")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the server before the header, which names it."""
    if not session.config.option.collectonly:
        plugin.start_server(session.config)


@pytest.fixture(scope="session")
def server(tenancy_server: Server) -> Server:
    """The PostgreSQL server of this test run."""
    return tenancy_server


@pytest.fixture(scope="session")
def database_url(tenancy_database_url: URL) -> URL:
    """This worker's migrated database."""
    return tenancy_database_url


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
