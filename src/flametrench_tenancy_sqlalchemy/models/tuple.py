"""Tuples: authorization facts, in a table that other packages read and write too."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from uuid import UUID

from sqlalchemy import ColumnElement, ForeignKey, Index, Text, UniqueConstraint, func
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..errors import PreconditionError, Reason, shown
from ..ids import ObjectId, WireId, decode, decode_object, encode_object
from .base import Base, UtcDateTime, described, id_column, matches
from .user import User

if TYPE_CHECKING:
    from ..values import PreTuple

RELATION_PATTERN: Final = "^[a-z_]{2,32}$"
TYPE_PATTERN: Final = "^[a-z]{2,6}$"


class TupleKey(NamedTuple):
    """What makes a user's tuple the one it is."""

    subject_uuid: UUID
    relation: str
    object_type: str
    object_uuid: UUID

    @classmethod
    def of(cls, usr_id: str, grant: PreTuple) -> Self:
        """Return the key of the tuple by which a user holds a grant."""
        return cls(
            decode(usr_id, "usr", "usr_id"),
            grant.relation,
            grant.object_type,
            decode_object(grant.object_id, grant.object_type, "object_id"),
        )


class Tuple(Base):
    """One fact: a subject stands in a relation to an object.

    ``subject_id`` and ``object_id`` read as wire ids when their type is one of Flametrench's, and
    as canonical UUIDs when it is the application's own. They may be set to, and compared with, a
    wire id, a UUID or its 32 hex digits. Selected as columns, without their types, they are UUIDs.

    Specification: ADR 0001, docs/tenancy.md#membership-as-tuple-duality.
    """

    __tablename__ = "tup"
    __table_args__ = (
        matches(TYPE_PATTERN, "tup", "subject_type"),
        matches(RELATION_PATTERN, "tup", "relation"),
        matches(TYPE_PATTERN, "tup", "object_type"),
        UniqueConstraint(
            "subject_type",
            "subject_id",
            "relation",
            "object_type",
            "object_id",
            name="tup_subject_type_subject_id_relation_object_type_object_id_key",
        ),
        Index("tup_object_relation_idx", "object_type", "object_id", "relation"),
        Index("tup_subject_idx", "subject_type", "subject_id"),
    )

    id: Mapped[str] = id_column("tup")
    subject_type: Mapped[str] = mapped_column(Text)
    subject_uuid: Mapped[UUID] = mapped_column("subject_id", ObjectId)
    relation: Mapped[str] = mapped_column(Text)
    object_type: Mapped[str] = mapped_column(Text)
    object_uuid: Mapped[UUID] = mapped_column("object_id", ObjectId)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.now())
    created_by: Mapped[str | None] = mapped_column(WireId("usr"), ForeignKey(User.id))

    creator: Mapped[User | None] = relationship()

    def __repr__(self) -> str:
        match [vars(self).get(name) for name in ("subject_type", *TupleKey._fields)]:
            case [str(kind), UUID() as subject, relation, str(type_), UUID() as object_]:
                holder, held = encode_object(kind, subject), encode_object(type_, object_)
                return f"<Tuple {kind}:{holder} {relation} {type_}:{held}>"
            case _:
                return described(self)

    @property
    def key(self) -> TupleKey:
        """What makes a user's tuple the one it is."""
        return TupleKey(self.subject_uuid, self.relation, self.object_type, self.object_uuid)

    @hybrid_property
    def subject_id(self) -> str:
        """The subject's id, in the form that its type has."""
        return encode_object(self.subject_type, self.subject_uuid)

    @subject_id.inplace.setter
    def _set_subject_id(self, value: str) -> None:
        self.subject_uuid = decode_object(value, self.subject_type, "subject_id")

    @subject_id.inplace.expression
    @classmethod
    def _subject_id_column(cls) -> ColumnElement[UUID]:
        return cls.subject_uuid.expression

    @hybrid_property
    def object_id(self) -> str:
        """The object's id, in the form that its type has."""
        return encode_object(self.object_type, self.object_uuid)

    @object_id.inplace.setter
    def _set_object_id(self, value: str) -> None:
        self.object_uuid = decode_object(value, self.object_type, "object_id")

    @object_id.inplace.expression
    @classmethod
    def _object_id_column(cls) -> ColumnElement[UUID]:
        return cls.object_uuid.expression


def require_relation(value: object, parameter: str) -> str:
    """Return ``value`` if it can be a tuple's relation.

    Raises:
        PreconditionError: ``relation_format``; it is not two to 32 of a-z and underscore.
    """
    form = "two to 32 of a-z and underscore"
    return _require_match(RELATION_PATTERN, value, parameter, form, Reason.RELATION_FORMAT)


def require_object_type(value: object, parameter: str) -> str:
    """Return ``value`` if it can name the type of a tuple's subject or object.

    Raises:
        PreconditionError: ``type_format``; it is not two to six lowercase letters.
    """
    return _require_match(
        TYPE_PATTERN, value, parameter, "two to six lowercase letters", Reason.TYPE_FORMAT
    )


def _require_match(pattern: str, value: object, parameter: str, form: str, reason: Reason) -> str:
    if isinstance(value, str) and re.fullmatch(pattern[1:-1], value):
        return value
    raise PreconditionError(
        f"{parameter}: {shown(value)} is not {form}", reason, parameter=parameter
    )
