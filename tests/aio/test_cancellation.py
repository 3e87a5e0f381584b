"""A client that is gone, or a time that is up, in the middle of an operation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.pool import QueuePool

from flametrench_tenancy_sqlalchemy import Base
from tests.support.asynchrony import AsyncCall, Factory, in_the_callers_transaction, standalone
from tests.support.operations import OPERATIONS, every_operation
from tests.support.rows import committed_rows
from tests.support.statements import Strike, await_blocked, backend_pid, struck

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

pytestmark = pytest.mark.anyio

Interruptible: TypeAlias = tuple["asyncio.Task[Any]", Callable[[], object]]
Start: TypeAlias = Callable[[], Interruptible]

# Those that skip what others have locked wait for nobody.
every_waiting_operation = pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if o.name != "expire_invitations"], ids=str
)


def cancelled(work: Awaitable[Any]) -> Interruptible:
    """Start work, and return how to cancel it."""

    async def run() -> Any:
        return await work

    task = asyncio.create_task(run())
    return task, task.cancel


def timed_out(work: Awaitable[Any]) -> Interruptible:
    """Start work, and return how to let its time be up."""
    timeout = asyncio.timeout(None)

    async def run() -> Any:
        async with timeout:
            return await work

    return asyncio.create_task(run()), lambda: timeout.reschedule(0)


@pytest.fixture(params=["cancelled in the caller's transaction", "standalone, and timed out"])
def start(request: pytest.FixtureRequest, factory: Factory, call: AsyncCall) -> Start:
    """Starts the operation at hand, and tells how to interrupt it."""
    if request.param.startswith("cancelled"):
        return lambda: cancelled(in_the_callers_transaction(factory, call))
    return lambda: timed_out(standalone(factory, call))


async def interrupted(engine: AsyncEngine, start: Start, at: int) -> tuple[Strike, Any]:
    """Interrupt an operation at a statement; return whether there was one, and how it ended."""
    with struck(engine.sync_engine, at, before=lambda _: interrupt()) as strike:
        task, interrupt = start()
        (ending,) = await asyncio.gather(task, return_exceptions=True)
    return strike, ending


async def assert_usable(engine: AsyncEngine) -> None:
    """Expect no connection to be kept from the pool, and the next one to work."""
    pool = engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


@every_operation
async def test_at_any_statement_it_leaves_everything_or_nothing(
    clean_engine: Engine,
    async_engine: AsyncEngine,
    start: Start,
    request: pytest.FixtureRequest,
) -> None:
    before = committed_rows(clean_engine)
    at = 1
    strike, ending = await interrupted(async_engine, start, at)
    while strike.fell:
        assert isinstance(ending, asyncio.CancelledError | TimeoutError)
        await assert_usable(async_engine)
        if committed_rows(clean_engine) != before:
            # It was through already, which is its commit where it stands alone.
            assert "standalone" in request.node.name
            assert any(word in strike.statements[-1] for word in ("INSERT", "UPDATE", "DELETE"))
            return
        at += 1
        strike, ending = await interrupted(async_engine, start, at)

    assert at > 1
    assert not isinstance(ending, BaseException)
    assert committed_rows(clean_engine) != before


@every_waiting_operation
async def test_while_it_waits_for_a_lock_it_leaves_nothing(
    clean_engine: Engine, async_engine: AsyncEngine, observer: Engine, start: Start
) -> None:
    before = committed_rows(clean_engine)
    begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @event.listens_for(async_engine.sync_engine, "before_cursor_execute")
    def remember(connection: Connection, *_: object) -> None:
        if not begun.done():
            begun.set_result(backend_pid(connection))

    with observer.begin() as other:
        for table in Base.metadata.sorted_tables:
            other.execute(select(table.c.id).with_for_update())
        task, interrupt = start()
        await asyncio.to_thread(await_blocked, observer, await begun)
        interrupt()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await task

    assert committed_rows(clean_engine) == before
    await assert_usable(async_engine)
    again, _ = start()
    await again
    assert committed_rows(clean_engine) != before
