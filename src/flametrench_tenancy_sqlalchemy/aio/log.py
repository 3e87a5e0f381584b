"""The audit log, inside the caller's async transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session

from ..audit import AuditLog
from ..clock import Clock, utc_now
from .door import AnyAsyncSession, awaited, itself, streamed

P = ParamSpec("P")
R = TypeVar("R")


class AsyncAuditLog:
    """The audit log, inside the caller's async transaction; see `AuditLog`.

    Args:
        session: the caller's ``AsyncSession``, or an ``async_scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
    """

    def __init__(self, session: AnyAsyncSession, *, clock: Clock = utc_now) -> None:
        self.session = session
        self._clock = clock

    write = awaited(AuditLog.write)
    get = awaited(AuditLog.get)
    query = awaited(AuditLog.query)
    count = awaited(AuditLog.count)
    export = streamed(AuditLog.export)
    follow = awaited(AuditLog.follow)
    behind = awaited(AuditLog.behind)
    skip = awaited(AuditLog.skip)
    lag = awaited(AuditLog.lag)
    members_at = awaited(AuditLog.members_at)
    role_at = awaited(AuditLog.role_at)
    timeline = streamed(AuditLog.timeline)

    async def _run(
        self,
        operation: Callable[Concatenate[AuditLog, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        def run(session: Session) -> R:
            return operation(AuditLog(session, clock=self._clock), *args, **kwargs)

        return await itself(self.session).run_sync(run)
