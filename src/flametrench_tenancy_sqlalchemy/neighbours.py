"""Neighbours on the driver's own connection: they in our transaction, and we in theirs.

Other SDKs hold a raw psycopg connection, and run `connection.transaction()` on it: a savepoint where
a transaction is open, and one of its own where none is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, NoReturn, ParamSpec, TypeVar

from sqlalchemy import Engine, NullPool, create_engine, event, inspect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, sessionmaker

from .clock import Clock, utc_now
from .policy import LETTER, Policy
from .repository import TenancyRepository
from .store import TenancyStore
from .transactions.own import committed
from .transactions.savepoint import savepoint
from .transactions.sessions import (
    AnySession,
    connection_of,
    in_transaction,
    itself,
    where_writes_go,
)

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.pool import ConnectionPoolEntry

P = ParamSpec("P")
R = TypeVar("R")

URL: Final = "postgresql+psycopg://"
_ENDS: Final = ("commit", "rollback", "close")


@contextmanager
def neighbour(session: AnySession) -> Iterator[Any]:
    """Lend a Session's connection to somebody who speaks to the driver, inside its transaction.

    The block is a savepoint: the transaction has begun on the server, the Session's pending rows are
    there, and an exception takes back what was written since. Afterwards the Session reads anew
    what it holds, all but the keys.

    Args:
        session: the caller's Session, or a ``scoped_session``.

    Yields:
        The driver's own connection. psycopg's refuses to commit, roll back or close as long as
        it is lent, and its ``transaction()`` is a savepoint; other drivers' cannot all be kept
        from it, and then the block ends with the database's error.

    Raises:
        InvalidRequestError: there is no transaction to take part in; SQLAlchemy's error.
    """
    session = itself(session)
    try:
        with where_writes_go(session), savepoint(session, "neighbour"):
            connection = connection_of(session).connection.driver_connection
            with _kept_open(connection):
                yield connection
    finally:
        _read_anew(session)


@contextmanager
def _kept_open(connection: Any) -> Iterator[None]:
    """Forbid a connection to end its transaction, where a driver's connections can be told so."""
    told: dict[str, Any] = getattr(connection, "__dict__", {})
    before = {name: told[name] for name in _ENDS if name in told}  # by a block around this one
    told.update(dict.fromkeys(_ENDS, _refuse))
    try:
        yield
    finally:
        for name in _ENDS:
            del told[name]
        told.update(before)


def _refuse(*args: object) -> NoReturn:
    raise InvalidRequestError(
        "this connection is lent by a Session, which alone commits, rolls back and closes, after "
        "the block that lends it"
    )


def _read_anew(session: Session) -> None:
    """Forget what a Session holds, but not the keys: no neighbour changes them."""
    for entity in session.identity_map.values():
        mapper = inspect(entity).mapper
        keys = {mapper.get_property_by_column(column).key for column in mapper.primary_key}
        session.expire(entity, mapper.attrs.keys() - keys)


def repository_on(
    connection: psycopg.Connection[Any], *, clock: Clock = utc_now, policy: Policy = LETTER
) -> TenancyStore:
    """Return the operations of tenancy on a psycopg connection that others own.

    Each is to the connection what its own ``transaction()`` is: a savepoint where a transaction is
    open, which it never ends, or else a transaction of its own. What it returns is detached and
    stays readable.

    Args:
        connection: the connection, in autocommit or not.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.

    Raises:
        TypeError: it is no ``psycopg.Connection``.
    """
    return _Visitor(connection, clock=clock, policy=policy)


class _Visitor(TenancyStore):
    """The operations of tenancy in the transaction that is open, or each in one of its own."""

    def __init__(self, host: psycopg.Connection[Any], *, clock: Clock, policy: Policy) -> None:
        require_psycopg(host, "Connection")
        super().__init__(sessionmaker(_engine()), clock=clock, policy=policy)
        self._host = host
        self._joining = partial(TenancyRepository, clock=clock, policy=policy, unit=savepoint)

    def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        with at(self._host):
            if not in_transaction(self._host):
                return super()._run(operation, *args, **kwargs)
            with self._session_factory() as session, committed(session):
                return operation(self._joining(session), *args, **kwargs)


def require_psycopg(host: object, kind: str) -> None:
    """Refuse what is no connection of psycopg's, or one of the other door's.

    Raises:
        TypeError: it is not.
    """
    import psycopg  # an extra

    if not isinstance(host, getattr(psycopg, kind)):
        raise TypeError(f"connection must be a psycopg.{kind}, not {type(host).__name__}")


# On whose connection an operation runs.
_host: ContextVar[Any] = ContextVar("host")

ENGINE: Final[dict[str, Any]] = {"poolclass": NullPool, "use_native_hstore": False}


@contextmanager
def at(host: Any) -> Iterator[None]:
    """Run the block on somebody's connection."""
    token = _host.set(host)
    try:
        yield
    finally:
        _host.reset(token)


@functools.cache
def _engine() -> Engine:
    """Return the engine of all visits: one dialect, one cache of statements."""
    import psycopg

    engine = create_engine(URL, creator=lambda: Guest(psycopg.Cursor, _do_nothing), **ENGINE)
    give_back(engine)
    return engine


def _do_nothing() -> None:
    """Leave what is not ours to whoever owns it."""


class Guest:
    """The host's connection, as an engine sees it that must not end what others have begun.

    Args:
        cursor: the driver's class of cursors.
        nothing: does nothing, as the driver's connections do things: awaited or not.
    """

    def __init__(self, cursor: type[Any], nothing: Callable[[], object]) -> None:
        self._host = host = _host.get()
        self._cursor = _plain(cursor)
        self.close = nothing
        if in_transaction(host):
            self.commit = self.rollback = nothing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def cursor(self) -> Any:
        """Return a cursor whose rows are tuples, whatever the host's own are."""
        from psycopg.rows import tuple_row

        return self._cursor(self._host, row_factory=tuple_row)

    def add_notice_handler(self, handler: object) -> None:
        """Leave the host's notices alone: SQLAlchemy would add to their handlers at every visit."""


@functools.cache
def _plain(cursor: type[Any]) -> type[Any]:
    """Return a class of cursors that reads values as SQLAlchemy expects them, not as the host does."""
    import psycopg

    adapters = property(lambda _: psycopg.adapters)
    return type(f"Plain{cursor.__name__}", (cursor,), {"__slots__": (), "adapters": adapters})


def give_back(engine: Engine) -> None:
    """Begin where nothing is open, even in autocommit, and leave nothing open there."""

    @event.listens_for(engine, "connect")
    def begin(connection: Any, record: ConnectionPoolEntry) -> None:
        if not in_transaction(connection):
            record.info["autocommit"] = connection.autocommit
            connection.autocommit = False

    @event.listens_for(engine, "close")
    def end(connection: Any, record: ConnectionPoolEntry) -> None:
        if "autocommit" in record.info and not connection.closed:
            connection.rollback()
            connection.autocommit = record.info["autocommit"]
