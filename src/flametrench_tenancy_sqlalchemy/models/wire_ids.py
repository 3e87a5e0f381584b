"""Attributes and relationships of wire ids, in our classes and in the application's.

A row has one identity in a Session, whose key is made of the values of its attributes; and loaders
find out by such values which rows belong together. So an attribute whose column is a `WireId` holds
nothing but wire ids, and a relationship does not lead from wire ids to UUIDs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Mapper, RelationshipProperty

from ..ids import WireId


@event.listens_for(Mapper, "mapper_configured")
def _prepare(mapper: Mapper[Any], entity: type[Any]) -> None:
    """Prepare a class, be it ours or the application's, as soon as its columns are known."""
    for attribute in mapper.column_attrs:
        type_ = attribute.columns[0].type
        if isinstance(type_, WireId):
            event.listen(getattr(entity, attribute.key), "set", _setter(type_), retval=True)
    for relationship in mapper.relationships:
        _require_alike(relationship)


def _setter(type_: WireId) -> Callable[..., Any]:
    def set_wire_id(_entity: Any, value: Any, *_: Any) -> Any:
        return type_.shown(value)

    return set_wire_id


def _require_alike(relationship: RelationshipProperty[Any]) -> None:
    """Refuse a relationship from wire ids to UUIDs, of which loaders would say that none match."""
    if relationship.viewonly and relationship.omit_join is False:
        return  # reads only, and by what the database says
    for local, remote in relationship.local_remote_pairs or ():
        if isinstance(local.type, WireId) != isinstance(remote.type, WireId):
            raise ArgumentError(
                f"{relationship} leads from {local}, {local.type!r}, to {remote}, {remote.type!r}, "
                "whose values are never equal in Python: give both the same WireId, or give the "
                "relationship viewonly=True and omit_join=False"
            )
