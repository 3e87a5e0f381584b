"""Options for autogenerate in the application's own Alembic environment.

Pass them to ``context.configure(include_name=include_name, render_item=render_item, …)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from alembic.autogenerate.api import AutogenContext
from sqlalchemy.types import TypeDecorator

from ..models import Base

VERSION_TABLE: Final = "flametrench_tenancy_version"
"""Where the revision is recorded when the migrations run on their own."""

_PACKAGE: Final = __name__.split(".", maxsplit=1)[0]


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Leave the tenancy tables, which are in the application's schema, to their own migrations."""
    return type_ != "table" or (name not in Base.metadata.tables and name != VERSION_TABLE)


def render_item(type_: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Write column types of ours, which foreign keys to our tables have, as SQLAlchemy's own.

    A revision must not depend on what a class of ours means later.
    """
    ours = isinstance(item, TypeDecorator) and item.__module__.startswith(_PACKAGE)
    return f"sa.{item.impl_instance!r}" if type_ == "type" and ours else False
