"""The statements that a Session or an engine sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

_SAVEPOINTS = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")


@contextmanager
def sent(source: Session | Engine) -> Iterator[list[str]]:
    """Collect what a Session's transaction or an engine sends, savepoints left out.

    One that the driver gets with many rows of parameters (``executemany``) is in there once:
    psycopg pipelines it, so that it waits for the server once.
    """
    statements: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(_SAVEPOINTS):
            statements.append(statement)

    target = source if isinstance(source, Engine) else source.connection()
    event.listen(target, "after_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(target, "after_cursor_execute", note)
