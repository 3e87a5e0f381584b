"""The same application on every driver, synchronous or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Final, TypeAlias, TypeVar

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import TenancyStore, aio, unit_of_work

T = TypeVar("T")
Call: TypeAlias = Callable[[Any], Any]
"""An operation on a repository or store; asynchronous ones return what is to be awaited."""


@dataclass(frozen=True)
class Driver:
    """A driver, and the settings under which it is tried."""

    name: str
    setting: str = ""
    connect_args: dict[str, Any] = field(default_factory=dict)
    asynchronous: bool = False

    def __str__(self) -> str:
        door = "async " if self.asynchronous else ""
        setting = f" {self.setting}" if self.setting else ""
        return f"{door}{self.name}{setting}"

    def client(self, url: URL, **options: Any) -> Client:
        """Return a client of a database; its options are those of an engine."""
        if find_spec(self.name) is None:
            pytest.skip(f"the driver {self.name} is not installed")
        options = {"poolclass": NullPool, "connect_args": self.connect_args, **options}
        address = url.set(drivername=f"postgresql+{self.name}")
        return (AsyncClient if self.asynchronous else SyncClient)(address, options)


_PREPARING: Final = {"prepare_threshold": 0}
_NEVER_PREPARING: Final = {"prepare_threshold": None}
_NO_CACHE: Final = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}

DRIVERS: Final = [
    Driver("psycopg", "preparing", _PREPARING),
    Driver("psycopg", "never preparing", _NEVER_PREPARING),
    Driver("psycopg2"),
    Driver("pg8000"),
    Driver("psycopg", "preparing", _PREPARING, asynchronous=True),
    Driver("psycopg", "never preparing", _NEVER_PREPARING, asynchronous=True),
    Driver("asyncpg", asynchronous=True),
    Driver("asyncpg", "without caches", _NO_CACHE, asynchronous=True),
]

BEHIND_A_POOLER: Final = [
    driver for driver in DRIVERS if driver.connect_args in (_NEVER_PREPARING, _NO_CACHE)
]
"""Those that need no connection to be the same one in the next transaction."""


@dataclass
class SyncClient:
    """An application with a Session; each of its threads may use it, at the same time.

    It runs an operation ``alone``, standalone, or in a unit of work, with that one's options; or
    does synchronous work with a unit of work's Session, or with one in which nothing has begun.
    """

    url: URL
    options: dict[str, Any]

    @cached_property
    def _sessions(self) -> sessionmaker[Session]:
        return sessionmaker(create_engine(self.url, **self.options), expire_on_commit=False)

    def alone(self, call: Call, **options: Any) -> Any:
        return call(TenancyStore(self._sessions, **options))

    def run(self, call: Call, **options: Any) -> Any:
        with unit_of_work(self._sessions, **options) as tenancy:
            return call(tenancy)

    def work(self, act: Callable[[Session], T]) -> T:
        result: T = self.run(lambda tenancy: act(tenancy.session))
        return result

    def visit(self, act: Callable[[Session], T]) -> T:
        with self._sessions() as session:
            return act(session)


@dataclass
class AsyncClient:
    """An application with an AsyncSession; each call has an event loop and an engine of its own."""

    url: URL
    options: dict[str, Any]

    def alone(self, call: Call, **options: Any) -> Any:
        return self._asked(lambda sessions: call(aio.AsyncTenancyStore(sessions, **options)))

    def run(self, call: Call, **options: Any) -> Any:
        async def run(sessions: async_sessionmaker[AsyncSession]) -> Any:
            async with aio.unit_of_work(sessions, **options) as tenancy:
                return await call(tenancy)

        return self._asked(run)

    def work(self, act: Callable[[Session], T]) -> T:
        result: T = self.run(lambda tenancy: tenancy.session.run_sync(act))
        return result

    def visit(self, act: Callable[[Session], T]) -> T:
        async def visit(sessions: async_sessionmaker[AsyncSession]) -> T:
            async with sessions() as session:
                return await session.run_sync(act)

        return self._asked(visit)

    def _asked(self, ask: Callable[[async_sessionmaker[AsyncSession]], Awaitable[T]]) -> T:
        async def asked() -> T:
            engine = create_async_engine(self.url, **self.options)
            async with engine.connect():
                pass  # so that the engine knows its server, as an application's does
            return await ask(async_sessionmaker(engine, expire_on_commit=False))

        return asyncio.run(asked())


Client: TypeAlias = SyncClient | AsyncClient
"""An application on one driver."""
