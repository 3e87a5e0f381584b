"""The ways to run an operation of the asynchronous door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from flametrench_tenancy_sqlalchemy.aio import (
    AsyncTenancyRepository,
    AsyncTenancyStore,
    unit_of_work,
)

AsyncTenancy: TypeAlias = AsyncTenancyRepository | AsyncTenancyStore
AsyncCall: TypeAlias = Callable[[AsyncTenancy], Awaitable[Any]]
Factory: TypeAlias = async_sessionmaker[AsyncSession]
Run: TypeAlias = Callable[[Factory, AsyncCall], Awaitable[Any]]


async def in_the_callers_transaction(factory: Factory, call: AsyncCall) -> Any:
    """Run an operation in a transaction that its caller began and commits."""
    async with factory() as session, session.begin():
        return await call(AsyncTenancyRepository(session))


async def in_a_unit_of_work(factory: Factory, call: AsyncCall) -> Any:
    """Run an operation in a transaction for several."""
    async with unit_of_work(factory) as tenancy:
        return await call(tenancy)


async def standalone(factory: Factory, call: AsyncCall) -> Any:
    """Run an operation in a transaction of its own."""
    return await call(AsyncTenancyStore(factory))


in_every_way = pytest.mark.parametrize(
    "run", [in_the_callers_transaction, in_a_unit_of_work, standalone]
)
