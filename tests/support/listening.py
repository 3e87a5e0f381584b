"""What an application hears of the rows that its Session writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import get_history

from flametrench_tenancy_sqlalchemy import Base
from tests.support.rows import Rows

Row: TypeAlias = tuple[str, str]
"""A table, and the id of a row in it."""

_KINDS = ("insert", "update", "delete")


class Ear:
    """Hears what a Session flushes."""

    def __init__(self) -> None:
        self.rows: dict[str, Counter[Row]] = {}
        """``before_insert`` and the like -> how often it was heard of each row."""
        self.flushed: dict[str, Counter[Row]] = {kind: Counter() for kind in _KINDS}
        """What stood in ``session.new``, ``dirty`` and ``deleted`` before the flushes."""
        self.changes: dict[Row, dict[str, tuple[Any, Any]]] = {}
        """Each changed row -> its attributes' old and new values, as their history tells."""

    def flushing(self, session: Session, *_: object) -> None:
        for kind, entities in zip(
            _KINDS, (session.new, session.dirty, session.deleted), strict=True
        ):
            self.flushed[kind].update(row_of(e) for e in entities if session.is_modified(e))
            if kind == "delete":
                self.flushed[kind].update(map(row_of, entities))
        for entity in session.dirty:
            if session.is_modified(entity):
                self.changes[row_of(entity)] = dict(_changes(entity))


def row_of(entity: Any) -> Row:
    """Return the row of an entity."""
    return entity.__tablename__, entity.id


def _changes(entity: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for attribute in inspect(entity).mapper.column_attrs:
        history = get_history(entity, attribute.key)
        if history.added and history.deleted and history.added != history.deleted:
            yield attribute.key, (history.deleted[0], history.added[0])


@contextmanager
def listening(session: Session) -> Iterator[Ear]:
    """Listen to the flushes of a Session, and to all that mappers of ours write."""
    ear = Ear()
    listeners: list[tuple[Any, str, Any]] = [(session, "before_flush", ear.flushing)]
    for kind in _KINDS:
        for when in ("before", "after"):
            heard = ear.rows[f"{when}_{kind}"] = Counter()

            def note(
                mapper: object, connection: object, entity: Any, heard: Counter[Row] = heard
            ) -> None:
                heard[row_of(entity)] += 1

            listeners.append((Base, f"{when}_{kind}", note))
    for target, name, listener in listeners:
        options = {} if target is session else {"propagate": True}
        event.listen(target, name, listener, **options)
    try:
        yield ear
    finally:
        for target, name, listener in listeners:
            event.remove(target, name, listener)


def written(before: Rows, after: Rows) -> dict[str, set[Row]]:
    """Return which rows have been inserted, updated and deleted."""
    old, new = (
        {(t, row.id): row for t, rows in all_.items() for row in rows} for all_ in (before, after)
    )
    return {
        "insert": set(new.keys() - old.keys()),
        "update": {row for row in new.keys() & old.keys() if new[row] != old[row]},
        "delete": set(old.keys() - new.keys()),
    }
