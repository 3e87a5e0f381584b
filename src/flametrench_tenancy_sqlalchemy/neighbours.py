"""Neighbours on the driver's own connection: they in our transaction, and we in theirs.

Other SDKs hold a raw psycopg connection, and run `connection.transaction()` on it: a savepoint
where a transaction is open, and one of its own where none is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, NoReturn, ParamSpec, TypeVar

from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import sessionmaker
from sqlalchemy.orm.attributes import instance_state

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
    where_writes_go,
)

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.pool import PoolProxiedConnection

P = ParamSpec("P")
R = TypeVar("R")

_ENDS: Final[tuple[str, ...]] = ("commit", "rollback", "close")


@contextmanager
def neighbour(session: AnySession) -> Iterator[Any]:
    """Lend a Session's connection to somebody who speaks to the driver, inside its transaction.

    The block is a savepoint: the transaction has begun on the server, the Session's pending rows
    are there, and an exception takes back what was written since. Afterwards the Session reads
    anew what it holds, all but the keys.

    Args:
        session: the caller's Session, or a ``scoped_session``.

    Yields:
        The driver's own connection. psycopg's refuses to commit, roll back or close as long as
        it is lent, and its ``transaction()`` is a savepoint; other drivers' cannot all be kept
        from it, and then the block ends with the database's error.

    Raises:
        InvalidRequestError: there is no transaction to take part in; SQLAlchemy's error.
    """
    try:
        with where_writes_go(session), savepoint(session, "neighbour"):
            lent = connection_of(session).connection
            connection = lent.driver_connection
            with _kept_open(lent):
                yield connection
    finally:
        _read_anew(session)


@contextmanager
def _kept_open(lent: PoolProxiedConnection) -> Iterator[None]:
    """Forbid a connection to end its transaction, where a driver's connections can be told so."""
    raw, connection = lent.dbapi_connection, lent.driver_connection
    told: dict[str, Any] | None = getattr(connection, "__dict__", None)
    if raw is None or told is None:
        yield
        return
    before = {name: told[name] for name in _ENDS if name in told}  # by a block around this one
    told.update(dict.fromkeys(_ENDS, _refuse))
    try:
        yield
    finally:
        for name in _ENDS:
            del told[name]
        told.update(before)
        if not lent.is_valid:  # the pool has tried to close it, and was refused
            raw.close()


def _refuse(*args: object) -> NoReturn:
    raise InvalidRequestError(
        "this connection is lent by a Session, which alone commits, rolls back and closes, after "
        "the block that lends it"
    )


def _read_anew(session: AnySession) -> None:
    """Forget what a Session has read, but not the keys: no neighbour changes them."""
    for entity in session.identity_map.values():
        state = instance_state(entity)
        if state.modified:  # and not written, since nothing was lent
            continue
        mapper = state.mapper
        keys = {mapper.get_property_by_column(column).key for column in mapper.primary_key}
        named = {*mapper.column_attrs.keys(), *mapper.relationships.keys()}
        session.expire(entity, named - keys)


def repository_on(
    connection: psycopg.Connection[Any], *, clock: Clock = utc_now, policy: Policy = LETTER
) -> TenancyStore:
    """Return the operations of tenancy on a psycopg connection that others own.

    Each is to the connection what its own ``transaction()`` is: a savepoint where a transaction is
    open, which it never ends, or else a transaction of its own. What it returns is detached and
    stays readable. In pipeline mode operations are refused.

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
        from .transactions import visits  # noqa: PLC0415 - needs psycopg, an extra

        visits.require_connection(host, "Connection")
        super().__init__(sessionmaker(visits.engine()), clock=clock, policy=policy)
        self._host, self._visit = host, partial(visits.at, host)
        self._joining = partial(TenancyRepository._within, savepoint, clock=clock, policy=policy)

    def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        with self._visit():
            if not in_transaction(self._host):
                return super()._run(operation, *args, **kwargs)
            with self._session_factory() as session, committed(session):
                return operation(self._joining(session), *args, **kwargs)
