"""Users in a table of the application's own, each with a `usr` row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, event
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapper

from .ids import decode_object, new_uuid
from .models import User

T = TypeVar("T")


def registers_user(attribute: str) -> Callable[[type[T]], type[T]]:
    """Have every new row of a class of the application's bring the user's ``usr`` row along.

    It is written in the same flush, before the row that needs it. An object without an id gets a
    new one; a ``usr`` row that is there already is left as it is. Only the ORM's unit of work takes
    notice: a bulk ``insert()`` has to be preceded by one of the ``usr`` rows.

    Args:
        attribute: the attribute that holds the user's id: a wire id if its column's type is
            `WireId`, as a foreign key to ``User.id`` has it by default, else a UUID.

    Returns:
        A decorator of mapped classes; their subclasses are included.

    Raises:
        InvalidIdError: at the flush; the attribute holds no user's id.
    """

    def decorate(entity: type[T]) -> type[T]:
        @event.listens_for(entity, "before_insert", propagate=True)
        def write_user(mapper: Mapper[Any], connection: Connection, target: Any) -> None:
            given = getattr(target, attribute)
            uuid = new_uuid() if given is None else _uuid(given, attribute)
            if given is None:
                setattr(target, attribute, uuid)  # a column of wire ids makes one of it
            connection.execute(insert(_USR).values(id=uuid).on_conflict_do_nothing())

        return entity

    return decorate


def _uuid(value: object, parameter: str) -> UUID:
    return value if isinstance(value, UUID) else decode_object(value, "usr", parameter)


_USR = User.metadata.tables[User.__tablename__]
