"""What operations return, taken apart."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from sqlalchemy import inspect

from flametrench_tenancy_sqlalchemy import Base


def entities_in(result: Any) -> list[Base]:
    """Return every entity that a result hands out."""
    if isinstance(result, Base):
        return [result]
    if is_dataclass(result):
        result = [getattr(result, field.name) for field in fields(result)]
    return [e for part in result for e in entities_in(part)] if isinstance(result, list) else []


def unloaded_columns(entity: Base) -> set[str]:
    """Return the columns that reading them would have to fetch."""
    state = inspect(entity)
    return state.unloaded & {column.key for column in state.mapper.column_attrs}
