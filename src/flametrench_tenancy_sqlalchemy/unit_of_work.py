"""The unit of work around an operation: a savepoint of the caller's transaction, by name.

The caller's Session is a guest house. An operation flushes into a savepoint there; it never
commits, rolls back or closes what it did not open.

Specification: ADR 0013.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final, TypeAlias
from weakref import WeakSet

from sqlalchemy import Connection, Engine, Executable, event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.sql.elements import (
    ReleaseSavepointClause,
    RollbackToSavepointClause,
    SavepointClause,
)

from .models import Base, Organization
from .models.columns import added_columns

AnySession: TypeAlias = Session | scoped_session[Session]

# Where the tables are, for a Session that has several engines.
BIND: Final[dict[str, Any]] = {"mapper": Organization.__mapper__}

# SQLAlchemy leaves them without annotations.
_roll_back_to: Callable[[str], Executable] = RollbackToSavepointClause
_release: Callable[[str], Executable] = ReleaseSavepointClause

_operations: WeakSet[SessionTransaction] = WeakSet()

_DRIVERS: Final = ("psycopg", "asyncpg")
_LEVELS: Final = frozenset({"isolation_level", "postgresql_readonly", "postgresql_deferrable"})
_ENGINE_EVENTS: Final = ("engine_connect", "begin", "commit", "rollback")
_SESSION_EVENTS: Final = (
    "after_transaction_create",
    "after_begin",
    "do_orm_execute",
    "before_attach",
    "after_attach",
    "transient_to_pending",
    "before_flush",
    "after_flush",
    "after_flush_postexec",
    "pending_to_persistent",
    "persistent_to_deleted",
    "deleted_to_detached",
    "before_commit",
)
# Where a Session's class may take part in its transactions.
_METHODS: Final = ("begin", "connection", "execute", "scalars", "flush", "commit", "rollback")


@contextmanager
def savepoint(session: AnySession, operation: str) -> Iterator[None]:
    """Run the block in a savepoint named ``ft_<operation>_<8 hex>``, flushed at the end.

    Leaving with an exception rolls back to the savepoint and releases it, as leaving in peace
    does: the caller's transaction goes on, with his own work in it intact.

    Raises:
        InvalidRequestError: there is no transaction to take part in; SQLAlchemy's error.
    """
    session = _itself(session)
    if not event.contains(session, "after_soft_rollback", _tell_the_truth):
        event.listen(session, "after_soft_rollback", _tell_the_truth)
    connection = session.connection(bind_arguments=BIND)
    if commits_by_itself(connection):
        raise InvalidRequestError(
            f"{operation} needs a transaction, which a connection in AUTOCOMMIT does not have"
        )
    name = f"ft_{operation}_{secrets.token_hex(4)}"
    taken = finished = False
    with _named(connection, name):
        try:
            with session.begin_nested() as transaction:
                _operations.add(transaction)
                session.connection(bind_arguments=BIND)  # sends the savepoint, which waits for it
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


def stands_alone(session: AnySession) -> bool:
    """Tell whether a statement in a new Session is as good as a transaction around it.

    Not where the application takes part in its transactions: begins one itself, asks for an
    isolation level, or listens, say to tell the server who is calling, or to write beside us. And
    not on drivers that have to ask the server for it.
    """
    session = _itself(session)
    engine = session.get_bind(**BIND)
    return (
        isinstance(engine, Engine)
        and engine.dialect.driver in _DRIVERS
        # Known from the first connection on.
        and getattr(engine.dialect, "default_isolation_level", None) == "READ COMMITTED"
        and _LEVELS.isdisjoint(engine.get_execution_options())
        and _LEVELS.isdisjoint(getattr(session, "execution_options", ()))
        and all(getattr(type(session), name) is getattr(Session, name) for name in _METHODS)
        and not session.twophase
        and not session.in_transaction()
        and not any(getattr(engine.dispatch, name) for name in _ENGINE_EVENTS)
        and not engine.pool.dispatch.checkout
        and all(_is_sqlalchemys(listener) for listener in engine.pool.dispatch.connect)
        and not any(getattr(session.dispatch, name) for name in _SESSION_EVENTS)
        and not has_more_to_write(session, ())
    )


def _is_sqlalchemys(listener: object) -> bool:
    return str(getattr(listener, "__module__", "")).startswith("sqlalchemy.")


def has_more_to_write(session: AnySession, entities: Collection[Base]) -> bool:
    """Tell whether a flush would write more than these entities: rows of the application's own."""
    session = _itself(session)
    if session._is_clean():
        return False
    ours = {id(entity) for entity in entities}
    waiting = chain(session.new, session.dirty, session.deleted)
    return any(id(entity) not in ours for entity in waiting)


def commits_by_itself(connection: Connection) -> bool:
    """Tell whether each statement of a connection is a transaction, for drivers that can do so."""
    # SQLite's has a number there, which is true.
    return getattr(connection.connection.dbapi_connection, "autocommit", False) is True


def is_new(entity: Base) -> bool:
    """Tell whether an entity has no row yet."""
    return instance_state(entity).key is None


def as_flushed(
    session: AnySession, written: Collection[Base], deleted: Collection[Base] = ()
) -> None:
    """Tell the Session what statements have written and deleted, as its own flush would have.

    So entities are clean now, and a rollback brings back what was. Nothing public says so; these
    are the methods by which the flush itself does.
    """
    session = _itself(session)
    states = [instance_state(entity) for entity in written]
    for state in states:
        if state.key is None:
            session._save_impl(state)  # as `add`, without a look at whatever is related
    session._register_persistent(set(states))
    # The application's own columns, which the database has filled in or computed.
    added = {model: added_columns(model) for model in set(map(type, written))}
    for entity in written:
        if names := added[type(entity)]:
            session.expire(entity, names)
    session._remove_newly_deleted([instance_state(entity) for entity in deleted])


def _itself(session: AnySession) -> Session:
    return session() if isinstance(session, scoped_session) else session


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


_SAVEPOINT_CLAUSES = (SavepointClause, RollbackToSavepointClause, ReleaseSavepointClause)
