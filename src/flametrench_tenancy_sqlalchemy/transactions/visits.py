"""Visits to a psycopg connection that others own (extra ``psycopg``)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.exc import InvalidRequestError

from .sessions import in_transaction

if TYPE_CHECKING:
    from psycopg.adapt import AdaptersMap
    from sqlalchemy.pool import ConnectionPoolEntry

URL: Final = "postgresql+psycopg://"
OPTIONS: Final[dict[str, Any]] = {"poolclass": NullPool, "use_native_hstore": False}

_host: ContextVar[Any] = ContextVar("host")


@contextmanager
def at(host: Any) -> Iterator[None]:
    """Let the engines of visits find this connection in the block.

    Raises:
        InvalidRequestError: it is in pipeline mode, in which no statement has its result at once.
    """
    if host.info.pipeline_status:
        raise InvalidRequestError("operations do not run on a connection in pipeline mode")
    token = _host.set(host)
    try:
        yield
    finally:
        _host.reset(token)


def require_connection(host: object, kind: str) -> None:
    """Refuse what is no connection of psycopg's, or one for the other door.

    Raises:
        TypeError: it is not of this kind.
    """
    if not isinstance(host, getattr(psycopg, kind)):
        raise TypeError(f"connection must be a psycopg.{kind}, not {host!r}")


class _Plain:
    """Values as SQLAlchemy expects them, whatever the host has its own connection make of them."""

    __slots__ = ()

    @property
    def adapters(self) -> AdaptersMap:
        """The process's own."""
        return psycopg.adapters


class Cursor(_Plain, psycopg.Cursor[Any]):
    """psycopg's own, whatever the host has in its place."""

    __slots__ = ()


class AsyncCursor(_Plain, psycopg.AsyncCursor[Any]):
    """The same for asynchronous connections."""

    __slots__ = ()


class Guest:
    """The host's connection, as an engine sees it: what others have begun, it does not end.

    Args:
        cursor: the class of its cursors.
        nothing: does nothing, in the way of the driver's connections: awaited, or not.
    """

    def __init__(self, cursor: type[Any], nothing: Callable[[], object]) -> None:
        self._host = host = _host.get()
        self._cursor = cursor
        self.close = nothing
        if in_transaction(host):
            self.commit = self.rollback = nothing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def cursor(self) -> Any:
        """Return a cursor whose rows are tuples, whatever the host's own are."""
        return self._cursor(self._host, row_factory=tuple_row)

    def add_notice_handler(self, handler: object) -> None:
        """Leave the host's notices alone, to which each visit would add a handler."""


def begin_and_end(engine: Engine) -> None:
    """Have visits begin a transaction where none is open, in autocommit too, and leave none."""

    @event.listens_for(engine, "connect")
    def begin(connection: Any, record: ConnectionPoolEntry) -> None:
        if not in_transaction(connection):
            record.info["autocommit"] = connection.autocommit
            connection.set_autocommit(False)

    @event.listens_for(engine, "close")
    def end(connection: Any, record: ConnectionPoolEntry) -> None:
        if "autocommit" in record.info and not connection.closed:
            connection.rollback()
            connection.set_autocommit(record.info["autocommit"])


@functools.cache
def engine() -> Engine:
    """Return the engine of all visits: one dialect, one cache of statements."""
    visiting = create_engine(URL, creator=lambda: Guest(Cursor, lambda: None), **OPTIONS)
    begin_and_end(visiting)
    return visiting
