"""Which columns of the models are ours, and which an application has added.

It may append columns to a model, and properties computed in the database. Operations write none of
them; reads return them like ours.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, MetaData

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

OWN_SCHEMA: Final = MetaData(naming_convention=Base.metadata.naming_convention)
"""Our tables as the migrations create them on PostgreSQL, whatever is added to the models."""

for _table in Base.metadata.tables.values():
    _table.to_metadata(OWN_SCHEMA)


def is_own_table(name: str | None) -> bool:
    """Whether a table is one of ours; others may have put theirs into our metadata."""
    return name in OWN_SCHEMA.tables


def is_own(column: Column[Any]) -> bool:
    """Whether a column is one of ours, be it as a model has it or as a database does."""
    table = OWN_SCHEMA.tables.get(column.table.name)
    return table is not None and column.name in table.columns


def added_columns(model: type[Base]) -> list[str]:
    """Return the names of the columns that an application has added to such a model."""
    own = OWN_COLUMNS[model]
    return [name for name, _ in model.__mapper__.columns.items() if name not in own]
