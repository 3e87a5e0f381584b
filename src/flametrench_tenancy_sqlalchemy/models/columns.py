"""Which columns of the models are ours, and which an application has added.

It may append columns to a model, and properties computed in the database. Operations write none of
them; reads return them like ours.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column

from .base import Base
from .invitation import Invitation
from .membership import Membership
from .organization import Organization
from .user import User

OWN_COLUMNS: Final[dict[type[Base], tuple[str, ...]]] = {
    model: tuple(model.__mapper__.columns.keys())
    for model in (Organization, User, Membership, Invitation)
}
"""The names of our own columns, in the models whose entities operations write."""

_OWN_NAMES: Final = {
    name: frozenset(table.columns.keys()) for name, table in Base.metadata.tables.items()
}


def is_own_table(name: str | None) -> bool:
    """Whether a table is one of ours; others may have put theirs into our metadata."""
    return name in _OWN_NAMES


def is_own(column: Column[Any]) -> bool:
    """Whether a column is one of ours, be it as we declare it or as it is found in a database."""
    return column.name in _OWN_NAMES.get(column.table.name, ())


def added_columns(model: type[Base]) -> list[str]:
    """Return the names of the columns that an application has added to such a model."""
    own = OWN_COLUMNS[model]
    return [name for name, _ in model.__mapper__.columns.items() if name not in own]
