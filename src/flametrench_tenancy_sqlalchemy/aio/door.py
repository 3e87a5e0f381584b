"""What makes an operation one that is awaited."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from itertools import islice
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

from ..audit.base import STREAMED

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

AnyAsyncSession = AsyncSession | async_scoped_session[AsyncSession]


def itself(session: AnyAsyncSession) -> AsyncSession:
    """Return the Session that a scoped one stands for."""
    return session() if isinstance(session, async_scoped_session) else session


class Door(Protocol[T_co]):
    """Whatever can run an operation and await its result."""

    async def _run(
        self,
        operation: Callable[Concatenate[T_co, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...


def awaited(
    method: Callable[Concatenate[T, P], R],
) -> Callable[Concatenate[Door[T], P], Coroutine[Any, Any, R]]:
    """Make an operation of the repository one that is awaited, signature and all."""

    @functools.wraps(method)
    async def call(self: Door[T], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(method, *args, **kwargs)

    return call


def streamed(
    method: Callable[Concatenate[T, P], Iterator[R]],
) -> Callable[Concatenate[Door[T], P], AsyncIterator[R]]:
    """Make what returns an iterator one whose rows are awaited, a thousand at a time."""

    @functools.wraps(method)
    async def stream(self: Door[T], /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        rows = await self._run(method, *args, **kwargs)
        while held := await self._run(lambda _: [*islice(rows, STREAMED)]):
            for row in held:
                yield row

    return stream
