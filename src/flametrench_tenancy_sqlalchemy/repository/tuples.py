"""Tuples: kept in step with memberships, and read by subject or object."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Select,
    and_,
    bindparam,
    literal,
    select,
)

from ..ids import decode_object
from ..models import Base, Invitation, Membership, Organization, Tuple
from ..models.base import not_found
from ..models.tuple import TupleKey, require_object_type, require_relation
from ..unit_of_work import as_flushed
from .arrays import has_arrays, rows_of
from .base import Repository
from .locking import FRESH, bare
from .writes import Writes


class TupleOperations(Repository):
    """The tuple operations, and the writes that keep a tuple beside each active membership."""

    def list_tuples_for_subject(self, subject_type: str, subject_id: str) -> list[Tuple]:
        """Return every tuple that a subject holds, ascending by id.

        Args:
            subject_type: the subject's type, such as ``usr``.
            subject_id: its wire id, canonical UUID or bare 32 hex.

        Raises:
            PreconditionError: ``type_format``; the type is not two to six lowercase letters.
            InvalidIdError: the id is malformed, or its prefix is not the type.

        Specification: docs/authorization.md.
        """
        type_ = require_object_type(subject_type, "subject_type")
        uuid = decode_object(subject_id, type_, "subject_id")
        return list(self._read(_OF_SUBJECT, {"type": type_, "sought": uuid}))

    def list_tuples_for_object(
        self, object_type: str, object_id: str, *, relation: str | None = None
    ) -> list[Tuple]:
        """Return every tuple about an object, ascending by id.

        Args:
            object_type: the object's type, such as ``org`` or the application's own ``proj``.
            object_id: its wire id, canonical UUID or bare 32 hex.
            relation: only tuples of this relation.

        Raises:
            PreconditionError: ``type_format``; the type is not two to six lowercase letters.
                ``relation_format``; the relation is not two to 32 of a-z and underscore.
            InvalidIdError: the id is malformed, or its prefix is not the type.

        Specification: docs/authorization.md.
        """
        type_ = require_object_type(object_type, "object_type")
        uuid = decode_object(object_id, type_, "object_id")
        given = {"type": type_, "sought": uuid}
        if relation is None:
            return list(self._read(_ABOUT_OBJECT, given))
        given["relation"] = require_relation(relation, "relation")
        return list(self._read(_ABOUT_OBJECT_AS, given))

    def _write(self, *entities: Base, created_by: str | None = None, at: datetime) -> None:
        """Write new and changed entities as they stand, and the tuples that follow from them.

        Args:
            entities: what to write, each after those that it refers to or takes over from.
            created_by: the user behind the tuples.
            at: the time of the change.
        """
        self._carry_out(Writes(*entities, created_by=created_by, at=at))

    def _carry_out(self, writes: Writes) -> dict[TupleKey, Tuple]:
        """Do the writes of an operation that has judged, and return the new grants."""
        return writes.execute(self.session)

    def _carry_out_behind(self, org_id: str, writes: Writes) -> Organization | None:
        """Do the writes of an operation that judges afterwards, and return the organization."""
        return writes.execute_behind(org_id, self.session)

    def _carry_out_asking(
        self, writes: Writes, question: Select[Any], given: dict[str, Any]
    ) -> tuple[dict[TupleKey, Tuple], list[Any]]:
        """Do the same, and return also what a question finds, by which to judge once more."""
        return writes.execute_asking(question, given, self.session)

    def _with_kept(
        self,
        keys: Sequence[TupleKey],
        new: dict[TupleKey, Tuple],
        *,
        created_by: str | None,
        at: datetime,
    ) -> list[Tuple]:
        """Return the tuples of keys, those that were there before included.

        Nothing holds those: one that somebody else has just deleted is written after all.
        """
        while kept := [key for key in keys if key not in new]:
            new |= {t.key: t for t in self.session.scalars(self._with_keys(kept))}
            gone = [key for key in kept if key not in new]
            if gone:
                new |= Writes(grants=gone, created_by=created_by, at=at).execute(self.session)
        return [new[key] for key in keys]

    def _enter(
        self,
        org_id: str,
        newcomer: Membership | Invitation,
        *,
        created_by: str | None = None,
        at: datetime,
    ) -> None:
        """Write what joins an organization under a shared lock on it, and only then judge it.

        In this order it takes one statement, which writes nothing where it will be refused.
        """
        org = self._carry_out_behind(org_id, Writes(newcomer, created_by=created_by, at=at))
        if org is None:
            raise not_found(Organization, org_id, "org_id")
        newcomer.enter(org)
        as_flushed(self.session, [newcomer])

    def _with_keys(self, keys: Sequence[TupleKey]) -> Select[Any]:
        """Return the query for users' tuples; in memory it may find more of theirs."""
        of_users = bare(_TUPLES).where(Tuple.subject_type == "usr")
        if not has_arrays(self.session):
            return of_users.where(Tuple.subject_uuid.in_({key.subject_uuid for key in keys}))
        columns = zip(_KEY, zip(*keys, strict=True), strict=True)
        given = rows_of({c.key: literal(list(values), ARRAY(c.type)) for c, values in columns})
        return of_users.join(given, and_(*(c == given.c[c.key] for c in _KEY)))


_TUPLES: Final = select(Tuple).order_by(Tuple.id).execution_options(**FRESH)
_OF_SUBJECT: Final = _TUPLES.where(
    Tuple.subject_type == bindparam("type"), Tuple.subject_uuid == bindparam("sought")
)
_ABOUT_OBJECT: Final = _TUPLES.where(
    Tuple.object_type == bindparam("type"), Tuple.object_uuid == bindparam("sought")
)
_ABOUT_OBJECT_AS: Final = _ABOUT_OBJECT.where(Tuple.relation == bindparam("relation"))
_KEY: Final = (Tuple.subject_uuid, Tuple.relation, Tuple.object_type, Tuple.object_uuid)
