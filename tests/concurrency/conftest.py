"""A database to race on, which nobody else uses and nobody has to empty."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, create_engine

from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server
from tests.support.races import Races


@pytest.fixture(scope="session")
def race_engine(server: Server, tenancy_template: str) -> Iterator[Engine]:
    """An engine on a database of this worker's own; what is left there disturbs nobody."""
    databases, name = Databases(server), f"races_{secrets.token_hex(4)}"
    engine = create_engine(databases.create(name, template=tenancy_template))
    yield engine
    engine.dispose()
    databases.drop(name)


@pytest.fixture(scope="session")
def races(race_engine: Engine) -> Iterator[Callable[[str], Races]]:
    """Races at an isolation level of choice."""
    with ThreadPoolExecutor(8) as threads:
        yield lambda level: Races(race_engine, level, threads)
