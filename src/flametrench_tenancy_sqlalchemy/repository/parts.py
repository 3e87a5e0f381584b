"""The statement that does all an operation writes, built once for each combination of parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias, cast

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
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
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased

from ..models import Base, Membership, Organization, Tuple
from ..values import Status
from .arrays import rows_of
from .base import word
from .locking import LockingRead, bare, unchanged

Values: TypeAlias = dict[str, Any]
Statement: TypeAlias = Insert | Update | Delete

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


@cache
def together(parts: tuple[Part, ...]) -> Statement:
    """Return the statement that does all parts."""
    *first, last = parts
    ctes = _ctes(tuple(first))
    return _statement(last, len(ctes), _awaited(last, ctes, parts)).add_cte(*ctes)


@cache
def together_behind(parts: tuple[Part, ...]) -> Select[Any]:
    """Return the same behind a shared lock on an organization, which it returns."""
    org = table_of(Organization)
    locked = select(org).where(org.c.id == bindparam("joined")).with_for_update(read=True).cte()
    # The caller judges, too; but what he refuses may be beyond undoing by then.
    active = exists(select(locked.c.id).where(locked.c.status == word(Status.ACTIVE)))
    return bare(select(aliased(Organization, locked))).add_cte(*_ctes(parts, active))


@cache
def together_if_unchanged(
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
def together_asking(parts: tuple[Part, ...], question: Select[Any]) -> Select[Any]:
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
            statement = statement.returning(table_of(Membership).c.id)
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
    table = table_of(part.model)
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


def values_of(parts: Iterable[tuple[Part, Values]]) -> Values:
    """Return the parameters of the statement that does these parts."""
    values: Values = {}
    for number, (_, given) in enumerate(parts):
        values |= numbered(given, number)
    return values


def numbered(values: Values, number: int) -> Values:
    """Return the parameters of one part."""
    return {f"p{number}_{name}": value for name, value in values.items()}


def table_of(model: type[Base]) -> Table:
    """Return the table of a model."""
    return cast("Table", model.__table__)
