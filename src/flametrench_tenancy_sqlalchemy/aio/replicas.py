"""How far the primary has come, and waiting for that on a replica, awaited."""

from __future__ import annotations

from .. import replicas
from .door import AnyAsyncSession, itself


async def position(session: AnyAsyncSession) -> str:
    """Return how far the primary has come, as ``replicas.position`` does."""
    return await itself(session).run_sync(replicas.position)


async def wait_for(
    session: AnyAsyncSession, position: str, *, timeout: float = replicas.TIMEOUT
) -> None:
    """Wait until a replica shows all that was committed before a position.

    As ``replicas.wait_for`` does, with the same arguments and errors.
    """
    await itself(session).run_sync(replicas.wait_for, position, timeout=timeout)
