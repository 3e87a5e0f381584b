"""A connection of our own, through either kind of driver; or a sentence on why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from alembic.util import CommandError
from sqlalchemy import URL, Connection, NullPool, create_engine

T = TypeVar("T")


class NoConnectionError(CommandError):
    """The database cannot be reached; the message says why."""


def on_connection(url: URL, work: Callable[[Connection], T], **execution_options: Any) -> T:
    """Connect, do something, and disconnect.

    It waits for the end of the work, where an event loop is running as well: a driver that is
    asynchronous only works in a thread with a loop of its own then.

    Args:
        url: the database.
        work: what to do.
        execution_options: of the connection.

    Raises:
        NoConnectionError: there is no connection; the error says why.
    """
    # Whoever has waited for somebody else must see what they committed.
    options = {
        "poolclass": NullPool,
        "isolation_level": "READ COMMITTED",
        "execution_options": execution_options,
    }
    with _explained(url):
        asynchronous = url.get_dialect().is_async
    if not asynchronous:
        with _explained(url):
            connection = create_engine(url, **options).connect()
        with connection:
            return work(connection)

    async def work_asynchronously() -> T:
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - needs an extra

        with _explained(url):
            connection = await create_async_engine(url, **options).connect()
        async with aclosing(connection):
            return await connection.run_sync(work)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work_asynchronously())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work_asynchronously()).result()


def reason(error: BaseException) -> str:
    """Return the first line of what a driver says."""
    said = getattr(error, "orig", None) or error
    match said.args:
        case [{"M": str(message)}]:  # pg8000 hands on the server's fields
            return message
    return next(iter(str(said).splitlines()), type(said).__name__)


@contextmanager
def _explained(url: URL) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        # Which is what drivers raise: their own errors, the network's, a TypeError.
        said = f"no connection by {url.drivername}: {reason(exc)}"
        raise NoConnectionError(said + _advice(url, exc)) from exc


def _advice(url: URL, error: Exception) -> str:
    match error:
        case TypeError() if url.drivername == "postgresql+asyncpg" and "sslmode" in url.query:
            return "; asyncpg has ssl instead"
        case ImportError() if url.drivername in {"postgresql", "postgresql+psycopg"}:
            # The package alone needs the system's libpq.
            return "; `pip install 'psycopg[binary]'` brings what it needs"
    return ""
