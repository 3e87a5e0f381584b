"""The package under test, on PostgreSQL and in memory, and what it answers in plain values."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Base,
    InMemoryTenancyStore,
    PreTuple,
    TenancyError,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.testing.databases import empty_tables
from tests.model.arguments import PEOPLE, Clock
from tests.model.records import RECORDS, Grant, Tables, read_tables
from tests.model.reference import Reference
from tests.model.state import Refused
from tests.support.rows import rows, untruths

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

_RECORD_OF: Final = {record.__name__.lower(): record for record in RECORDS}


class PostgresSystem:
    """A repository on one Session, whose transactions the machine begins and ends."""

    def __init__(self, engine: Engine, clock: Clock, isolation_level: str) -> None:
        self.engine = engine
        with engine.begin() as connection:
            for usr_id in PEOPLE:
                connection.execute(
                    text("INSERT INTO usr (id, created_at, updated_at) VALUES (:id, :at, :at)"),
                    {"id": usr_id[4:], "at": clock()},
                )
        at_level = engine.execution_options(isolation_level=isolation_level)
        self.session = Session(at_level)
        self.tenancy = TenancyRepository(self.session, clock=clock)
        self.held: list[Any] = []

    def call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Run an operation, and keep what it returns: the Session lets go of what nobody holds."""
        result = getattr(self.tenancy, operation)(*args, **kwargs)
        self.held.append(result)
        return result

    def tables(self) -> Tables:
        """Return what is stored, as the Session's transaction sees it."""
        return read_tables(self.session.connection())

    def untruths(self) -> list[str]:
        """Return what the Session's objects say that the tables do not."""
        return untruths(self.session, rows(self.session.connection()))

    def close(self) -> None:
        """End the transaction, if it can be, and leave empty tables."""
        self.session.close()
        with self.engine.begin() as connection:
            empty_tables(connection)


class MemorySystem:
    """A store in memory, which commits each operation."""

    def __init__(self, clock: Clock) -> None:
        self.tenancy = InMemoryTenancyStore(clock=clock)

    def call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Run an operation."""
        return getattr(self.tenancy, operation)(*args, **kwargs)

    def tables(self) -> Tables:
        """Return what is stored."""
        with self.tenancy._session_factory() as session:
            return read_tables(session.connection())

    def untruths(self) -> list[str]:
        """Return nothing: what the store returns is detached."""
        return []

    def close(self) -> None:
        """Leave nothing behind."""
        with self.tenancy._session_factory() as session:
            session.get_bind().engine.dispose()


def observed(call: Callable[..., Any], operation: str, *args: Any, **kwargs: Any) -> Any:
    """Return what the package answers, or how it refuses, in plain values."""
    if kwargs.get("pre_tuples"):
        kwargs["pre_tuples"] = [
            PreTuple(*grant) if isinstance(grant, Grant) else grant
            for grant in kwargs["pre_tuples"]
        ]
    try:
        return _plain(call(operation, *args, **kwargs))
    except TenancyError as exc:
        error = type(exc).__name__
        by_parameter = error in ("NotFoundError", "InvalidIdError")
        detail = "parameter" if by_parameter else "slug" if "Slug" in error else "reason"
        return (error, exc.code, exc.details.get(detail))


def predicted(model: Reference, operation: str, *args: Any, **kwargs: Any) -> Any:
    """Return what the model answers, or how it refuses, in plain values."""
    try:
        return model.run(operation, *args, **kwargs)
    except Refused as refusal:
        return (refusal.error, refusal.code, refusal.detail)


def _plain(value: Any) -> Any:
    if isinstance(value, Base):
        record = _RECORD_OF[value.__tablename__]
        return record(**{f.name: _attribute(value, f.name) for f in fields(record)})
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _attribute(entity: Base, name: str) -> Any:
    value = getattr(entity, name)
    if name == "pre_tuples":
        return tuple(Grant(g.relation, g.object_type, g.object_id) for g in value)
    return value
