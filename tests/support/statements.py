"""Statements as the server sees them, and faults at the n-th of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from tests.support.cluster import COORDINATOR

# Citus has another function of this name.
_TERMINATE = text("SELECT pg_terminate_backend(CAST(:pid AS integer), 5000)")
_LATEST = text("SELECT query FROM pg_stat_activity WHERE pid = :pid")
_WAITS = text("SELECT wait_event_type = 'Lock' FROM pg_stat_get_activity(:pid)")
# The lock is on another node, which alone knows for whom it asks.
_WAITS_ON_A_NODE = text(
    "SELECT EXISTS (SELECT FROM citus_lock_waits WHERE waiting_gpid % 10000000000 = :pid)"
)


def backend_pid(connection: Connection) -> int:
    """Return the number of the server's process behind a connection, past all listeners."""
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
        assert row
        pid: int = row[0]
        return pid


def latest_statement(engine: Engine, pid: int) -> str:
    """Return what the server was last asked through somebody's connection."""
    with engine.connect() as connection:
        statement: str = connection.execute(_LATEST, {"pid": pid}).scalar_one()
        return statement


def terminate(engine: Engine, pid: int) -> None:
    """Kill the server's process behind somebody's connection, and see it gone."""
    with engine.connect() as connection:
        assert connection.scalar(_TERMINATE, {"pid": pid})


def is_blocked(observer: Connection, pid: int) -> bool:
    """Tell whether the server's process behind somebody's connection waits for a lock."""
    return bool(observer.scalar(_WAITS_ON_A_NODE if COORDINATOR else _WAITS, {"pid": pid}))


def await_blocked(engine: Engine, pid: int) -> None:
    """Return as soon as somebody's connection waits for a lock."""
    deadline = time.monotonic() + 10
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not is_blocked(connection, pid):
            assert time.monotonic() < deadline, "it does not wait for a lock"


@contextmanager
def seen_by_server(source: Connection | Engine, observer: Engine) -> Iterator[list[str]]:
    """Collect the statements of a connection, in the words in which the server got them.

    The server shows the latest statement of each of its processes; it is read after each.
    """
    seen: list[str] = []
    pids: dict[object, int] = {}

    def meet(connection: Connection, *_: object) -> None:
        if connection not in pids:
            pids[connection] = backend_pid(connection)

    def look(connection: Connection, *_: object) -> None:
        if (statement := latest_statement(observer, pids[connection])) != "SELECT 1":
            seen.append(statement)

    event.listen(source, "before_cursor_execute", meet)
    event.listen(source, "after_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(source, "before_cursor_execute", meet)
        event.remove(source, "after_cursor_execute", look)


class Strike:
    """A blow at the n-th statement: whether it fell, and where."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.statements: list[str] = []

    @property
    def fell(self) -> bool:
        """Whether there was an n-th statement."""
        return len(self.statements) >= self.at


@contextmanager
def struck(
    source: Connection | Engine,
    at: int,
    *,
    before: Callable[[Connection], object] | None = None,
    instead: str | None = None,
) -> Iterator[Strike]:
    """Do something before the n-th statement, or run another one in its place."""
    strike = Strike(at)

    def on_before(
        conn: Connection, cursor: Any, statement: str, parameters: Any, *context_and_many: Any
    ) -> tuple[str, Any]:
        if statement == "SELECT 1":  # which is there for listeners, such as this one
            return statement, parameters
        strike.statements.append(statement)
        if len(strike.statements) == at:
            if before:
                before(conn)
            if instead:
                return instead, [()] if context_and_many[-1] else ()
        return statement, parameters

    event.listen(source, "before_cursor_execute", on_before, retval=True)
    try:
        yield strike
    finally:
        event.remove(source, "before_cursor_execute", on_before)
