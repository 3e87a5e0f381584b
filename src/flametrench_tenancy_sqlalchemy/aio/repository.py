"""The operations inside the caller's async transaction."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session

from ..clock import Clock, utc_now
from ..policy import LETTER, Policy
from ..repository import TenancyRepository
from ..repository.frame import Unit
from ..transactions.own import own
from ..transactions.savepoint import savepoint
from ..transactions.sessions import AnySession, connection_of
from .door import AnyAsyncSession, itself
from .operations import Operations

P = ParamSpec("P")
R = TypeVar("R")


def _cancellable(unit: Unit) -> Unit:
    """Return a unit of work that may be cancelled at any statement.

    SQLAlchemy gives up a connection whose statement was cancelled, so that none in an unknown
    state comes back to the pool. psycopg hides some cancellations from it: one that meets the
    start of an ``executemany`` ends in an `AssertionError`, with the connection left in pipeline
    mode.
    """

    @contextmanager
    def cancellable(session: AnySession, operation: str) -> Iterator[None]:
        connection = connection_of(session)
        with unit(session, operation):
            try:
                yield
                session.flush()
            except AssertionError as exc:
                if not isinstance(exc.__context__, CancelledError):
                    raise
                connection.invalidate(exc)
                raise exc.__context__ from None

    return cancellable


SAVEPOINT, OWN = _cancellable(savepoint), _cancellable(own)


class AsyncTenancyRepository(Operations):
    """Organizations, memberships and invitations, inside the caller's async transaction.

    The same promises as `TenancyRepository`: savepoints of the caller's transaction, flushed, and
    never committed, rolled back or closed. What an operation returns is fully loaded; to read it
    after a commit, make the Session with ``expire_on_commit=False``.

    Args:
        session: the caller's ``AsyncSession``, or an ``async_scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """

    def __init__(
        self, session: AnyAsyncSession, *, clock: Clock = utc_now, policy: Policy = LETTER
    ) -> None:
        self.session = session
        self._repository = partial(TenancyRepository._within, SAVEPOINT, clock=clock, policy=policy)

    async def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        def run(session: Session) -> R:
            return operation(self._repository(session), *args, **kwargs)

        return await itself(self.session).run_sync(run)
