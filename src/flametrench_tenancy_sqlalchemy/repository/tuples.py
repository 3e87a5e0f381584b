"""Tuples: kept in step with memberships, and read by subject or object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Select,
    TableValuedAlias,
    and_,
    column,
    delete,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, make_transient_to_detached

from ..ids import decode_object, new_id, require_object_type
from ..models import Membership, Tuple
from ..models.tuple import TupleKey, require_relation
from ..values import PreTuple, Status
from .base import FRESH, Repository


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
        return self._tuples(
            select(Tuple).where(Tuple.subject_type == type_, Tuple.subject_uuid == uuid)
        )

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
        statement = select(Tuple).where(Tuple.object_type == type_, Tuple.object_uuid == uuid)
        if relation is not None:
            require_relation(relation, "relation")
            statement = statement.where(Tuple.relation == relation)
        return self._tuples(statement)

    def _tuples(self, statement: Select[Any]) -> list[Tuple]:
        return list(self.session.scalars(statement.order_by(Tuple.id).execution_options(**FRESH)))

    def _write(self, *memberships: Membership, created_by: str | None = None, at: datetime) -> None:
        """Write memberships, each with its tuple while it is active and without it otherwise."""
        self.session.add_all(memberships)
        self.session.flush()
        ended = [m for m in memberships if m.status is not Status.ACTIVE]
        if ended:
            self._withdraw(ended)
        active = [(m.usr_id, m.grant) for m in memberships if m.status is Status.ACTIVE]
        if active:
            self._grant(active, created_by=created_by, at=at)

    def _withdraw(self, memberships: Sequence[Membership]) -> None:
        # A statement, since the unit of work deletes last: after a tuple of the same key came in.
        keys = [TupleKey.of(m.usr_id, m.grant) for m in memberships]
        self.session.execute(
            delete(Tuple).where(
                Tuple.subject_type == "usr",
                Tuple.object_type == "org",
                or_(
                    *(
                        and_(
                            Tuple.subject_uuid == key.subject_uuid,
                            Tuple.relation == key.relation,
                            Tuple.object_uuid == key.object_uuid,
                        )
                        for key in keys
                    )
                ),
            )
        )

    def _grant(
        self, grants: Sequence[tuple[str, PreTuple]], *, created_by: str | None, at: datetime
    ) -> list[Tuple]:
        """Write what users hold, in one statement; a tuple that exists already is kept.

        Args:
            grants: pairs of a user's wire id and what he is granted, without repetition.
            created_by: the user behind the grants.
            at: the time of the change.

        Returns:
            The tuples, kept ones included, in the order of ``grants``; new ones are detached, as
            the Session would not learn that a rollback has undone a statement.
        """
        keys = [TupleKey.of(usr_id, grant) for usr_id, grant in grants]
        # Always in the same order, so that two transactions with common tuples do not deadlock.
        tuples = {t.key: t for t in self._insert(sorted(keys), created_by=created_by, at=at)}
        kept = [key for key in keys if key not in tuples]
        if kept:
            tuples |= {t.key: t for t in self._tuples(self._with_keys(kept))}
        return [tuples[key] for key in keys]

    def _insert(
        self, keys: Sequence[TupleKey], *, created_by: str | None, at: datetime
    ) -> Iterator[Tuple]:
        """Insert the tuples that are not there yet, and return those."""
        rows = {new_id("tup"): key for key in keys}
        columns = [Tuple.id, *_KEY]
        common = {"subject_type": "usr", "created_at": at, "created_by": created_by}
        values = [(id_, *key) for id_, key in rows.items()]
        if self.session.get_bind(Tuple).dialect.name == "sqlite":
            names = [c.key for c in columns]
            inserted = self.session.scalars(
                sqlite.insert(Tuple).on_conflict_do_nothing().returning(Tuple.id),
                [dict(zip(names, row, strict=True), **common) for row in values],
            )
        else:
            given = _given(values, columns)
            constants = [
                literal(value, getattr(Tuple, name).type) for name, value in common.items()
            ]
            inserted = self.session.scalars(
                postgresql.insert(Tuple)
                .from_select([*columns, *common], select(*given.c, *constants))
                .on_conflict_do_nothing()
                .returning(Tuple.id)
            )
        for id_ in inserted:
            new = Tuple(id=id_, **rows[id_]._asdict(), **common)
            make_transient_to_detached(new)
            yield new

    def _with_keys(self, keys: Sequence[TupleKey]) -> Select[Any]:
        """Return the query for users' tuples; in memory it may find more of theirs."""
        of_users = select(Tuple).where(Tuple.subject_type == "usr")
        if self.session.get_bind(Tuple).dialect.name == "sqlite":
            return of_users.where(Tuple.subject_uuid.in_({key.subject_uuid for key in keys}))
        given = _given(keys, _KEY)
        return of_users.join(given, and_(*(c == given.c[c.key] for c in _KEY)))


_KEY: Final = (Tuple.subject_uuid, Tuple.relation, Tuple.object_type, Tuple.object_uuid)


def _given(
    rows: Sequence[Sequence[Any]], columns: Sequence[InstrumentedAttribute[Any]]
) -> TableValuedAlias:
    """Return rows as a table made of one array for each column.

    A list of rows would become several statements, or more parameters than one may have.
    """
    arrays = [
        literal(list(values), ARRAY(c.type))
        for c, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    return (
        func.unnest(*arrays)
        .table_valued(*(column(c.key, c.type) for c in columns), name="given")
        .render_derived()
    )
