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
    Select,
    Text,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.base import ExecutableOption

from ..unit_of_work import AnySession

# What is in the Session may be older than the row that was just read, or locked.
FRESH: Final = {"populate_existing": True}


class Lock(TypedDict, total=False):
    """How rows are locked, in the words of `Select.with_for_update`."""

    read: bool
    key_share: bool
    of: Any


class StaleReadError(Exception):
    """What an optimistic operation had read was changed before it could write."""


@dataclass(frozen=True, eq=False)
class LockingRead:
    """A query for entities, the first of which is what its rows are about.

    Args:
        query: the query, without locks.
        lock: the locks on what it returns.
        version: columns that tell whether a row, or what is locked with it, has changed.
        options: what is loaded beside the entities.
    """

    query: Select[Any]
    lock: Lock
    version: tuple[str, ...]
    options: tuple[ExecutableOption, ...] = ()

    @cached_property
    def locked(self) -> Select[Any]:
        """The query with its locks."""
        return self._loading.with_for_update(**self.lock)

    @cached_property
    def versioned(self) -> Select[Any]:
        """The query without locks, and the version of each row in a last column."""
        return self._loading.add_columns(self._version)

    def again(self, name: str, after: Sequence[CTE]) -> CTE:
        """Return the query as part of another: locks, and the versions of what is locked.

        Args:
            name: what the part is called.
            after: parts with locks that are taken before these.
        """
        entity = self.query.column_descriptions[0]["entity"]
        return (
            self.query.with_only_columns(entity.id, self._version)
            .where(*(exists(select(cte.c.version)) for cte in after))
            .with_for_update(**self.lock)
            .cte(name)
        )

    @property
    def _loading(self) -> Select[Any]:
        return self.query.options(*self.options).execution_options(**FRESH)

    @property
    def _version(self) -> Any:
        return literal_column(f"concat_ws(' ', {', '.join(self.version)})", Text).label("version")


class _Seen(NamedTuple):
    given: dict[str, Any]
    versions: list[str]


@dataclass
class Sight:
    """What an optimistic operation has read, in the order of the locks."""

    _seen: dict[LockingRead, _Seen] = field(default_factory=dict)

    def read(self, read: LockingRead, given: dict[str, Any], session: AnySession) -> list[Any]:
        """Read rows without locks, and remember their versions."""
        rows = list(session.execute(read.versioned, given))
        self._seen[read] = _Seen(given, sorted(row.version for row in rows))
        return rows

    @property
    def reads(self) -> tuple[LockingRead, ...]:
        """What was read."""
        return tuple(self._seen)

    @property
    def given(self) -> dict[str, Any]:
        """The parameters of `unchanged`."""
        parameters: dict[str, Any] = {}
        for number, seen in enumerate(self._seen.values()):
            parameters |= seen.given | {f"seen_{number}": seen.versions}
        return parameters


def unchanged(reads: Sequence[LockingRead]) -> CTE:
    """Return a part of a statement that locks what was read, and has a row if it is the same."""
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
    return select(literal_column("1").label("one")).where(and_(*same)).cte("unchanged")
