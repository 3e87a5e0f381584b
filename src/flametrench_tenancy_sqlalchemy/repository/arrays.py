"""Values that travel as an array, and rows that travel as one array for each column.

A list of them would be more parameters than a statement may have, or several statements.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    TableValuedAlias,
    Uuid,
    any_,
    cast,
    column,
    func,
    literal,
)
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeEngine

from ..ids import ObjectId, WireId
from ..unit_of_work import BIND, AnySession


def has_arrays(session: AnySession) -> bool:
    """Tell whether a Session's database knows arrays: SQLite does not."""
    return session.get_bind(**BIND).dialect.name != "sqlite"


def array_of(type_: TypeEngine[Any], values: list[Any]) -> ColumnElement[Any]:
    """Return the values of a column as an array, whose type drivers are not left to guess.

    A real array and not its text: the planner counts it, and does not join row by row.
    """
    element = type_
    if isinstance(type_, WireId | ObjectId):  # checked when they came in, and not again
        element, values = Uuid(), [v and UUID(v[-32:]) for v in values]
    array = ARRAY(element, dimensions=1)
    return cast(literal(values, array), array)


def among(
    attribute: InstrumentedAttribute[str], ids: Iterable[str], session: AnySession
) -> ColumnElement[bool]:
    """Return the condition that an attribute is one of many ids."""
    if not has_arrays(session):
        return attribute.in_(ids)
    return attribute == any_(array_of(attribute.type, list(ids)))


def rows_of(arrays: Mapping[str, ColumnElement[Any]]) -> TableValuedAlias:
    """Return arrays as a table.

    Args:
        arrays: a column's name -> its values, all columns of the same length.
    """
    columns = (
        column(name, typing.cast("ARRAY[Any]", array.type).item_type)
        for name, array in arrays.items()
    )
    return func.unnest(*arrays.values()).table_valued(*columns, name="given").render_derived()
