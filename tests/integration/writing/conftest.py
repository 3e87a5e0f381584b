"""A Session on each driver, whose work is gone after the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.support.cluster import ASYNC_DRIVERS

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

Play: TypeAlias = Callable[[Callable[[Session], Any]], Any]
"""Runs a scene on a Session, and rolls it back."""


@pytest.fixture(params=ASYNC_DRIVERS)
def play(request: pytest.FixtureRequest, engine: Engine, database_url: URL) -> Play:
    """Runs a scene on a Session of either driver, behind the asynchronous door of one of them."""

    def on_psycopg(scene: Callable[[Session], Any]) -> Any:
        with Session(engine) as session:
            return scene(session)

    async def on_asyncpg(scene: Callable[[Session], Any]) -> Any:
        engine = create_async_engine(database_url.set(drivername="postgresql+asyncpg"))
        try:
            async with AsyncSession(engine) as session:
                return await session.run_sync(scene)
        finally:
            await engine.dispose()

    if request.param == "psycopg":
        return on_psycopg
    return lambda scene: asyncio.run(on_asyncpg(scene))


@pytest.fixture
def now() -> datetime:
    """A time for clocks to stand still at."""
    return datetime.now(UTC) + timedelta(minutes=1)


@pytest.fixture(params=["by statement", "by flush"])
def listen(request: pytest.FixtureRequest) -> Callable[[Session], None]:
    """Makes a Session write in one way or the other."""

    def attach(session: Session) -> None:
        if request.param == "by flush":
            event.listen(session, "before_flush", lambda *_: None)

    return attach
