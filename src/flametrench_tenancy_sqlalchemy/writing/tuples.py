"""The tuples with certain keys: in the database, however many, and in the Session."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    any_,
    func,
    inspect,
    select,
    true,
    tuple_,
    update,
)

from .._sql import array_of, array_type, deciding, rows_of, table_of, word
from ..models import Tuple
from ..models.tuple import TupleKey
from ..transactions.sessions import AnySession, among, connection_of, is_sqlite

_tup = table_of(Tuple)
# A column of the key -> its name in `TupleKey`.
KEY: Final = {
    _tup.c.subject_id: "subject_uuid",
    _tup.c.relation: "relation",
    _tup.c.object_type: "object_type",
    _tup.c.object_id: "object_uuid",
}


_UNIQUE: Final = ("subject_type", "subject_id", "relation", "object_type", "object_id")


def id_by_key(key: Mapping[str, ColumnElement[Any]]) -> Select[Any]:
    """Return the query for the id of the tuple that has a key.

    Between the key and itself, in the order of the unique index, which no other index has: a plan
    for all keys would as soon look among all that an object's relation is granted to.

    Args:
        key: a column's name -> its value.
    """
    its = _tup.alias("its")
    columns = [its.c[name] for name in _UNIQUE]
    own, wanted = tuple_(*columns), tuple_(*(key[name] for name in _UNIQUE))
    return select(its.c.id).where(own >= wanted, own <= wanted).order_by(*columns).limit(1)


def ids_by_keys(given: FromClause, key: Mapping[str, ColumnElement[Any]]) -> ColumnElement[bool]:
    """Return the condition that a tuple is one of those with given keys, which are found first."""
    each = id_by_key(key).lateral("each_one")
    ids = select(each.c.id).select_from(given.join(each, true())).scalar_subquery()
    return _tup.c.id == any_(func.array(ids, type_=array_type(_tup.c.id.type)))


def find(
    session: AnySession,
    keys: Collection[TupleKey],
    *,
    lock: bool = False,
    to_delete: bool = False,
) -> dict[TupleKey, Tuple]:
    """Return those of users' tuples with these keys that the database has.

    Args:
        session: the Session.
        keys: the keys.
        lock: whether they are to stay until the transaction ends. At the higher isolation levels
            this tells, too, whether they are still there.
        to_delete: whether they are to be locked as a deletion would lock them.
    """
    if not keys:
        return {}
    query = select(_tup).where(_tup.c.subject_type == "usr")
    if is_sqlite(session):  # which may find more of theirs
        query = query.where(_tup.c.subject_id.in_({key.subject_uuid for key in keys}))
    else:
        columns = zip(KEY, zip(*keys, strict=True), strict=True)
        given = rows_of({c.name: array_of(c.type, values) for c, values in columns})
        key = {"subject_type": word("usr")} | {c.name: given.c[c.name] for c in KEY}
        query = query.where(ids_by_keys(given, key))
    if lock:
        query = query.order_by(*KEY).with_for_update(read=True, key_share=True, of=_tup)
    elif to_delete:
        query = query.order_by(*KEY).with_for_update(of=_tup)
    with session.no_autoflush:
        found = {tuple_.key: tuple_ for tuple_ in session.scalars(deciding(query, Tuple))}
    return {key: found[key] for key in keys if key in found}


def write_as_they_are(session: AnySession, found: Collection[Tuple]) -> None:
    """Write locked tuples unchanged: whoever judges them by an older snapshot fails to serialize.

    There is nothing that a listener could hear of.
    """
    if found:
        same = among(session, _tup.c.id, [each.id for each in found])
        unchanged = update(_tup).where(same).values(created_by=_tup.c.created_by)
        connection_of(session).execute(unchanged)


def held(session: AnySession, keys: Collection[TupleKey]) -> list[Tuple]:
    """Return those of the tuples with these keys that the Session has; the unclear it forgets."""
    gone, found = set(keys), []
    for entity in session.identity_map.values() if gone else ():
        if isinstance(entity, Tuple):
            if not inspect(entity).unloaded.isdisjoint(TupleKey._fields):
                session.expire(entity)
            elif entity.key in gone:
                found.append(entity)
    return found
