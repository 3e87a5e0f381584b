"""Whichever Session an application brings, and where our tables are in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ContextDecorator, contextmanager, nullcontext
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    SelectBase,
    any_,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import TimeoutError as NoConnectionInTimeError
from sqlalchemy.orm import Session, scoped_session

from .._sql import array_of, array_type, rows_of
from ..errors import PoolTimeoutError
from ..models import Invitation, Membership, Organization, Tuple, User

AnySession: TypeAlias = Session | scoped_session[Session]

# Where the tables are, for a Session that has several engines.
BIND: Final[dict[str, Any]] = {"mapper": Organization.__mapper__}
_MODELS: Final = (Organization, User, Membership, Invitation, Tuple)
_OURS: Final = frozenset({*_MODELS, *(model.__mapper__ for model in _MODELS)})


def itself(session: AnySession) -> Session:
    """Return the Session that a scoped one stands for."""
    return session() if isinstance(session, scoped_session) else session


class _PoolInOurWords(ContextDecorator):
    """Say clearly that no connection was to be had in time; a block, or a decorator.

    A class, since it is around every statement of ours, and costs a third of a generator.

    Raises:
        PoolTimeoutError: it was not.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, NoConnectionInTimeError):
            raise PoolTimeoutError from exc


pool_in_our_words: Final = _PoolInOurWords()


@pool_in_our_words
def connection_of(session: AnySession) -> Connection:
    """Return the connection on which a Session reaches our tables."""
    return session.connection(bind_arguments=BIND)


def in_our_schema(connection: Connection, name: str) -> str:
    """Return a name with the schema that SQLAlchemy has been told to put before our tables."""
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    schema = translated.get(None)
    if schema is None:
        return name
    quote = connection.dialect.identifier_preparer.quote_schema
    # For drivers that look for %s it is doubled; in a `text` it will be once more.
    percent = quote("%").strip('"')
    return f"{quote(schema).replace(percent, '%')}.{name}"


def in_our_sql(connection: Connection, name: str) -> str:
    """Return the same as a part of a `text`, where a colon would begin a parameter."""
    return in_our_schema(connection, name).replace(":", r"\:")


def is_sqlite(session: AnySession) -> bool:
    """Tell whether a Session's database is SQLite, with one writer and no arrays."""
    return session.get_bind(**BIND).dialect.name == "sqlite"


def among(
    session: AnySession, id_column: ColumnElement[Any], ids: Iterable[str]
) -> ColumnElement[bool]:
    """Return the condition that a column is one of many ids: an array, where there are arrays.

    A list would be more parameters than a statement may have.
    """
    if is_sqlite(session):
        return id_column.in_(ids)
    return id_column == any_(array_of(id_column.type, ids))


def pairs_among(
    session: AnySession, columns: Sequence[Column[Any]], pairs: Collection[tuple[str, str]]
) -> ColumnElement[bool]:
    """Return the condition that two columns are one of many pairs of ids, by a look at each."""
    if is_sqlite(session):
        return tuple_(*columns).in_(pairs)
    values = zip(*pairs, strict=True)
    given = rows_of({c.name: array_of(c.type, ids) for c, ids in zip(columns, values, strict=True)})
    return tuple_(*columns).in_(select(*given.c))


def found_first(session: AnySession, id_column: Column[Any], ids: SelectBase) -> Any:
    """Return the condition that a column is one of the ids that a query finds.

    They are found first, and then looked up: a query inside ``IN`` may be planned the other way
    round, and all of the table be read.
    """
    if is_sqlite(session):
        return id_column.in_(ids)
    found = func.array(ids.scalar_subquery(), type_=array_type(id_column.type))
    return id_column == any_(found)


def commits_by_itself(connection: Connection) -> bool:
    """Tell whether each statement of a connection is a transaction, for drivers that can do so."""
    raw = connection.connection.dbapi_connection
    # SQLite's has a number there, which is true.
    return getattr(raw, "autocommit", False) is True and not in_transaction(raw)


def in_transaction(connection: Any) -> bool:
    """Tell whether a transaction is open on a driver's connection, for drivers that can tell."""
    # Begun by hand, it may be open in autocommit, too. Of libpq's numbers, zero is idle.
    return bool(getattr(getattr(connection, "info", None), "transaction_status", 0))


def where_writes_go(session: AnySession) -> AbstractContextManager[None]:
    """Send all that the block does with our tables to the engine to which a flush would go.

    A Session that routes by `get_bind` sends reads to followers, which cannot lock what they read
    and may not even have it.
    """
    session = itself(session)
    if type(session).get_bind is Session.get_bind:
        return nullcontext()
    return _led(session)


@contextmanager
def _led(session: Session) -> Iterator[None]:
    routed, leader = session.get_bind, _leader_of(session)

    def get_bind(mapper: Any = None, *args: Any, **kwargs: Any) -> Engine | Connection:
        return leader if mapper in _OURS else routed(mapper, *args, **kwargs)

    session.get_bind = get_bind  # type: ignore[method-assign]  # for the time of the block
    try:
        yield
    finally:
        session.get_bind = routed  # type: ignore[method-assign]
        if getattr(routed, "__self__", None) is session:
            del session.get_bind


def _leader_of(session: Session) -> Engine | Connection:
    """Return the engine of a flush, whether a Session tells one by its state or its clauses."""
    flushing, session._flushing = session._flushing, True
    try:
        return session.get_bind(**BIND, clause=update(Organization))
    finally:
        session._flushing = flushing
