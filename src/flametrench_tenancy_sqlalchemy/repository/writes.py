"""What an operation writes, as one statement: one wait for the server, however many tables.

The statement has a part for each row that is added or changed, and one for each tuple that comes
or goes with a membership. It is built once for each combination of parts. SQLite, which knows no
such statements, gets the parts one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum, auto
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias, cast

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Connection,
    Delete,
    Insert,
    ScalarSelect,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    exists,
    func,
    inspect,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased, make_transient_to_detached
from sqlalchemy.orm.attributes import get_history

from ..ids import new_id
from ..models import Base, Invitation, Membership, Organization, Tuple
from ..models.tuple import TupleKey
from ..unit_of_work import BIND, AnySession, as_flushed, is_new
from ..values import Status
from .arrays import rows_of
from .base import word
from .locking import FRESH, LockingRead, Sight, StaleReadError, unchanged

Values: TypeAlias = dict[str, Any]
Statement: TypeAlias = Insert | Update | Delete

# What may change in a row that is there already.
CHANGING: Final[dict[type[Base], tuple[str, ...]]] = {
    Organization: ("status", "name", "slug", "updated_at"),
    Membership: ("status", "removed_by", "updated_at"),
    Invitation: ("status", "invited_user_id", "terminal_at", "terminal_by"),
}
# What tells apart many tuples of one statement: the id and the columns of `TupleKey`.
EACH: Final = ("id", "subject_id", "relation", "object_type", "object_id")
TUPLE: Final = (*EACH, "created_at", "created_by")
# In the statement itself: whom tuples are about here and, unless it is given, what. Of a statement
# with more than 50 parameters psycopg does not remember how to send it.
WORDS: Final = {"subject_type": word("usr"), "object_type": word("org")}


class Kind(Enum):
    """What a part of the statement does to its table."""

    CHANGE = auto()
    ADD = auto()
    WITHDRAW = auto()
    GRANT = auto()
    GRANT_MANY = auto()
    GRANT_ALL = auto()
    """The same, where none of them may be there already."""


class Part(NamedTuple):
    """A part of the statement, apart from its values."""

    kind: Kind
    model: type[Base]
    columns: tuple[str, ...]


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
        self._entities = entities
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
        statement = _together_if_unchanged(tuple(part for part, _ in parts), sight.reads, unless)
        values = _values(parts) | sight.given | (given or {})
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
        statement = _together_behind(tuple(part for part, _ in self._parts))
        found = session.scalars(statement, _values(self._parts) | {"joined": org_id})
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
                statement = _together_asking(tuple(part for part, _ in parts), question)
                rows = session.execute(statement, _values(parts) | given).all()
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
        statement = _together(tuple(part for part, _ in parts))
        result = connection.execute(statement, _values(parts))
        return result.scalars().all() if self._grants else ()

    def _execute_one_by_one(self, connection: Connection) -> Iterable[str]:
        for part, values in self._parts:
            connection.execute(_together((part,)), _numbered(values, 0))
        rows = [
            _numbered(self._common | dict(zip(EACH, (id_, *key), strict=True)), 0)
            for id_, key in self._grants.items()
        ]
        if not rows:
            return ()
        statement = _together((Part(Kind.GRANT, Tuple, TUPLE),)).returning(_table(Tuple).c.id)
        return connection.execute(statement, rows).scalars().all()

    def _told(self, session: AnySession, new: Iterable[str]) -> dict[TupleKey, Tuple]:
        """Tell the Session what was written, and return the new tuples by their keys."""
        as_flushed(session, self._entities, deleted=list(self._withdrawn_from(session)))
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
        tuple_ = Tuple._of(id=id_, subject_type="usr", **key, **self._common)
        make_transient_to_detached(tuple_)
        return tuple_

    def _take_apart(self) -> Iterator[tuple[Part, Values]]:
        for entity in self._entities:
            model = type(entity)
            if is_new(entity):
                every = {c.name: getattr(entity, c.name) for c in _table(model).c}
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


@cache
def _together(parts: tuple[Part, ...]) -> Statement:
    """Return the statement that does all parts."""
    *first, last = parts
    ctes = _ctes(tuple(first))
    return _statement(last, len(ctes), _awaited(last, ctes, parts)).add_cte(*ctes)


@cache
def _together_behind(parts: tuple[Part, ...]) -> Select[Any]:
    """Return the same behind a shared lock on an organization, which it returns."""
    org = _table(Organization)
    locked = select(org).where(org.c.id == bindparam("joined")).with_for_update(read=True).cte()
    # The caller judges, too; but what he refuses may be beyond undoing by then.
    active = exists(select(locked.c.id).where(locked.c.status == word(Status.ACTIVE)))
    question = select(aliased(Organization, locked)).execution_options(**FRESH)
    return question.add_cte(*_ctes(parts, active))


@cache
def _together_if_unchanged(
    parts: tuple[Part, ...], reads: tuple[LockingRead, ...], unless: Select[Any] | None
) -> Select[Any]:
    """Return the same if reads find what they have found; whether so, and the new grants."""
    conditions = []
    if unless is not None:
        id_ = unless.column_descriptions[0]["entity"].id
        conditions.append(~exists(unless.with_only_columns(id_).where(id_.is_not(None))))
    same = exists(select(unchanged(reads, *conditions).c.one))
    ctes = _ctes(parts, same)
    return select(same, _new_grants(parts, ctes)).add_cte(*ctes)


@cache
def _together_asking(parts: tuple[Part, ...], question: Select[Any]) -> Select[Any]:
    """Return the same as part of a query, which also returns the ids of new grants."""
    ctes = _ctes(parts)
    return question.add_columns(_new_grants(parts, ctes)).add_cte(*ctes)


def _new_grants(parts: tuple[Part, ...], ctes: Sequence[CTE]) -> ScalarSelect[Any]:
    """Return the ids of the grants that were not there before."""
    many = parts[-1].kind in (Kind.GRANT_MANY, Kind.GRANT_ALL)
    new = func.array_agg(ctes[-1].c.id) if many else null()
    return select(new).scalar_subquery()


def _ctes(parts: tuple[Part, ...], *conditions: ColumnElement[bool]) -> list[CTE]:
    """Return the parts, each after those before it that it has to wait for."""
    ctes: list[CTE] = []
    for n, part in enumerate(parts):
        statement = _statement(part, n, _awaited(part, ctes, parts), *conditions)
        if _enters(part):
            statement = statement.returning(_table(Membership).c.id)
        ctes.append(statement.cte(f"part_{n}"))
    return ctes


def _awaited(part: Part, ctes: list[CTE], parts: tuple[Part, ...]) -> list[ColumnElement[bool]]:
    """Return conditions that make a part wait for others, which run in no particular order.

    An added row comes after changes, and a tuple after its membership: as sets and other clients
    write them, or two who bring the same user in would wait for each other.
    """
    earlier = zip(ctes, parts, strict=False)
    if part.kind is Kind.GRANT:
        first = [cte for cte, one in earlier if _enters(one)]
    else:
        first = [cte for cte, one in earlier if one.kind is Kind.CHANGE]
    return [exists(select(cte.c.id)) for cte in first]


def _enters(part: Part) -> bool:
    return part.kind is Kind.ADD and part.model is Membership


def _statement(
    part: Part,
    number: int,
    awaited: Sequence[ColumnElement[bool]],
    *conditions: ColumnElement[bool],
) -> Statement:
    table = _table(part.model)
    given: dict[str, ColumnElement[Any]] = {
        name: bindparam(f"p{number}_{name}", type_=table.c[name].type) for name in part.columns
    }
    if part.model is Tuple:
        given = WORDS | given
    new = postgresql.insert(table)
    match part.kind:
        case Kind.CHANGE:
            own = table.c.id == given.pop("id")
            return update(table).where(own, *conditions).values(given).returning(table.c.id)
        case Kind.ADD | Kind.GRANT:
            added = new.values(given)
            if ready := [*conditions, *awaited]:
                added = new.from_select(list(given), select(*given.values()).where(*ready))
            return added.on_conflict_do_nothing() if part.kind is Kind.GRANT else added
        case Kind.WITHDRAW:
            its_key = (table.c[name] == value for name, value in given.items())
            return delete(table).where(*its_key, *conditions)
        case Kind.GRANT_MANY | Kind.GRANT_ALL:
            rows = rows_of(
                {
                    name: bindparam(f"p{number}_{name}", type_=ARRAY(table.c[name].type))
                    for name in EACH
                }
            )
            source = select(*(rows.c[name] if name in EACH else given[name] for name in given))
            granted = new.from_select(list(given), source.where(*conditions))
            if part.kind is Kind.GRANT_MANY:
                granted = granted.on_conflict_do_nothing()
            return granted.returning(table.c.id)


def _values(parts: Iterable[tuple[Part, Values]]) -> Values:
    values: Values = {}
    for number, (_, given) in enumerate(parts):
        values |= _numbered(given, number)
    return values


def _numbered(values: Values, number: int) -> Values:
    return {f"p{number}_{name}": value for name, value in values.items()}


def _table(model: type[Base]) -> Table:
    return cast("Table", model.__table__)
