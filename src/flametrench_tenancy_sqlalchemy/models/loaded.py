"""What is loaded is loaded; what is not, and can no longer be, says how to ask for it."""

from __future__ import annotations

from typing import Any, Final, TypeVar, overload

from sqlalchemy import event, inspect
from sqlalchemy.exc import InvalidRequestError, MissingGreenlet, StatementError
from sqlalchemy.orm import InstrumentedAttribute, RelationshipProperty
from sqlalchemy.orm.exc import DetachedInstanceError, ObjectDeletedError

from .base import Base

T = TypeVar("T")

_get = InstrumentedAttribute.__get__

_OUT_OF_SIGHT: Final = (
    "Where row-level security is on, the row may be out of sight since the transaction ended: read "
    "what is needed before that, or make the Session with expire_on_commit=False."
)


class NotLoadedError(InvalidRequestError):
    """An entity is asked for what is not loaded, where there is nothing left to load it by.

    Its Session is gone, or an asynchronous one, which loads nothing on the quiet. It is no
    `TenancyError`: the code that reads has to change, and no request is to be answered with it.
    """


class LoadedAttribute(InstrumentedAttribute[T]):
    """An attribute of our models, which says what is missing where it is not loaded."""

    __slots__ = ()
    inherit_cache = True

    @overload
    def __get__(self, instance: None, owner: Any) -> LoadedAttribute[T]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> T: ...
    def __get__(self, instance: object | None, owner: Any) -> Any:
        """Return what is loaded, or can be.

        Raises:
            NotLoadedError: it is not, and cannot.
        """
        try:
            return _get(self, instance, owner)
        except ObjectDeletedError as exc:
            exc.add_note(_OUT_OF_SIGHT)
            raise
        except (DetachedInstanceError, MissingGreenlet, StatementError) as exc:
            # Where a driver has got as far as a statement, SQLAlchemy wraps it.
            if isinstance(exc, StatementError) and not isinstance(exc.orig, MissingGreenlet):
                raise
            raise NotLoadedError(self._missing(instance)) from exc

    def _missing(self, instance: object) -> str:
        state: Any = inspect(instance)
        name = f"{state.class_.__name__}.{self.key}"
        if state.expired or self.key in state.expired_attributes:
            return (
                f"{name} has expired with a transaction, and is not loaded: make the Session with "
                "expire_on_commit=False, or read it before the end"
            )
        loader = "undefer"
        if isinstance(self.property, RelationshipProperty):
            loader = "selectinload" if self.property.uselist else "joinedload"
        return f"{name} is not loaded: where it is read, ask for it with options=[{loader}({name})]"


@event.listens_for(Base, "attribute_instrument", propagate=True)
def _say_what_is_missing(
    model: type[Base], key: str, attribute: InstrumentedAttribute[Any]
) -> None:
    # In its place, since it is known to the mapper already; it has no state of its own.
    attribute.__class__ = LoadedAttribute
