"""Side by side with others who speak to the driver themselves, awaited."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from .. import neighbours
from ..clock import Clock, utc_now
from ..policy import LETTER, Policy
from ..repository import TenancyRepository
from ..transactions.own import committed
from ..transactions.sessions import in_transaction
from .door import AnyAsyncSession, itself
from .repository import SAVEPOINT
from .store import AsyncTenancyStore

if TYPE_CHECKING:
    import psycopg

P = ParamSpec("P")
R = TypeVar("R")


@asynccontextmanager
async def neighbour(session: AnyAsyncSession) -> AsyncIterator[Any]:
    """Lend a Session's connection to somebody who speaks to the driver, inside its transaction.

    As the synchronous one does. What the Session holds is to be refreshed before it is read
    again, all but the keys.

    Args:
        session: the caller's ``AsyncSession``, or an ``async_scoped_session``.

    Yields:
        The driver's own connection: psycopg's ``AsyncConnection``, or asyncpg's.

    Raises:
        InvalidRequestError: there is no transaction to take part in; SQLAlchemy's error.
    """
    session = itself(session)
    lending = neighbours.neighbour(session.sync_session)

    def end(_: Session, *exc_info: Any) -> bool | None:
        return lending.__exit__(*exc_info)

    async with AsyncExitStack() as stack:
        connection = await session.run_sync(lambda _: lending.__enter__())
        stack.push_async_exit(partial(session.run_sync, end))
        yield connection


def repository_on(
    connection: psycopg.AsyncConnection[Any], *, clock: Clock = utc_now, policy: Policy = LETTER
) -> AsyncTenancyStore:
    """Return the operations of tenancy on a psycopg connection that others own.

    Each is to the connection what its own ``transaction()`` is: a savepoint where a transaction is
    open, which it never ends, or else a transaction of its own. What it returns is detached and
    stays readable. In pipeline mode operations are refused.

    Args:
        connection: the connection, in autocommit or not.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.

    Raises:
        TypeError: it is no ``psycopg.AsyncConnection``.
    """
    return _AsyncVisitor(connection, clock=clock, policy=policy)


class _AsyncVisitor(AsyncTenancyStore):
    """The operations of tenancy in the transaction that is open, or each in one of its own."""

    def __init__(self, host: psycopg.AsyncConnection[Any], *, clock: Clock, policy: Policy) -> None:
        from ..transactions import visits  # noqa: PLC0415 - needs psycopg, an extra

        visits.require_connection(host, "AsyncConnection")
        super().__init__(async_sessionmaker(_engine()), clock=clock, policy=policy)
        self._host, self._visit = host, partial(visits.at, host)
        self._joining = partial(TenancyRepository._within, SAVEPOINT, clock=clock, policy=policy)

    async def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        def join(session: Session) -> R:
            with committed(session):
                return operation(self._joining(session), *args, **kwargs)

        with self._visit():
            if not in_transaction(self._host):
                return await super()._run(operation, *args, **kwargs)
            async with self._session_factory() as session:
                return await session.run_sync(join)


@functools.cache
def _engine() -> AsyncEngine:
    """Return the engine of all visits: one dialect, one cache of statements."""
    from ..transactions import visits  # noqa: PLC0415 - needs psycopg, an extra

    async def nothing() -> None:
        pass

    async def arrive() -> visits.Guest:
        return visits.Guest(visits.AsyncCursor, nothing)

    engine = create_async_engine(visits.URL, async_creator=arrive, **visits.OPTIONS)
    visits.begin_and_end(engine.sync_engine)
    return engine
