"""What an admin shows: a sheet for each kind of entity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, or_, select
from sqlalchemy.orm import joinedload

from ...errors import InvalidIdError
from ...ids import ObjectId, WireId, decode, encode
from ...models import Invitation, Membership, Organization, Tuple, User
from ...models.base import is_storable
from ...values import InvitationStatus, PreTuple, Role, Status, Term

_LABELS: Final = {
    "effective_status": "Status",
    "invited_user_id": "Invited user",
    "object_id": "Object",
    "org_id": "Organization",
    "pre_tuples": "Grants",
    "subject_id": "Subject",
    "terminal_at": "Ended at",
    "terminal_by": "Ended by",
    "usr_id": "User",
}

Entity: TypeAlias = Organization | Membership | Invitation | Tuple | User
"""What an admin shows."""

# All but the end of a wire id, which is the part that differs most.
_ID: Final = re.compile("(?<=^[a-z]{3}_)[0-9a-f]{24}(?=[0-9a-f]{8}$)")

_NAMED: Final = {"org_id": "organization", "usr_id": "user"}
"""References that are shown by name, and the relationships that know it."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What an admin shows of one kind of entity.

    Attributes:
        model: the entity's class.
        name: what its entities are called.
        icon: the name of a Font Awesome icon.
        columns: the attributes that its list has.
        details: those that only the page of one entity has.
        sortable: those by which the list can be sorted.
        filters: those by which it can be filtered, with the words that they may have.
        texts: those in which a search looks for text.
    """

    model: type[Entity]
    name: str
    icon: str
    columns: tuple[str, ...]
    details: tuple[str, ...] = ()
    sortable: tuple[str, ...]
    filters: Mapping[str, type[Term]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    @property
    def type_(self) -> str:
        """The type of its entities' ids, which is also the sheet's place in the admin's paths."""
        return self.model.__tablename__

    def rows(self) -> Select[Any]:
        """Return the query of all its entities, with the names that its list shows."""
        named = [getattr(self.model, _NAMED[name]) for name in self.columns if name in _NAMED]
        return select(self.model).options(*map(joinedload, named))

    def sorted_by(self, attribute: str | None, *, descending: bool) -> list[ColumnElement[Any]]:
        """Return an order of its list: the newest first, if no other is asked for."""
        column = getattr(self.model, attribute if attribute in self.sortable else "id")
        backwards = descending or attribute not in self.sortable
        order = column.desc() if backwards else column.asc()
        return [order, self.model.__mapper__.primary_key[0].desc()]

    def matching(self, term: str) -> ColumnElement[bool]:
        """Return the condition that an entity has to do with what is looked for.

        Args:
            term: a wire id, or a UUID, which finds whatever refers to it; else a part of a text.
        """
        if (uuid := _uuid_of(term)) is not None:
            type_ = term.partition("_")[0] if "_" in term else None
            return or_(false(), *self._refers_to(uuid, type_))
        if not is_storable(term):
            return false()
        texts = (getattr(self.model, name).icontains(term, autoescape=True) for name in self.texts)
        return or_(false(), *texts)

    def _refers_to(self, uuid: UUID, type_: str | None) -> list[ColumnElement[bool]]:
        found = []
        for name, column in self.model.__mapper__.columns.items():
            attribute = getattr(self.model, name)
            if isinstance(column.type, WireId) and type_ in {None, column.type.type_}:
                found.append(attribute == encode(column.type.type_, uuid))
            elif isinstance(column.type, ObjectId):
                kind = getattr(self.model, name.replace("uuid", "type"))
                found.append((attribute == uuid) & (kind == type_ if type_ else ~false()))
        return found

    def filtered(self, attribute: str, word: str, at: datetime) -> ColumnElement[bool]:
        """Return the condition that an attribute has a word; it is false of what is no such word.

        Args:
            attribute: one of `filters`.
            word: the word.
            at: the time by which an invitation is overdue, and so has expired.
        """
        if word not in list(self.filters[attribute]):
            return false()
        if attribute != "effective_status":
            condition: ColumnElement[bool] = getattr(self.model, attribute) == word
            return condition
        status, overdue = Invitation.status == word, Invitation.overdue_at(at)
        return status | overdue if word == InvitationStatus.EXPIRED else status & ~overdue


