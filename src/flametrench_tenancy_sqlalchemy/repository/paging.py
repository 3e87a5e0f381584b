"""Pages of lists, read from an index in its own order, whatever the planner believes.

``WHERE org_id = :org AND id > :cursor ORDER BY id`` leaves it a choice: to walk the primary key,
passing over the rows of others, or to sort all of an organization. Where its statistics mislead it,
or a prepared plan knows nothing of the values, it chooses wrong, and a page costs a whole table.
Rows compared with rows, in an order that only one index has, leave no choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import ge, le
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Uuid,
    bindparam,
    literal,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute, aliased

from ..values import Status

Listing: TypeAlias = Mapping[Status | None, Select[Any]]
"""The query for a page of a list, whatever its rows' status or in one status."""

BEFORE_ALL: Final = UUID(int=0)
"""The ``:after`` of the first page."""

BEYOND_ALL: Final = UUID(int=2**128 - 1)
"""The same of a list that begins with the newest."""

FRESH: Final = {"populate_existing": True}
"""What is in the Session may be older than the row that was just read."""

_AFTER: Final = bindparam("after", type_=Uuid())
_ROWS: Final = bindparam("rows", type_=Integer())


@dataclass(frozen=True)
class Stretch:
    """Rows that lie side by side in an index, ascending by id."""

    prefix: Mapping[InstrumentedAttribute[Any], Any] = field(default_factory=dict)
    """The index's columns before the id, in its order, with the values or parameters wanted."""
    where: ColumnElement[bool] | None = None
    """A further condition."""
    nulls_first: bool = False
    """Whether its first column is ordered so: no other index that begins with it is."""


def page_of(query: Select[Any], *stretches: Stretch, newest_first: bool = False) -> Select[Any]:
    """Return the query for ``:rows`` of its entities after the id ``:after``, ascending by id.

    Args:
        query: the query for the entities.
        stretches: where they lie; several are merged.
        newest_first: whether they descend, and come before the id; the index is read backwards.
    """
    entity = query.column_descriptions[0]["entity"]
    parts = [_within(query, entity.id, stretch, newest_first) for stretch in stretches]
    if len(parts) == 1:
        return parts[0].execution_options(**FRESH)
    merged = aliased(entity, union_all(*(select(part.subquery()) for part in parts)).subquery())
    order = merged.id.desc() if newest_first else merged.id
    return select(merged).order_by(order).limit(_ROWS).execution_options(**FRESH)


def _within(
    query: Select[Any], id_: InstrumentedAttribute[Any], stretch: Stretch, newest_first: bool
) -> Select[Any]:
    if not stretch.prefix:
        return query.where(id_ > _AFTER).order_by(id_).limit(_ROWS)
    begins, ends = (le, ge) if newest_first else (ge, le)
    given = {
        column: value if isinstance(value, ColumnElement) else literal(value, column.type)
        for column, value in stretch.prefix.items()
    }
    *outer, last = given
    query = query.where(
        # Named twice, since one value would be a constant, by which there is no order.
        *(column.in_([given[column]] * 2) for column in outer),
        # "Greater" would look like few rows, or none, where the value is the greatest.
        begins(tuple_(last, id_), tuple_(given[last], _AFTER)),
        ends(last, given[last]),
        id_ != _AFTER,
    )
    if stretch.where is not None:
        query = query.where(stretch.where)
    order: list[Any] = [*given, id_]
    if newest_first:
        order = [column.desc() for column in order]
    if stretch.nulls_first:
        order[0] = order[0].nulls_last() if newest_first else order[0].nulls_first()
    return query.order_by(*order).limit(_ROWS)


def listing(
    query: Select[Any],
    whole: Stretch,
    status: InstrumentedAttribute[Any],
    *,
    status_nulls_first: bool = False,
) -> Listing:
    """Return the queries for a page of a list: of all of it, and of what is in one status.

    Args:
        query: the query for the entities.
        whole: where all of the list lies; what is in one status lies behind the status.
        status: the status of an entity.
        status_nulls_first: whether the index that begins with the status is ordered so.
    """
    return {None: page_of(query, whole)} | {
        one: page_of(
            query, Stretch({status: one} | dict(whole.prefix), nulls_first=status_nulls_first)
        )
        for one in Status
    }
