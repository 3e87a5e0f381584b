"""Statements as the server sees them, and faults at the n-th of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event, text

_LATEST = text("SELECT query FROM pg_stat_activity WHERE pid = :pid")


def backend_pid(connection: Connection) -> int:
    """Return the number of the server's process behind a connection."""
    pid: int = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    return pid


def terminate(engine: Engine, pid: int) -> None:
    """Kill the server's process behind somebody's connection, and see it gone."""
    with engine.connect() as connection:
        killed = connection.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        assert killed


@contextmanager
def seen_by_server(connection: Connection, engine: Engine) -> Iterator[list[str]]:
    """Collect the statements of a connection, in the words in which the server got them.

    The server shows the latest statement of each of its processes; it is read between them.
    """
    seen: list[str] = []
    pid = backend_pid(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as observer:

        def look(*_: object) -> None:
            seen.append(observer.execute(_LATEST, {"pid": pid}).scalar_one())

        event.listen(connection, "after_cursor_execute", look)
        try:
            yield seen
        finally:
            event.remove(connection, "after_cursor_execute", look)


class Strike:
    """A blow at the n-th statement of a connection: whether it fell, and where."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.statements: list[str] = []

    @property
    def fell(self) -> bool:
        """Whether there was an n-th statement."""
        return len(self.statements) >= self.at


@contextmanager
def struck(
    connection: Connection,
    at: int,
    *,
    before: Callable[[], object] | None = None,
    instead: str | None = None,
    after: Callable[[], object] | None = None,
) -> Iterator[Strike]:
    """Do something before or after the n-th statement, or run another one in its place."""
    strike = Strike(at)

    def on_before(
        conn: Connection, cursor: Any, statement: str, parameters: Any, *context_and_many: Any
    ) -> tuple[str, Any]:
        strike.statements.append(statement)
        if len(strike.statements) == at:
            if before:
                before()
            if instead:
                return instead, [()] if context_and_many[-1] else ()
        return statement, parameters

    def on_after(*_: object) -> None:
        if len(strike.statements) == at and after:
            after()

    event.listen(connection, "before_cursor_execute", on_before, retval=True)
    event.listen(connection, "after_cursor_execute", on_after)
    try:
        yield strike
    finally:
        event.remove(connection, "before_cursor_execute", on_before)
        event.remove(connection, "after_cursor_execute", on_after)