SHEETS: Final = [
    Sheet(
        model=Organization,
        name="Organization",
        icon="building",
        columns=("id", "name", "slug", "status", "created_at"),
        details=("updated_at",),
        sortable=("id", "name", "slug", "created_at"),
        filters={"status": Status},
        texts=("name", "slug"),
    ),
    Sheet(
        model=Membership,
        name="Membership",
        icon="id-badge",
        columns=("id", "usr_id", "org_id", "role", "status", "created_at"),
        details=("updated_at", "replaces", "invited_by", "removed_by"),
        sortable=("id", "created_at"),
        filters={"role": Role, "status": Status},
    ),
    Sheet(
        model=Invitation,
        name="Invitation",
        icon="envelope",
        columns=("id", "identifier", "org_id", "role", "effective_status", "expires_at"),
        details=(
            *("pre_tuples", "created_at", "invited_by", "invited_user_id"),
            *("terminal_at", "terminal_by"),
        ),
        sortable=("id", "identifier", "expires_at"),
        filters={"role": Role, "effective_status": InvitationStatus},
        texts=("identifier",),
    ),
    Sheet(
        model=Tuple,
        name="Tuple",
        icon="link",
        columns=("id", "subject_id", "relation", "object_type", "object_id", "created_at"),
        details=("subject_type", "created_by"),
        sortable=("id", "created_at"),
        texts=("relation",),
    ),
    Sheet(
        model=User,
        name="User",
        icon="user",
        columns=("id", "display_name", "status", "created_at"),
        details=("updated_at",),
        sortable=("id", "display_name", "created_at"),
        filters={"status": Status},
        texts=("display_name",),
    ),
]
"""All sheets, in the order of the menu."""

_RELATED: Final[dict[type[Entity], tuple[type[Entity], ...]]] = {
    Organization: (Membership, Invitation, Tuple),
    User: (Membership, Invitation, Tuple),
}


def related(entity: Entity) -> list[Sheet]:
    """Return the sheets on which a search for an entity's id finds what belongs to it."""
    models = _RELATED.get(type(entity), ())
    return [sheet for sheet in SHEETS if sheet.model in models]


def label_of(attribute: str) -> str:
    """Return what an attribute is called."""
    return _LABELS.get(attribute) or attribute.replace("_", " ").capitalize()


def text_of(entity: Entity, attribute: str) -> str:
    """Return an attribute as it is shown."""
    if attribute in _NAMED:
        return name_of(getattr(entity, _NAMED[attribute]))
    match getattr(entity, attribute):
        case None:
            return ""
        case datetime() as moment:
            return f"{moment:%Y-%m-%d %H:%M} UTC"
        case [*grants]:
            return ", ".join(map(_grant, grants))
        case value:
            return str(value)


def short_text_of(entity: Entity, attribute: str) -> str:
    """Return the same for a list, in which ids would take all of the width."""
    return _ID.sub("…", text_of(entity, attribute))


def link_of(entity: Entity, attribute: str) -> tuple[str, str] | None:
    """Return where an attribute leads: to the sheet of a type, and there to an id."""
    value = getattr(entity, attribute)
    column = entity.__mapper__.columns.get(attribute)
    is_id = attribute in {"subject_id", "object_id"} or (
        column is not None and isinstance(column.type, WireId)
    )
    type_ = value.partition("_")[0] if is_id and value else None
    return (type_, value) if type_ in {sheet.type_ for sheet in SHEETS} else None


def name_of(entity: Entity) -> str:
    """Return what people call an entity: its name, if it has one, else its id."""
    for attribute in ("name", "display_name", "slug", "identifier"):
        if name := getattr(entity, attribute, None):
            return str(name)
    return str(entity.__dict__.get("id", entity))


def _grant(grant: PreTuple) -> str:
    return f"{grant.relation} of {grant.object_type} {grant.object_id}"


def _uuid_of(term: str) -> UUID | None:
    type_, separator, _ = term.partition("_")
    try:
        return decode(term, type_, "search") if separator else UUID(term)
    except (InvalidIdError, ValueError):
        return None
