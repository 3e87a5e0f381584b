"""A change of many rows: on PostgreSQL one statement for each kind, however many there are.

The rows travel as one array for each column, so that neither the text of a statement nor the
number of its parameters depends on their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from operator import attrgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import Column, Select, cast, delete, literal, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from .._integrity import MEM_UNIQUE_ACTIVE, constraint_name
from .._sql import among, array_of, deciding, rows_of, table_of, word
from ..models import Base, Membership, Tuple
from ..models.columns import OWN_COLUMNS
from ..transactions.savepoint import savepoint
from ..transactions.sessions import AnySession, connection_of, is_sqlite
from ..values import Status
from . import flush, tuples
from .change import Change
from .told import as_flushed

Columns: TypeAlias = dict[Column[Any], list[Any]]

_mem, _tup = table_of(Membership), table_of(Tuple)
_ONE_ACTIVE: Final[dict[str, Any]] = {
    "index_elements": [_mem.c.usr_id, _mem.c.org_id],
    "index_where": text("status = 'active'"),
}
_TUPLE: Final = {
    _tup.c.id: "id",
    _tup.c.subject_type: "subject_type",
    **tuples.KEY,
    _tup.c.created_at: "created_at",
    _tup.c.created_by: "created_by",
}


def write(session: AnySession, change: Change) -> list[Base]:
    """Write revoked memberships, and what is added, without what collides with another membership.

    Returns:
        What was added, and did not collide. The rest is no business of the Session's.
    """
    withdrawn = change.withdrawn
    _revoke(session, [m for m in change.changed if isinstance(m, Membership)])
    added = _add(session, change.added)
    _withdraw(session, change)
    here = {id(entity) for entity in [*change.changed, *added]}
    entering = change.tuples_of([m for m in change.entering if id(m) in here])
    if entering:
        rows = _columns(sorted(entering, key=attrgetter("key")), _TUPLE)
        insert = _insert_of(Tuple, rows).on_conflict_do_nothing()
        connection_of(session).execute(insert)
    as_flushed(session, [*change.changed, *added], tuples.held(session, withdrawn))
    return added


def write_by_flush(session: AnySession, change: Change) -> list[Base]:
    """Do the same by way of the Session's flush; whoever calls has locked the organization."""
    added = _without_those_present(session, change.added)
    left = Change(at=change.at, added=added, changed=change.changed, created_by=change.created_by)
    newcomers = any(isinstance(m, Membership) and m.replaces is None for m in added)
    try:
        with savepoint(session, "join") if newcomers else nullcontext():
            flush.write(session, left)
    except DBAPIError as exc:
        if newcomers and constraint_name(exc) == MEM_UNIQUE_ACTIVE:
            # Who is present cannot be seen, so the transaction's snapshot is older than the lock.
            # The database says so where it is asked to pass over what collides.
            _add(session, added)
        raise
    return added


def _without_those_present(session: AnySession, added: Sequence[Base]) -> list[Base]:
    """Return what is added but for newcomers who are members, or come before in the same set."""
    newcomers = [m for m in added if isinstance(m, Membership) and m.replaces is None]
    if not newcomers:
        return list(added)
    first = {m.usr_id: m for m in reversed(newcomers)}
    present = select(_mem).where(
        _mem.c.org_id == newcomers[0].org_id,
        _mem.c.status == word(Status.ACTIVE),
        among(_mem.c.usr_id, first, arrays=not is_sqlite(session)),
    )
    for membership in session.scalars(deciding(present, Membership)):
        del first[membership.usr_id]
    return list(first.values())


def _revoke(session: AnySession, memberships: Sequence[Membership]) -> None:
    if memberships:
        one = memberships[0]
        connection_of(session).execute(
            update(_mem)
            .where(among(_mem.c.id, [m.id for m in memberships]))
            .values(status=one.status, updated_at=one.updated_at, removed_by=one.removed_by)
        )


def _add(session: AnySession, entities: Sequence[Any]) -> list[Base]:
    if not entities:
        return []
    model = type(entities[0])
    table = table_of(model)
    insert = _insert_of(
        model, _columns(entities, {table.c[name]: name for name in OWN_COLUMNS[model]})
    )
    if model is Membership:
        insert = insert.on_conflict_do_nothing(**_ONE_ACTIVE)
    written = set(connection_of(session).execute(insert.returning(table.c.id)).scalars())
    return [entity for entity in entities if entity.id in written]


def _withdraw(session: AnySession, change: Change) -> None:
    if change.withdrawn:
        keys = dict(zip(tuples.KEY, map(list, zip(*change.withdrawn, strict=True)), strict=True))
        given = _table(keys).subquery("given")
        same = (column == given.c[column.name] for column in keys)
        connection_of(session).execute(delete(_tup).where(_tup.c.subject_type == "usr", *same))


def _insert_of(model: type[Base], columns: Columns) -> postgresql.Insert:
    names = [column.name for column in columns]
    return postgresql.insert(table_of(model)).from_select(names, _table(columns))


def _columns(entities: Iterable[Base], attributes: dict[Any, str]) -> Columns:
    entities = list(entities)
    return {
        column: [getattr(entity, name) for entity in entities]
        for column, name in attributes.items()
    }


def _table(columns: Columns) -> Select[Any]:
    """Return the query for rows that travel as an array for each column.

    Where all rows have the same value, as they often do, it travels once.
    """
    first, *_ = columns
    varying = {
        column.name
        for column, values in columns.items()
        if column is first or values.count(values[0]) < len(values)
    }
    given = rows_of(
        {c.name: array_of(c.type, values) for c, values in columns.items() if c.name in varying}
    )
    return select(
        *(
            given.c[c.name]
            if c.name in varying
            else cast(literal(values[0], c.type), c.type).label(c.name)
            for c, values in columns.items()
        )
    )
