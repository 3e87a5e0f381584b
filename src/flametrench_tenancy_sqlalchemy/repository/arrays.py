"""Rows that travel as one array for each column.

A list of rows would be more parameters than a statement may have, or several statements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import ARRAY, ColumnElement, TableValuedAlias, column, func


def rows_of(arrays: Mapping[str, ColumnElement[Any]]) -> TableValuedAlias:
    """Return arrays as a table.

    Args:
        arrays: a column's name -> its values, all columns of the same length.
    """
    columns = (
        column(name, cast("ARRAY[Any]", array.type).item_type) for name, array in arrays.items()
    )
    return func.unnest(*arrays.values()).table_valued(*columns, name="given").render_derived()
