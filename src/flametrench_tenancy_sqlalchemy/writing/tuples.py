"""The tuples with certain keys: in the database, however many, and in the Session."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import and_, inspect, select

from .._sql import array_of, deciding, rows_of, table_of
from ..models import Tuple
from ..models.tuple import TupleKey
from ..transactions.sessions import AnySession, is_sqlite

_tup = table_of(Tuple)
# A column of the key -> its name in `TupleKey`.
KEY: Final = {
    _tup.c.subject_id: "subject_uuid",
    _tup.c.relation: "relation",
    _tup.c.object_type: "object_type",
    _tup.c.object_id: "object_uuid",
}


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
        query = query.join(given, and_(*(c == given.c[c.name] for c in KEY)))
    if lock:
        query = query.order_by(*KEY).with_for_update(read=True, key_share=True, of=_tup)
    elif to_delete:
        query = query.order_by(*KEY).with_for_update(of=_tup)
    with session.no_autoflush:
        found = {tuple_.key: tuple_ for tuple_ in session.scalars(deciding(query, Tuple))}
    return {key: found[key] for key in keys if key in found}


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
