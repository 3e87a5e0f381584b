"""Users: opaque identities, which tenancy refers to and does not manage."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from ..errors import InvalidIdError
from ..ids import new_id, require
from ..values import Status
from .base import Base, TermType, Timestamps, described, id_column, known_id, one_of


class User(Timestamps, Base):
    """Somebody who may hold memberships.

    The row belongs to the identity layer, such as ``flametrench-identity``; where there is none,
    the application writes it itself, in the same transaction as its own user.

    Specification: ADR 0014 (``display_name``).
    """

    __tablename__ = "usr"
    __table_args__ = (one_of(Status, "usr", "status"),)

    id: Mapped[str] = id_column("usr")
    status: Mapped[Status] = mapped_column(
        TermType(Status), default=Status.ACTIVE, server_default=Status.ACTIVE
    )
    display_name: Mapped[str | None] = mapped_column(Text)

    @classmethod
    def register(cls, *, at: datetime) -> Self:
        """Return a new active user, for somebody whom no identity layer has registered yet."""
        return cls(
            id=new_id("usr"), status=Status.ACTIVE, display_name=None, created_at=at, updated_at=at
        )

    def __repr__(self) -> str:
        return described(self)


def user_id(value: User | str, parameter: str) -> str:
    """Return the wire id of the user whom an argument means.

    Args:
        value: the wire id (``usr_…``), or the user themselves, in whatever Session or in none.
        parameter: the name of the argument, for the error.

    Raises:
        InvalidIdError: it is neither, or a user who has no id yet.
    """
    if not isinstance(value, User):
        return require(value, "usr", parameter)
    id_ = known_id(value)
    if id_ is None:
        expected = "a user with an id, which they get when they are flushed"
        raise InvalidIdError(parameter, value, expected=expected)
    return require(id_, "usr", parameter)


def user_id_if_given(value: User | str | None, parameter: str) -> str | None:
    """Return the same, or ``None`` for ``None``."""
    return None if value is None else user_id(value, parameter)
