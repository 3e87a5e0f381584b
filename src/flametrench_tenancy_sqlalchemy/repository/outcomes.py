"""Rows of a set on their way: each goes on, or stops at its error, without stopping the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..errors import TenancyError
from ..values import Outcome

T = TypeVar("T")
V = TypeVar("V")


def attempt(step: Callable[..., T], *args: object) -> Outcome[T]:
    """Return what becomes of a row in one step."""
    try:
        return Outcome(step(*args))
    except TenancyError as exc:
        return Outcome(error=exc.with_traceback(None))  # which would keep this frame alive


def then(rows: Sequence[Outcome[T]], step: Callable[[T], V]) -> list[Outcome[V]]:
    """Take the next step for the rows that have come this far."""
    return [attempt(step, row.value) if row.ok else Outcome(error=row.error) for row in rows]


def done(rows: Sequence[Outcome[T]]) -> list[T]:
    """Return the rows that have come this far."""
    return [row.unwrap() for row in rows if row.ok]


def settle(rows: Sequence[Outcome[T]], all_or_nothing: bool) -> None:
    """Raise the first error, where one is enough to undo them all, and name its row."""
    if all_or_nothing:
        for number, row in enumerate(rows):
            if row.error is not None:
                row.error.row = number
                row.error.add_note(f"This is about row {number} of the set, counted from 0.")
                raise row.error
