"""The statement that does all an operation writes, built once for each combination of parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Delete,
    Insert,
    Update,
    bindparam,
    delete,
    exists,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased

from .._sql import deciding, rows_of, table_of, word
from ..models import Base, Membership, Organization
from ..values import Status

Values: TypeAlias = dict[str, Any]
Statement: TypeAlias = Insert | Update | Delete

# In the statement itself. Of one with more than 50 parameters psycopg does not remember how to
# send it.
_USER: Final = {"subject_type": word("usr")}
_ORG: Final = {"object_type": word("org")}


class Kind(Enum):
    """What a part of the statement does to its table."""

    CHANGE = auto()
    ADD = auto()
    WITHDRAW = auto()
    """Delete the tuple of a membership."""
    ENTER = auto()
    """Add the tuple of a membership, unless it is there."""
    GRANT = auto()
    """Add many tuples, given as arrays, those that are not there; and return which."""


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
def together_behind(parts: tuple[Part, ...]) -> Any:
    """Return the same behind a shared lock on an organization, which it returns."""
    org = table_of(Organization)
    sought = bindparam("joined", type_=org.c.id.type)
    locked = select(org).where(org.c.id == sought).with_for_update(read=True).cte("joined")
    # The caller judges, too; but what they refuse may be beyond undoing by then.
    active = exists(select(locked.c.id).where(locked.c.status == word(Status.ACTIVE)))
    query = select(locked).add_cte(*_ctes(parts, active))
    return deciding(query, aliased(Organization, locked))


def _ctes(parts: tuple[Part, ...], *conditions: ColumnElement[bool]) -> list[CTE]:
    """Return the parts, each after those before it that it has to wait for."""
    ctes: list[CTE] = []
    for n, part in enumerate(parts):
        statement = _statement(part, n, _awaited(part, ctes, parts), *conditions)
        if _brings_a_member(part):
            statement = statement.returning(table_of(Membership).c.id)
        ctes.append(statement.cte(f"part_{n}"))
    return ctes


def _awaited(part: Part, ctes: list[CTE], parts: tuple[Part, ...]) -> list[ColumnElement[bool]]:
    """Return conditions that make a part wait for others, which run in no particular order.

    An added row comes after changes, and a tuple after its membership: as sets and other clients
    write them, or two who bring the same user in would wait for each other.
    """
    earlier = zip(ctes, parts, strict=False)
    if part.kind is Kind.ENTER:
        first = [cte for cte, one in earlier if _brings_a_member(one)]
    else:
        first = [cte for cte, one in earlier if one.kind is Kind.CHANGE]
    return [exists(select(cte.c.id)) for cte in first]


def _brings_a_member(part: Part) -> bool:
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
    match part.kind:
        case Kind.CHANGE:
            own = table.c.id == given.pop("id")
            return update(table).where(own, *conditions).values(given).returning(table.c.id)
        case Kind.WITHDRAW:
            its_key = (table.c[name] == value for name, value in (_USER | _ORG | given).items())
            return delete(table).where(*its_key, *conditions)
        case Kind.GRANT:
            arrays = {
                name: bindparam(value.key, type_=ARRAY(value.type)) for name, value in given.items()
            }
            given = _USER | dict(rows_of(arrays).c)
        case Kind.ENTER:
            given = _USER | _ORG | given
    added = postgresql.insert(table)
    ready = [*conditions, *awaited]
    if ready or part.kind is Kind.GRANT:
        added = added.from_select(list(given), select(*given.values()).where(*ready))
    else:
        added = added.values(given)
    if part.kind is Kind.ADD:
        return added
    added = added.on_conflict_do_nothing()
    return added.returning(table.c.id) if part.kind is Kind.GRANT else added


def values_of(parts: Iterable[tuple[Part, Values]]) -> Values:
    """Return the parameters of the statement that does these parts."""
    return {
        f"p{number}_{name}": value
        for number, (_, given) in enumerate(parts)
        for name, value in given.items()
    }
