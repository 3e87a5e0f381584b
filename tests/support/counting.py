"""The statements that a Session or an engine sends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from tests.support.isolation import ISOLATED

_TELLS = re.compile(r"set_config\('tenancy.org'|row_security_active")
_SAVEPOINTS = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")


class Sent(str):
    """A statement, with its parameters as the driver gets them."""

    parameters: Any


@contextmanager
def sent(source: Session | Engine) -> Iterator[list[Any]]:
    """Collect each `Sent` of a Session's transaction or an engine, savepoints left out.

    Under row-level security, so is what tells whose rows are to be seen.

    One that the driver gets with many rows of parameters (``executemany``) is in there once:
    psycopg pipelines it, so that it waits for the server once.
    """
    statements: list[Sent] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(_SAVEPOINTS) and not (ISOLATED and _TELLS.search(statement)):
            statements.append(Sent(statement))
            statements[-1].parameters = parameters

    target = source if isinstance(source, Engine) else source.connection()
    event.listen(target, "after_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(target, "after_cursor_execute", note)
