"""Asynchronous engines of both drivers, on a database that is empty afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import URL, Engine

    from tests.support.asynchrony import AsyncCall, Factory
    from tests.support.operations import Operation


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's drivers know one event loop, asyncio's."""
    return "asyncio"


@pytest.fixture(params=["psycopg", "asyncpg"])
async def async_engine(
    request: pytest.FixtureRequest, clean_engine: Engine
) -> AsyncIterator[AsyncEngine]:
    """An asynchronous engine, on one driver and the other."""
    engine = create_async_engine(clean_engine.url.set(drivername=f"postgresql+{request.param}"))
    yield engine
    await engine.dispose()


@pytest.fixture
def factory(async_engine: AsyncEngine) -> Factory:
    """What makes the application's asynchronous Sessions."""
    return async_sessionmaker(async_engine, expire_on_commit=False)


@pytest.fixture
def observer(database_url: URL) -> Engine:
    """A synchronous engine on the same database, for those who look on."""
    return create_engine(database_url, poolclass=NullPool)


@pytest.fixture
def call(operation: Operation, clean_engine: Engine) -> AsyncCall:
    """The operation at hand, its stage set and committed."""
    with Session(clean_engine) as session, session.begin():
        return cast("AsyncCall", operation.stage(session))
