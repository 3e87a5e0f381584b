"""The statements that a Session sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

_SAVEPOINTS = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")


@contextmanager
def sent(session: Session) -> Iterator[list[str]]:
    """Collect the statements that a Session's transaction sends, those of savepoints left out.

    One that the driver gets with many rows of parameters (``executemany``) is in there once:
    psycopg pipelines it, so that it waits for the server once.
    """
    statements: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(_SAVEPOINTS):
            statements.append(statement)

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", note)
