"""Entities as the command line's documents hold them, in stable shapes, and as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, TypeAlias

from ..models import Base
from .answers import Answer, Column, Facts, Table

Document: TypeAlias = dict[str, Any]

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "org": ("id", "status", "name", "slug", "created_at", "updated_at"),
    "mem": (
        *("id", "usr_id", "org_id", "role", "status", "replaces", "invited_by", "removed_by"),
        *("created_at", "updated_at"),
    ),
    "inv": (
        *("id", "org_id", "identifier", "role", "status", "effective_status", "pre_tuples"),
        *("invited_by", "invited_user_id", "created_at", "expires_at"),
        *("terminal_at", "terminal_by"),
    ),
    "usr": ("id", "status", "display_name", "created_at", "updated_at"),
    "tup": (
        *("id", "subject_type", "subject_id", "relation", "object_type", "object_id"),
        *("created_at", "created_by"),
    ),
}
"""A type of id -> what a document says of an entity."""

TITLES: Final = {
    "org": "Organization",
    "mem": "Membership",
    "inv": "Invitation",
    "usr": "User",
    "tup": "Tuple",
}

# What is above a column, where its name alone would be too long.
_SHORT: Final = {
    "usr_id": "USER",
    "org_id": "ORGANIZATION",
    "effective_status": "STATUS",
    "display_name": "NAME",
    "created_at": "CREATED",
    "expires_at": "EXPIRES",
    "object_type": "TYPE",
    "object_id": "OBJECT",
}

# How much of a moment a table has room for: the day, or the minute.
_DIGITS: Final = {"created_at": 10, "expires_at": 16}


def described(entity: Base) -> Document:
    """Return an entity as a document."""
    return {name: _plain(getattr(entity, name)) for name in FIELDS[entity.__tablename__]}


def facts(document: Document) -> Facts:
    """Return a document of an entity as people read it."""
    title = TITLES[document["id"].partition("_")[0]]
    return Facts(title, {name: _read(value) for name, value in document.items()})


def table(documents: Sequence[Document], *names: str, cuttable: str = "") -> Table:
    """Return documents as a table.

    Args:
        documents: its rows.
        names: what its columns hold, the most important first.
        cuttable: the names of those that may be cut to fit, with spaces between.
    """
    columns = [
        Column(_SHORT.get(name, name.upper()), cuttable=name in cuttable.split()) for name in names
    ]
    return Table(columns, [[_short(name, row[name]) for name in names] for row in documents])


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case list():
            return [asdict(grant) for grant in value]
        case _:
            return value


def _read(value: Any) -> str:
    match value:
        case None | []:
            return "-"
        case [*grants]:
            return ", ".join(
                f"{grant['relation']} {grant['object_type']} {grant['object_id']}"
                for grant in grants
            )
        case _:
            return str(value)


def _short(name: str, value: Any) -> str:
    return _read(value)[: _DIGITS.get(name)]


def answer(**entities: Base) -> Answer:
    """Answer with some entities, each under its name."""
    documents = {name: described(entity) for name, entity in entities.items()}
    return Answer(documents, [facts(each) for each in documents.values()])


def listed(name: str, rows: Sequence[Document], cursor: str | None, shown: Table) -> Answer:
    """Answer with a list, and say where it goes on."""
    if not rows:
        return Answer({name: [], "next_cursor": None}, notes=[f"no {name}"])
    more = [] if cursor is None else [f"there are more: --all, or --cursor {cursor}"]
    return Answer({name: rows, "next_cursor": cursor}, [shown], notes=more)
