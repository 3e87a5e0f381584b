"""The package under test, on PostgreSQL and in memory, and what it answers in plain values."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, Final

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Base,
    InMemoryTenancyStore,
    Policy,
    PreTuple,
    TenancyError,
    TenancyRepository,
    TenancyStore,
)
from flametrench_tenancy_sqlalchemy.testing.databases import empty_tables
from tests.integration.model.arguments import PEOPLE, Clock
from tests.integration.model.records import RECORDS, Grant, Tables, read_tables, type_of
from tests.integration.model.reference import Reference
from tests.integration.model.state import Refused
from tests.support.rows import rows, untruths

_RECORD_OF: Final = {type_of(record): record for record in RECORDS}


class PostgresSystem:
    """A repository on one Session, whose transactions the machine begins and ends."""

    def __init__(self, engine: Engine, clock: Clock, level: str, policy: Policy) -> None:
        self.engine = engine
        insert = text("INSERT INTO usr (id, created_at, updated_at) VALUES (:id, :at, :at)")
        with engine.begin() as connection:
            connection.execute(insert, [{"id": usr_id[4:], "at": clock()} for usr_id in PEOPLE])
        self.session = Session(engine.execution_options(isolation_level=level))
        self.tenancy: TenancyRepository | TenancyStore = TenancyRepository(
            self.session, clock=clock, policy=policy
        )
        # What it returned: the Session lets go of what nobody holds.
        self.held: list[Any] = []

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
    """A store in memory, which commits each operation; what it returns is detached."""

    def __init__(self, clock: Clock, policy: Policy) -> None:
        store = InMemoryTenancyStore(clock=clock, policy=policy)
        self.tenancy: TenancyRepository | TenancyStore = store
        self.session = store._session_factory()
        self.held: list[Any] = []

    def tables(self) -> Tables:
        """Return what is stored."""
        with self.session:
            return read_tables(self.session.connection())

    def untruths(self) -> list[str]:
        """Return nothing: nobody tells what is detached."""
        return []

    def close(self) -> None:
        """Leave nothing behind."""
        self.session.get_bind().engine.dispose()


def observed(system: PostgresSystem | MemorySystem, operation: str, *args: Any, **kw: Any) -> Any:
    """Return what the package answers, or how it refuses, in plain values."""
    if kw.get("pre_tuples"):
        kw["pre_tuples"] = [PreTuple(*g) if isinstance(g, Grant) else g for g in kw["pre_tuples"]]
    try:
        result = getattr(system.tenancy, operation)(*args, **kw)
    except TenancyError as exc:
        error = type(exc).__name__
        by_parameter = error in ("NotFoundError", "InvalidIdError")
        detail = "parameter" if by_parameter else "slug" if "Slug" in error else "reason"
        return (error, exc.code, exc.details.get(detail))
    system.held.append(result)
    return _plain(result)


def predicted(model: Reference, operation: str, *args: Any, **kwargs: Any) -> Any:
    """Return what the model answers, or how it refuses, in plain values."""
    try:
        return model.run(operation, *args, **kwargs)
    except Refused as refusal:
        return refusal.outcome


def _plain(value: Any) -> Any:
    if isinstance(value, PreTuple):
        return Grant(value.relation, value.object_type, value.object_id)
    if isinstance(value, Base):
        record = _RECORD_OF[value.__tablename__]
        plain = {f.name: _plain(getattr(value, f.name)) for f in fields(record)}
        if "pre_tuples" in plain:
            plain["pre_tuples"] = tuple(plain["pre_tuples"])
        return record(**plain)
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, list) else value
