"""Options for autogenerate in the application's own Alembic environment.

Each has the name of the option of ``context.configure`` that it is for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.types import TypeDecorator

from ..models import Base
from ..models.audit_event import Xid8
from ..models.columns import is_own, is_own_table
from .places import script_location

VERSION_TABLE: Final = "flametrench_tenancy_version"
"""Where the revision is recorded when the migrations run on their own."""

_PACKAGE: Final = __name__.split(".", maxsplit=1)[0]
_FUNCTION_PREFIX: Final = "flametrench_tenancy_"
_APART: Final = re.compile(
    r"aud(_default|_\d{4}_\d{2}|_consumer|_skipped|_era)?|flametrench_tenancy_cells"
)
_EXTENSION: Final = "pg_trgm"

# Autogenerate reads a table before it asks whether to leave it alone, and would warn of the log's.
PGDialect.ischema_names.setdefault("xid8", Xid8)


def include_object(
    item: Any, name: str | None, type_: str, reflected: bool, compare_to: object | None
) -> bool:
    """Leave what is tenancy's in the application's schema to the migrations of tenancy.

    That is its tables, and what alembic_utils knows besides: triggers, their functions, and those
    policies, grants and extensions that the application does not declare itself. Where
    ``target_metadata`` has our metadata too, the columns that the application has added to our
    tables are its own, and so are their indexes and constraints.
    """
    ours = False
    match type_:
        case "table":
            compared = compare_to is not None and item.metadata is Base.metadata
            ours = (_is_ours(name) and not compared) or (
                _is_apart(name) and reflected and compare_to is None
            )
        case "column":
            ours = is_own(item)
        case "index" | "unique_constraint" | "foreign_key_constraint" | "check_constraint":
            ours = _is_ours(item.table.name) and all(map(is_own, item.columns))
        case "function":
            ours = item.signature.startswith(_FUNCTION_PREFIX)
        case "trigger":
            ours = _FUNCTION_PREFIX in item.definition
        case "policy":
            table = item.on_entity.rpartition(".")[2]
            ours = reflected and (_is_ours(table) or _is_apart(table))
        case "grant_table":
            ours = reflected and (_is_ours(item.table) or _is_apart(item.table))
        case "extension":
            ours = reflected and item.signature == _EXTENSION
    return not ours


def _is_ours(table: str | None) -> bool:
    return is_own_table(table) or table == VERSION_TABLE


def _is_apart(table: str | None) -> bool:
    """Whether it is of the audit log or the directory of cells, with a metadata of their own."""
    return table is not None and _APART.fullmatch(table) is not None


def process_revision_directives(
    _context: MigrationContext, _revision: Any, directives: list[MigrationScript]
) -> None:
    """Refuse a revision of the application's on top of ours, which would be written beside them.

    Raises:
        CommandError: with the command for a branch of the application's own.
    """
    scripts = context.script
    for directive in directives:
        try:
            heads = scripts.get_revisions(directive.head or "head")
        except CommandError:
            continue  # Alembic does not know which head, and says so
        places = [head.path for head in heads if head is not None] + [directive.version_path or ""]
        if any(Path(place).resolve().is_relative_to(script_location()) for place in places):
            versions = os.path.relpath(Path(scripts.dir, "versions"))
            raise CommandError(
                "a revision of yours cannot be on top of tenancy's; begin a branch of your own: "
                "alembic revision --autogenerate --head base --branch-label app "
                f"--depends-on flametrench_tenancy@head --version-path {versions}"
            )


def render_item(type_: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write column types of ours, which foreign keys to our tables have, as SQLAlchemy's own.

    A revision must not depend on what a class of ours means later.
    """
    ours = isinstance(item, TypeDecorator) and item.__module__.startswith(_PACKAGE)
    return f"sa.{item.impl_instance!r}" if type_ == "type" and ours else False
