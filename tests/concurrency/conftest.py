"""Databases to race on, which nobody else uses and nobody has to empty."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, create_engine

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from tests.support.races import Races
from tests.support.scenes import Scene, stage


@pytest.fixture(scope="session")
def race_engine(tenancy_databases: Databases, tenancy_template: str) -> Iterator[Engine]:
    """An engine on a database of this worker's own; what is left there disturbs nobody."""
    name = f"races_{secrets.token_hex(4)}"
    engine = create_engine(tenancy_databases.create(name, template=tenancy_template))
    yield engine
    engine.dispose()
    tenancy_databases.drop(name)


@pytest.fixture(scope="session")
def bare_engine(tenancy_databases: Databases) -> Iterator[Engine]:
    """An engine on a database whose schema upholds no rules: one revision behind."""
    name = f"bare_{secrets.token_hex(4)}"
    url = tenancy_databases.create(name)
    upgrade(url, "ft0001")
    engine = create_engine(url)
    yield engine
    engine.dispose()
    tenancy_databases.drop(name)


@pytest.fixture(scope="session")
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for those who race."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture(scope="session")
def races(race_engine: Engine, threads: ThreadPoolExecutor) -> Callable[[str], Races]:
    """Races at an isolation level of choice."""
    return lambda level: Races(race_engine, level, threads)


@pytest.fixture(scope="session")
def bare_races(bare_engine: Engine, threads: ThreadPoolExecutor) -> Callable[[str], Races]:
    """Races where the schema upholds no rules."""
    return lambda level: Races(bare_engine, level, threads)


@pytest.fixture
def scene(race_engine: Engine) -> Scene:
    """A new scene."""
    with race_engine.begin() as connection:
        (scene,) = stage(connection)
    return scene
