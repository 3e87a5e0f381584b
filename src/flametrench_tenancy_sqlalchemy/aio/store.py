"""The operations, each awaited in a transaction of its own; or several of them in one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

import stamina
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session

from .._integrity import is_transient
from ..clock import Clock, utc_now
from ..policy import LETTER, Policy
from ..repository import TenancyRepository
from ..repository.kinds import Kind, kind_of
from ..store import ATTEMPTS, WAITS, may_try_again
from ..transactions.own import commit, committed, require_factory, rules_in_our_words
from .operations import Operations
from .repository import OWN, AsyncTenancyRepository

P = ParamSpec("P")
R = TypeVar("R")

AsyncSessionFactory = Callable[[], AsyncSession]


@asynccontextmanager
async def unit_of_work(
    session_factory: AsyncSessionFactory, *, clock: Clock = utc_now, policy: Policy = LETTER
) -> AsyncIterator[AsyncTenancyRepository]:
    """Run several operations in one transaction, committed at the end of the block.

    Args:
        session_factory: returns a new ``AsyncSession``; an ``async_sessionmaker`` does.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.

    Yields:
        A repository; its ``session`` takes the caller's own rows into the same transaction.

    Raises:
        TypeError: ``session_factory`` is an ``async_scoped_session``, whose Session is in use.
        TenancyError: at the commit; what was written breaks a rule that the schema upholds, or a
            lock was not to be had in time.
        OutcomeUnknownError: the connection was lost at the commit.
    """
    require_factory(session_factory, "session_factory", async_scoped_session)
    async with session_factory() as session:
        with rules_in_our_words():
            async with session.begin():
                yield AsyncTenancyRepository(session, clock=clock, policy=policy)
                if session.in_transaction():  # which the block may have ended itself
                    await session.run_sync(commit)


class AsyncTenancyStore(Operations):
    """The operations of tenancy, each awaited in a transaction of its own.

    What an operation returns is detached and stays readable. A serialization failure or deadlock
    is tried again, at once and then after growing, jittered waits; the last one is raised as it is.
    What has waited too long, for a lock or a connection, is not: the caller has waited already.
    Nor is what may have been committed: of all errors, `OutcomeUnknownError` alone leaves it open.

    Args:
        session_factory: returns a new ``AsyncSession`` for each call; an ``async_sessionmaker``
            does.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
        attempts: how often an operation is tried at the most.
        reads: returns a new ``AsyncSession`` for each operation that only reads, say on a replica
            or an engine in AUTOCOMMIT; the same factory, if no other is given.
        guards: returns a new ``AsyncSession`` for each operation that lets requests pass
            (``require_role``, ``role_of``, ``find_membership``), which no replica can answer; the
            first factory, if no other is given, say one on the primary in AUTOCOMMIT.

    Raises:
        TypeError: a factory is an ``async_scoped_session``, whose Session is in use.
    """

    def __init__(
        self,
        session_factory: AsyncSessionFactory,
        *,
        clock: Clock = utc_now,
        policy: Policy = LETTER,
        attempts: int = ATTEMPTS,
        reads: AsyncSessionFactory | None = None,
        guards: AsyncSessionFactory | None = None,
    ) -> None:
        require_factory(session_factory, "session_factory", async_scoped_session)
        require_factory(reads, "reads", async_scoped_session)
        require_factory(guards, "guards", async_scoped_session)
        self._session_factory = session_factory
        self._elsewhere = {Kind.READS: reads, Kind.GUARDS: guards}
        self._repository = partial(TenancyRepository._within, OWN, clock=clock, policy=policy)
        self._attempts = attempts

    async def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        attempts = self._attempts
        if not stamina.is_testing():  # which counts attempts by itself
            attempts -= 1
            try:
                return await self._once(operation, *args, **kwargs)
            except DBAPIError as exc:
                if not may_try_again(exc, attempts):
                    raise
        # Only now: preparing for retries takes longer than many an operation.
        again = stamina.AsyncRetryingCaller(attempts=attempts, **WAITS).on(is_transient)
        return await again(self._once, operation, *args, **kwargs)

    async def _once(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        kind = kind_of(operation)

        def run(session: Session) -> R:
            with committed(session, writes=kind is Kind.WRITES):
                return operation(self._repository(session), *args, **kwargs)

        factory = self._elsewhere.get(kind) or self._session_factory
        async with factory() as session:
            return await session.run_sync(run)
