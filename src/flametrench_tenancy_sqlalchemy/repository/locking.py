"""Reads of the rows that an operation judges: locked, or optimistic.

An optimistic operation reads without locks, judges, and writes on the condition that what it would
have locked is still what it has read: two waits for the server instead of four. The condition is
the same read with its locks, in the statement that writes; a row's version is the transaction that
wrote it (``xmin``), which no lock changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple, TypedDict

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Select,
    Text,
    bindparam,
    exists,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import lazyload
from sqlalchemy.sql.base import ExecutableOption
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..unit_of_work import AnySession

# What is in the Session may be older than the row that was just read, or locked.
FRESH: Final = {"populate_existing": True}


def bare(query: Select[Any]) -> Select[Any]:
    """Return a query that loads entities as they are now, and nothing beside them.

    What the application relates to them, eagerly perhaps, would be read again after each lock, or
    before the rows that a statement has just written are the Session's.
    """
    return query.options(lazyload("*")).execution_options(**FRESH)


class Lock(TypedDict, total=False):
    """How rows are locked, in the words of `Select.with_for_update`."""

    read: bool
    key_share: bool
    of: Any


class row_version(FunctionElement[str]):  # noqa: N801 -- written like the functions of `func`
    """Which transaction wrote a row of a table, in a subquery that SQLite meets, too."""

    inherit_cache = True
    type = Text()

    def __init__(self, table: str) -> None:
        super().__init__(literal_column(table))


@compiles(row_version)
def _of_postgresql(element: row_version, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options)}.xmin"


@compiles(row_version, "sqlite")
def _of_sqlite(element: row_version, compiler: SQLCompiler, **options: Any) -> str:
    return "NULL"


class StaleReadError(Exception):
    """What an optimistic operation had read was changed before it could write."""


class Query(NamedTuple):
    """A query for entities, the first of which is what its rows are about.

    Args:
        select: the query, without locks and without what is loaded beside the entities.
        version: columns that tell whether a row, or what is locked with it, has changed.
        options: what is loaded beside the entities.
    """

    select: Select[Any]
    version: tuple[str, ...]
    options: tuple[ExecutableOption, ...] = ()

    @property
    def loading(self) -> Select[Any]:
        """The query as it is sent."""
        return bare(self.select).options(*self.options)

    @property
    def versions(self) -> ColumnElement[str]:
        """The version of a row."""
        return literal_column(f"concat_ws(' ', {', '.join(self.version)})", Text).label("version")


@dataclass(frozen=True, eq=False)
class LockingRead:
    """The read of what an operation judges.

    Args:
        query: the query.
        lock: the locks on what it returns.
        unlocked: a query for the same, where ``query`` itself locks something.
    """

    query: Query
    lock: Lock
    unlocked: Query | None = None

    @cached_property
    def locked(self) -> Select[Any]:
        """The query with its locks."""
        return self.query.loading.with_for_update(**self.lock)

    @cached_property
    def versioned(self) -> Select[Any]:
        """The query without locks, and the version of each row in a last column."""
        query = self.unlocked or self.query
        return query.loading.add_columns(query.versions)

    def again(self, name: str, after: Sequence[CTE]) -> CTE:
        """Return the query as part of another: locks, and the versions of what is locked.

        Args:
            name: what the part is called.
            after: parts with locks that are taken before these.
        """
        entity = self.query.select.column_descriptions[0]["entity"]
        return (
            self.query.select.with_only_columns(entity.id, self.query.versions)
            .where(*(exists(select(cte.c.version)) for cte in after))
            .with_for_update(**self.lock)
            .cte(name)
        )


class _Seen(NamedTuple):
    given: dict[str, Any]
    versions: list[str]


@dataclass
class Sight:
    """What an optimistic operation has read, in the order of the locks."""

    _seen: dict[LockingRead, _Seen] = field(default_factory=dict)

    def read(self, read: LockingRead, given: dict[str, Any], session: AnySession) -> list[Any]:
        """Read rows without locks, and remember their versions."""
        rows = [(row[:-1], row[-1]) for row in session.execute(read.versioned, given)]
        self._seen[read] = _Seen(given, sorted(version for _, version in rows))
        return [row for row, _ in rows]

    @property
    def reads(self) -> tuple[LockingRead, ...]:
        """What was read."""
        return tuple(self._seen)

    @property
    def given(self) -> dict[str, Any]:
        """The parameters of `unchanged`."""
        parameters: dict[str, Any] = {}
        for number, seen in enumerate(self._seen.values()):
            for name, value in seen.given.items():
                if parameters.setdefault(name, value) != value:
                    raise ValueError(f"two reads of one operation differ in {name!r}")
            parameters[f"seen_{number}"] = seen.versions
        return parameters


def unchanged(reads: Sequence[LockingRead], *conditions: ColumnElement[bool]) -> CTE:
    """Return a part of a statement that locks what was read, and has a row if it is the same.

    Args:
        reads: what was read.
        conditions: what else must be true.
    """
    locked: list[CTE] = []
    for number, read in enumerate(reads):
        locked.append(read.again(f"locked_{number}", after=locked))
    same = (
        select(
            func.array_agg(aggregate_order_by(cte.c.version, cte.c.version.collate("C")))
        ).scalar_subquery()
        == bindparam(f"seen_{number}", type_=ARRAY(Text))
        for number, cte in enumerate(locked)
    )
    return select(literal_column("1").label("one")).where(*same, *conditions).cte("unchanged")
