"""Behind PgBouncer in transaction pooling mode, with more clients than connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import TenancyStore
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyStore
from tests.support.drivers import BEHIND_A_POOLER, Driver
from tests.support.invariants import breaches
from tests.support.pgbouncer import SERVER_CONNECTIONS, running_pgbouncer
from tests.support.scenes import Scene, State, stage
from tests.support.steps import BY_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import URL, Engine

CLIENTS: Final = 3 * SERVER_CONNECTIONS
SEQUENCE: Final = [
    BY_NAME[name]
    for name in (
        "update_org",
        "add_member max",
        "change_role eve",
        "reinstate_membership sam",
        "suspend_org",
        "reinstate_org",
        "create_invitation",
        "accept_invitation by a new user",
        "transfer_ownership ann to bob",
    )
]

Play: TypeAlias = Callable[["URL", dict[str, Any], list[Scene]], None]


@pytest.fixture
def pooled(clean_engine: Engine, tmp_path: Path) -> Iterator[URL]:
    """The URL of the worker's database that leads through PgBouncer."""
    with running_pgbouncer(clean_engine.url, tmp_path) as url:
        yield url


def in_threads(url: URL, connect_args: dict[str, Any], scenes: list[Scene]) -> None:
    """Play the sequence on every scene at once, each client in a thread."""
    engine = create_engine(url, pool_size=len(scenes), connect_args=connect_args)
    store = TenancyStore(sessionmaker(engine))

    def play(scene: Scene) -> None:
        for step in SEQUENCE:
            step.call(store, scene)

    with ThreadPoolExecutor(len(scenes)) as threads:
        list(threads.map(play, scenes))
    engine.dispose()


def in_tasks(url: URL, connect_args: dict[str, Any], scenes: list[Scene]) -> None:
    """Play the sequence on every scene at once, each client a task."""

    async def play(store: Any, scene: Scene) -> None:
        for step in SEQUENCE:
            await cast("Awaitable[object]", step.call(store, scene))

    async def play_all() -> None:
        engine = create_async_engine(url, pool_size=len(scenes), connect_args=connect_args)
        store = AsyncTenancyStore(async_sessionmaker(engine))
        async with asyncio.TaskGroup() as clients:
            for scene in scenes:
                clients.create_task(play(store, scene))
        await engine.dispose()

    asyncio.run(play_all())


def states(engine: Engine, scenes: list[Scene]) -> list[State]:
    with engine.connect() as connection:
        return [scene.state(connection) for scene in scenes]


@pytest.mark.parametrize("driver", BEHIND_A_POOLER, ids=str)
def test_many_clients_on_few_connections_leave_what_one_leaves_without_it(
    clean_engine: Engine, pooled: URL, driver: Driver
) -> None:
    with clean_engine.begin() as connection:
        alone, *crowd = stage(connection, 1 + CLIENTS)
    in_threads(clean_engine.url, {}, [alone])
    play: Play = in_tasks if driver.asynchronous else in_threads

    play(pooled.set(drivername=f"postgresql+{driver.name}"), driver.connect_args, crowd)

    assert states(clean_engine, crowd) == states(clean_engine, [alone]) * CLIENTS
    with clean_engine.connect() as connection:
        assert breaches(connection) == []


def test_its_clients_share_connections(pooled: URL) -> None:
    engine = create_engine(pooled, pool_size=CLIENTS, connect_args={"prepare_threshold": None})
    with ExitStack() as connected:
        clients = [connected.enter_context(engine.connect()) for _ in range(CLIENTS)]
        served_by = set()
        for client in clients:
            served_by.add(client.scalar(text("SELECT pg_backend_pid()")))
            client.commit()
    engine.dispose()
    assert len(served_by) <= SERVER_CONNECTIONS
