"""The statement that does all an operation writes, built once for each combination of parts.

A part is what is done to some rows of a table. What they have in common is a parameter, and what
tells them apart an array, so that neither the statement nor the number of its parameters depends on
how many they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import (
    CTE,
    ColumnElement,
    Delete,
    Insert,
    Table,
    Update,
    any_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeEngine

from .._sql import array_type, array_values, deciding, rows_of, table_of, word
from ..models import Membership, Organization
from ..transactions.settings import SAID, Saying, told_by_the_statement
from ..values import Status
from .tuples import id_by_key, ids_by_keys

Values: TypeAlias = dict[str, Any]
Statement: TypeAlias = Insert | Update | Delete

OF: Final = "of"
"""Beside the columns of a membership's tuple: the membership's id."""

_mem, _org = table_of(Membership), table_of(Organization)
_ONE_ACTIVE: Final[dict[str, Any]] = {
    "index_elements": ["usr_id", "org_id"],
    "index_where": text("status = 'active'"),
}
# In the statement itself: of one with more than 50 parameters psycopg does not remember how to
# send it.
_OF_USERS: Final = {"subject_type": word("usr")}
_ON_ORGS: Final = {"object_type": word("org")}


class Kind(Enum):
    """What a part of the statement does to its table."""

    CHANGE = auto()
    ADD = auto()
    JOIN = auto()
    """Add memberships, but for those that collide with another active one; and return which."""
    WITHDRAW = auto()
    """Delete the tuples of memberships."""
    ENTER = auto()
    """Add the tuples of memberships, unless they are there."""
    GRANT = auto()
    """Add tuples, unless they are there; and return which."""


class Part(NamedTuple):
    """A part of the statement, apart from its values."""

    kind: Kind
    table: Table
    same: tuple[str, ...]
    """The columns that have one value for all rows."""
    each: tuple[str, ...]
    """Those that have a value for each."""

    @property
    def brings_members(self) -> bool:
        """Whether it adds memberships."""
        return self.table is _mem and self.kind in (Kind.ADD, Kind.JOIN)


def part_of(kind: Kind, table: Table, rows: Sequence[Values]) -> tuple[Part, Values]:
    """Return the part for rows that have the same columns, and its values."""
    first = rows[0]
    each = tuple(name for name in first if any(row[name] != first[name] for row in rows))
    arrays = {
        name: array_values(_type_of(table, name), (row[name] for row in rows)) for name in each
    }
    same = tuple(name for name in first if name not in arrays)
    return Part(kind, table, same, each), first | arrays


def values_of(parts: Iterable[tuple[Part, Values]], saying: Saying) -> Values:
    """Return the parameters of the statement that does these parts, and says who does them."""
    values = {
        f"p{number}_{name}": value
        for number, (_, given) in enumerate(parts)
        for name, value in given.items()
    }
    return values | {SAID: saying.words}


@cache
def together(parts: tuple[Part, ...]) -> Any:
    """Return the statement that does all parts, and returns the ids that one of them does."""
    *first, last = parts
    telling = told_by_the_statement()
    if any(part.kind is Kind.JOIN for part in first):
        ctes = _ctes(parts, telling)
        (joined,) = (cte for cte, part in ctes if part.kind is Kind.JOIN)
        return select(joined.c.id).add_cte(*(cte for cte, _ in ctes))
    ctes = _ctes(tuple(first), telling)
    return _statement(last, len(ctes), ctes, telling).add_cte(*(cte for cte, _ in ctes))


@cache
def together_behind(parts: tuple[Part, ...]) -> Any:
    """Return the same behind a shared lock on an organization, which it returns."""
    sought = bindparam("joined", type_=_org.c.id.type)
    locked = select(_org).where(_org.c.id == sought).with_for_update(read=True).cte("joined")
    # The caller judges, too; but what they refuse may be beyond undoing by then.
    active = exists(select(locked.c.id).where(locked.c.status == word(Status.ACTIVE)))
    ctes = _ctes(parts, active, told_by_the_statement())
    query = select(locked).add_cte(*(cte for cte, _ in ctes))
    return deciding(query, aliased(Organization, locked))


def _ctes(parts: tuple[Part, ...], *conditions: ColumnElement[bool]) -> list[tuple[CTE, Part]]:
    ctes: list[tuple[CTE, Part]] = []
    for n, part in enumerate(parts):
        statement = _statement(part, n, ctes, *conditions)
        if part.kind in (Kind.ADD, Kind.JOIN, Kind.ENTER):
            # Where tables are distributed, a violation is only told as one if rows come back.
            statement = statement.returning(part.table.c.id)
        ctes.append((statement.cte(f"part_{n}"), part))
    return ctes


def _statement(
    part: Part, number: int, before: list[tuple[CTE, Part]], *conditions: ColumnElement[bool]
) -> Statement:
    """Return the statement of a part.

    The parts run in no particular order, but for what they read from each other. So what is added
    waits for all that changes, memberships for their organization, and tuples for the membership:
    as a flush and other clients write them, or two who add the same would wait for each other. An
    organization's log begins with it, then, too.
    """
    table = part.table
    arrays = {name: _parameter(part, number, name) for name in part.each}
    rows = rows_of(arrays) if arrays else None
    given: dict[str, ColumnElement[Any]] = {
        name: _parameter(part, number, name) if rows is None or name in part.same else rows.c[name]
        for name in (*part.same, *part.each)
    }
    match part.kind:
        case Kind.CHANGE:
            own = table.c.id == given.pop("id")
            if arrays.keys() == {"id"}:
                own = table.c.id == any_(arrays["id"])
            return update(table).where(own, *conditions).values(given).returning(table.c.id)
        case Kind.WITHDRAW:
            key = _OF_USERS | _ON_ORGS | given
            own = (
                ids_by_keys(rows, key)
                if rows is not None
                else table.c.id == id_by_key(key).scalar_subquery()
            )
            return delete(table).where(own, *conditions)
        case Kind.ENTER:
            membership = given.pop(OF)
            awaited: list[ColumnElement[bool]] = [
                membership.in_(select(cte.c.id)) for cte, other in before if other.brings_members
            ]
            given = _OF_USERS | _ON_ORGS | given
        case _:
            grants = part.kind is Kind.GRANT
            awaited = [
                _done(cte)
                for cte, other in before
                if other.kind is Kind.CHANGE
                or other.table is _org
                or (grants and other.brings_members)
            ]
            if grants:
                given = _OF_USERS | given
    ready = select(*given.values()).where(*conditions, *awaited)
    added = postgresql.insert(table).from_select(list(given), ready)
    match part.kind:
        case Kind.JOIN:
            return added.on_conflict_do_nothing(**_ONE_ACTIVE)
        case Kind.ENTER:
            return added.on_conflict_do_nothing()
        case Kind.GRANT:
            return added.on_conflict_do_nothing().returning(table.c.id)
    return added


def _done(cte: CTE) -> ColumnElement[bool]:
    return select(func.count()).select_from(cte).scalar_subquery() > 0


def _parameter(part: Part, number: int, name: str) -> ColumnElement[Any]:
    type_ = _type_of(part.table, name)
    if name not in part.each:
        return bindparam(f"p{number}_{name}", type_=type_)
    array = array_type(type_)
    return cast(bindparam(f"p{number}_{name}", type_=array), array)


def _type_of(table: Table, name: str) -> TypeEngine[Any]:
    return _mem.c.id.type if name == OF else table.c[name].type
