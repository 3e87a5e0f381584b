"""Small parts of statements: reads that decide, words, and values that travel as arrays."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Table,
    TableValuedAlias,
    Uuid,
    column,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.orm import lazyload
from sqlalchemy.types import TypeEngine

from .ids import ObjectId, WireId
from .models import Base


def deciding(query: Select[Any], *entities: Any, options: Iterable[Any] = ()) -> Any:
    """Return the read of entities by which an operation decides: the rows as they are now.

    A query of tables, which nothing that the application adds to its ORM queries can change: no
    criteria of its own, no eager loading. What the Session holds is refreshed.

    Args:
        query: the query, which selects all columns of the entities' tables.
        entities: what its rows are.
        options: loader options, such as for an entity that comes with another one.
    """
    return (
        select(*entities)
        .from_statement(query)
        .options(lazyload("*"), *options)
        .execution_options(populate_existing=True)
    )


def table_of(model: type[Base]) -> Table:
    """Return the table of a model."""
    return cast("Table", model.__table__)


def word(term: str) -> ColumnElement[Any]:
    """Return a word that the statement itself contains.

    A plan for all parameters may use a partial index only if its condition is no parameter.
    """
    return literal_column(f"'{term}'")


def array_type(type_: TypeEngine[Any]) -> ARRAY[Any]:
    """Return the type of an array of a column's values."""
    return ARRAY(Uuid() if isinstance(type_, WireId | ObjectId) else type_, dimensions=1)


def array_values(type_: TypeEngine[Any], values: Iterable[Any]) -> list[Any]:
    """Return the values of a column as they travel in an array."""
    if isinstance(type_, WireId | ObjectId):  # checked when they came in, and not again
        return [v if v is None or isinstance(v, UUID) else UUID(v[-32:]) for v in values]
    return list(values)


def array_of(type_: TypeEngine[Any], values: Iterable[Any]) -> ColumnElement[Any]:
    """Return the values of a column as an array, whose type drivers are not left to guess."""
    return literal(array_values(type_, values), array_type(type_))


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
