"""What an operation writes, as one statement: one wait for the server, however many tables.

The statement has a part for each row that is added or changed, and one for each tuple that comes
or goes with a membership (`parts`). SQLite, which knows no such statements, gets the parts one
after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, inspect
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.attributes import get_history

from ..ids import new_id
from ..models import Base, Invitation, Membership, Organization, Tuple
from ..models.columns import OWN_COLUMNS
from ..models.tuple import TupleKey
from ..unit_of_work import BIND, AnySession, as_flushed, is_new
from ..values import Status
from .locking import Sight, StaleReadError
from .parts import (
    EACH,
    TUPLE,
    Kind,
    Part,
    Values,
    numbered,
    table_of,
    together,
    together_asking,
    together_behind,
    together_if_unchanged,
    values_of,
)

# What may change in a row that is there already.
CHANGING: Final[dict[type[Base], tuple[str, ...]]] = {
    Organization: ("status", "name", "slug", "updated_at"),
    Membership: ("status", "removed_by", "updated_at"),
    Invitation: ("status", "invited_user_id", "terminal_at", "terminal_by"),
}


class Writes:
    """The rows of an operation, with the tuple that belongs beside each active membership.

    Args:
        entities: new and changed ones, each after those that it refers to or takes over from.
        grants: tuples of users to write besides, without repetition; one that exists is kept.
        created_by: the user behind the tuples.
        at: the time of the change.
    """

    def __init__(
        self,
        *entities: Base,
        grants: Iterable[TupleKey] = (),
        created_by: str | None = None,
        at: datetime,
    ) -> None:
        self.entities = entities
        self._common = {"created_at": at, "created_by": created_by}
        # Always in the same order, so that two transactions with common tuples do not deadlock.
        self._grants = {new_id("tup"): key for key in sorted(grants)}
        self._parts = list(self._take_apart())

    def execute(self, session: AnySession) -> dict[TupleKey, Tuple]:
        """Write everything, and tell the Session.

        Returns:
            The new tuples among the grants. They are detached: the Session is not to hold
            thousands of rows that nobody has asked it for.
        """
        # The Session itself would flush the entities first.
        connection = session.connection(bind_arguments=BIND)
        if connection.dialect.name == "sqlite":
            new = self._execute_one_by_one(connection)
        else:
            new = self._execute_together(connection)
        return self._told(session, new)

    def execute_if_unchanged(
        self,
        sight: Sight,
        session: AnySession,
        *,
        unless: Select[Any] | None = None,
        given: Values | None = None,
    ) -> dict[TupleKey, Tuple]:
        """Write everything, if what an optimistic operation has read has not changed since.

        None of the grants may be there already: to keep one, it would have to be read afterwards.

        Args:
            sight: what it has read.
            session: the Session in which it has read it.
            unless: a query for one entity which must not find one, either.
            given: its parameters, which must not be called like columns.

        Returns:
            The new tuples among the grants.

        Raises:
            StaleReadError: nothing was written.
        """
        parts = self._parts_with_grants(Kind.GRANT_ALL)
        statement = together_if_unchanged(tuple(part for part, _ in parts), sight.reads, unless)
        values = values_of(parts) | sight.given | (given or {})
        connection = session.connection(bind_arguments=BIND)
        same, new = connection.execute(statement, values).one()
        if not same:
            raise StaleReadError
        return self._told(session, new or ())

    def execute_behind(self, org_id: str, session: AnySession) -> Organization | None:
        """Lock an organization for others to join it, and write everything if it is active.

        Whoever calls must judge whether it may be joined, and then tell the Session.

        Returns:
            The organization.
        """
        connection = session.connection(bind_arguments=BIND)
        if connection.dialect.name == "sqlite":
            org = session.get(Organization, org_id, populate_existing=True)
            if org is not None:
                self._execute_one_by_one(connection)
            return org
        statement = together_behind(tuple(part for part, _ in self._parts))
        found = session.scalars(statement, values_of(self._parts) | {"joined": org_id})
        return found.one_or_none()

    def execute_asking(
        self, question: Select[Any], given: Values, session: AnySession
    ) -> tuple[dict[TupleKey, Tuple], list[Any]]:
        """Write everything, and ask something that the writes themselves do not change.

        Args:
            question: a query for one entity, with one row at least.
            given: its parameters, which must not be called like columns.
            session: whose transaction it is.

        Returns:
            The new tuples among the grants, and what the question found.
        """
        connection = session.connection(bind_arguments=BIND)
        with session.no_autoflush:
            if connection.dialect.name == "sqlite":
                found = session.scalars(question, given).all()
                new = self._execute_one_by_one(connection)
            else:
                parts = self._parts_with_grants()
                statement = together_asking(tuple(part for part, _ in parts), question)
                rows = session.execute(statement, values_of(parts) | given).all()
                found = [row[0] for row in rows]
                new = rows[0][1] or ()
        return self._told(session, new), list(found)

    def _parts_with_grants(self, kind: Kind = Kind.GRANT_MANY) -> list[tuple[Part, Values]]:
        if not self._grants:
            return self._parts
        rows = ((id_, *key) for id_, key in self._grants.items())
        each = dict(zip(EACH, map(list, zip(*rows, strict=True)), strict=True))
        return [*self._parts, (Part(kind, Tuple, TUPLE), self._common | each)]

    def _execute_together(self, connection: Connection) -> Iterable[str]:
        parts = self._parts_with_grants()
        statement = together(tuple(part for part, _ in parts))
        result = connection.execute(statement, values_of(parts))
        return result.scalars().all() if self._grants else ()

    def _execute_one_by_one(self, connection: Connection) -> Iterable[str]:
        for part, values in self._parts:
            connection.execute(together((part,)), numbered(values, 0))
        rows = [
            numbered(self._common | dict(zip(EACH, (id_, *key), strict=True)), 0)
            for id_, key in self._grants.items()
        ]
        if not rows:
            return ()
        statement = together((Part(Kind.GRANT, Tuple, TUPLE),)).returning(table_of(Tuple).c.id)
        return connection.execute(statement, rows).scalars().all()

    def _told(self, session: AnySession, new: Iterable[str]) -> dict[TupleKey, Tuple]:
        """Tell the Session what was written, and return the new tuples by their keys."""
        as_flushed(session, self.entities, deleted=list(self._withdrawn_from(session)))
        return {self._grants[id_]: self._granted(id_) for id_ in new}

    def _withdrawn_from(self, session: AnySession) -> Iterator[Tuple]:
        """Return those of the deleted tuples that the Session has loaded."""
        gone = {
            TupleKey(given["subject_id"], given["relation"], "org", given["object_id"])
            for part, given in self._parts
            if part.kind is Kind.WITHDRAW
        }
        if gone:
            for entity in session.identity_map.values():
                # One that is not loaded, or not all of it, finds out by itself.
                if (
                    isinstance(entity, Tuple)
                    and inspect(entity).unloaded.isdisjoint(TupleKey._fields)
                    and entity.key in gone
                ):
                    yield entity

    def _granted(self, id_: str) -> Tuple:
        key = self._grants[id_]._asdict()
        tuple_ = Tuple(id=id_, subject_type="usr", **key, **self._common)
        make_transient_to_detached(tuple_)
        return tuple_

    def _take_apart(self) -> Iterator[tuple[Part, Values]]:
        for entity in self.entities:
            model = type(entity)
            if is_new(entity):
                every = {name: getattr(entity, name) for name in OWN_COLUMNS[model]}
                values = {name: value for name, value in every.items() if value is not None}
                yield Part(Kind.ADD, model, tuple(values)), values
            else:
                values = {name: getattr(entity, name) for name in ("id", *CHANGING[model])}
                yield Part(Kind.CHANGE, model, tuple(values)), values
            if isinstance(entity, Membership):
                yield from self._tuple_of(entity)

    def _tuple_of(self, membership: Membership) -> Iterator[tuple[Part, Values]]:
        key = TupleKey.of(membership.usr_id, membership.grant)
        values: Values = {
            "subject_id": key.subject_uuid,
            "relation": key.relation,
            "object_id": key.object_uuid,
        }
        if membership.status is Status.ACTIVE:
            values |= {"id": new_id("tup"), **self._common}
            yield Part(Kind.GRANT, Tuple, tuple(values)), values
        elif Status.ACTIVE in get_history(membership, "status").deleted:
            yield Part(Kind.WITHDRAW, Tuple, tuple(values)), values
