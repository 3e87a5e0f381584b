"""The savepoint around an operation in the caller's transaction, by name.

The caller's Session is a guest house. An operation flushes into a savepoint there; it never
commits, rolls back or closes what it did not open.

Specification: ADR 0013.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Executable, event, literal_column, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.sql.elements import (
    ReleaseSavepointClause,
    RollbackToSavepointClause,
    SavepointClause,
)

from ..models import Base
from .sessions import AnySession, commits_by_itself, connection_of, itself

# SQLAlchemy leaves them without annotations.
_roll_back_to: Callable[[str], Executable] = RollbackToSavepointClause
_release: Callable[[str], Executable] = ReleaseSavepointClause
_SAVEPOINT_CLAUSES: Final = (SavepointClause, RollbackToSavepointClause, ReleaseSavepointClause)
_NOTHING: Final[Executable] = select(literal_column("1"))

_operations: WeakSet[SessionTransaction] = WeakSet()


@contextmanager
def savepoint(session: AnySession, operation: str) -> Iterator[None]:
    """Run the block in a savepoint named ``ft_<operation>_<8 hex>``, flushed at the end.

    Leaving with an exception rolls back to the savepoint and releases it, as leaving in peace
    does: the caller's transaction goes on, with their own work in it intact.

    Raises:
        InvalidRequestError: there is no transaction to take part in; SQLAlchemy's error.
    """
    session = itself(session)
    if session.in_nested_transaction():  # to which the caller may roll back
        _listen_once(session)
    connection = connection_of(session)
    if commits_by_itself(connection):
        raise InvalidRequestError(
            f"{operation} needs a transaction, which a connection in AUTOCOMMIT does not have"
        )
    if _hears_statements(connection):
        # Whoever prepares a transaction at its first statement, say by SET LOCAL, but not at a
        # savepoint, would do so behind the savepoint, and lose it with what is rolled back.
        connection.execute(_NOTHING)
    name = f"ft_{operation}_{secrets.token_hex(4)}"
    taken = finished = False
    with _named(connection, name):
        try:
            with session.begin_nested() as transaction:
                _operations.add(transaction)
                connection_of(session)  # sends the savepoint, which waits for it
                taken = True
                yield
                session.flush()
                finished = True
        except BaseException:
            if taken and not connection.closed and not connection.invalidated:
                if finished:  # so the release failed, after which SQLAlchemy does not roll back
                    connection.execute(_roll_back_to(name))
                # SQLAlchemy rolls back to a savepoint and leaves it on the server's stack.
                connection.execute(_release(name))
            raise


def _hears_statements(connection: Connection) -> bool:
    return bool(
        connection.dispatch.before_execute
        or connection.dispatch.before_cursor_execute
        or connection.dialect.dispatch.do_execute
    )


def _listen_once(session: Session) -> None:
    if not event.contains(session, "after_soft_rollback", _tell_the_truth):
        event.listen(session, "after_soft_rollback", _tell_the_truth)


def _tell_the_truth(session: Session, rolled_back: SessionTransaction) -> None:
    """Forget what was read since a savepoint that the caller has rolled back to.

    SQLAlchemy forgets what was flushed, and that is enough for an operation of ours. It does not
    see that an entity which was read after an operation shows what the rollback has undone.
    """
    if rolled_back.nested and rolled_back not in _operations:
        for entity in session.identity_map.values():
            if isinstance(entity, Base):
                session.expire(entity)


@contextmanager
def _named(connection: Connection, name: str) -> Iterator[None]:
    """Give the next savepoint of a connection another name; later ones keep their own."""
    renamed: str | None = None

    def rename(
        conn: Connection, clause: Any, multiparams: Any, params: Any, options: Any
    ) -> tuple[Any, Any, Any]:
        nonlocal renamed
        if renamed is None and isinstance(clause, SavepointClause):
            renamed = clause.ident
        if isinstance(clause, _SAVEPOINT_CLAUSES) and clause.ident == renamed:
            clause = type(clause)(name)
        return clause, multiparams, params

    event.listen(connection, "before_execute", rename, retval=True)
    try:
        yield
    finally:
        event.remove(connection, "before_execute", rename)
