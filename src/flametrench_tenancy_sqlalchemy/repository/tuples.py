"""Tuples: read by subject or object."""

from __future__ import annotations

from ..ids import decode_object
from ..models import Tuple
from ..models.tuple import require_object_type, require_relation
from ..transactions.isolation import View
from . import queries
from .frame import Repository
from .kinds import reads
from .queries import Options


class TupleOperations(Repository):
    """The operations on tuples."""

    @reads
    def list_tuples_for_subject(
        self, subject_type: str, subject_id: str, *, options: Options | None = None
    ) -> list[Tuple]:
        """Return every tuple that a subject holds, ascending by id.

        Args:
            subject_type: the subject's type, such as ``usr``.
            subject_id: its wire id, canonical UUID or bare 32 hex.
            options: loader options of SQLAlchemy, for what is to be loaded with them.

        Raises:
            PreconditionError: ``type_format``; the type is not two to six lowercase letters.
                ``options_format``; the options are something else.
            InvalidIdError: the id is malformed, or its prefix is not the type.

        Specification: docs/authorization.md.
        """
        type_ = require_object_type(subject_type, "subject_type")
        uuid = decode_object(subject_id, type_, "subject_id")
        query = queries.loading(queries.OF_SUBJECT, options)
        with self._seeing(View.of_tuples(type_, str(uuid))):
            return list(queries.read(self.session, query, {"type": type_, "sought": uuid}))

    @reads
    def list_tuples_for_object(
        self,
        object_type: str,
        object_id: str,
        *,
        relation: str | None = None,
        options: Options | None = None,
    ) -> list[Tuple]:
        """Return every tuple about an object, ascending by id.

        Args:
            object_type: the object's type, such as ``org`` or the application's own ``proj``.
            object_id: its wire id, canonical UUID or bare 32 hex.
            relation: only tuples of this relation.
            options: loader options of SQLAlchemy, for what is to be loaded with them.

        Raises:
            PreconditionError: ``type_format``; the type is not two to six lowercase letters.
                ``relation_format``; the relation is not two to 32 of a-z and underscore.
                ``options_format``; the options are something else.
            InvalidIdError: the id is malformed, or its prefix is not the type.

        Specification: docs/authorization.md.
        """
        type_ = require_object_type(object_type, "object_type")
        uuid = decode_object(object_id, type_, "object_id")
        given = {"type": type_, "sought": uuid}
        query = queries.ABOUT_OBJECT
        if relation is not None:
            given["relation"] = require_relation(relation, "relation")
            query = queries.ABOUT_OBJECT_AS
        with self._seeing(View.of_tuples(type_, str(uuid))):
            return list(queries.read(self.session, queries.loading(query, options), given))
