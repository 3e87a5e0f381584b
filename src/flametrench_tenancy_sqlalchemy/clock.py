"""The time of an operation: whoever makes a repository may bring the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Returns the current time as a timezone-aware datetime."""


def utc_now() -> datetime:
    """Return the current time; the clock of every repository that is given no other."""
    return datetime.now(UTC)


def time_of(clock: Clock) -> datetime:
    """Return what a clock says, in UTC.

    Raises:
        ValueError: it says a time without a timezone.
    """
    now = clock()
    if now.utcoffset() is None:
        raise ValueError(f"the clock returned {now!r}, which is not timezone-aware")
    return now.astimezone(UTC)
