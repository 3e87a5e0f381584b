"""A change as one statement: one wait for the server, however many rows and tables.

The statement has a part for the rows that are added to a table, for those that change alike, for
the tuples that come and go with memberships, and for grants (`parts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from sqlalchemy.dialects import postgresql
from sqlalchemy.orm.attributes import get_history

from .._sql import table_of
from ..models import Base, Invitation, Membership, Organization, Tuple, User
from ..models.columns import OWN_COLUMNS
from ..transactions.sessions import AnySession, connection_of
from ..transactions.settings import Saying
from . import tuples
from .change import Change, Written
from .parts import OF, Kind, Part, Values, part_of, together, together_behind, values_of
from .told import as_flushed

# What may change in a row that is there already.
_CHANGING: Final[dict[type[Base], tuple[str, ...]]] = {
    Organization: ("status", "name", "slug", "updated_at"),
    Membership: ("status", "removed_by", "updated_at"),
    Invitation: (
        *("status", "identifier", "expires_at"),
        *("invited_user_id", "terminal_at", "terminal_by"),
    ),
}
_TUPLE: Final = {
    "id": "id",
    **{column.name: name for column, name in tuples.KEY.items()},
    "created_at": "created_at",
    "created_by": "created_by",
}
"""A column of a tuple -> the attribute that holds it."""


def write(session: AnySession, change: Change) -> Written:
    """Write a change, and tell the Session.

    Tuples of the grants that were there before are held from when they are found: one that
    somebody else has deleted meanwhile is written after all.
    """
    written = _send(session, [*_parts(change), *_grants(change.granted)], change.saying)
    added = [each for each in change.added if not change.passes_over or each.id in written]
    new = [tuple_ for tuple_ in change.granted if tuple_.id in written]
    gone = tuples.held(session, change.gone)
    as_flushed(session, [*added, *change.changed, *new], deleted=gone)
    there = {tuple_.key: tuple_ for tuple_ in new}
    while missing := [tuple_ for tuple_ in change.granted if tuple_.key not in there]:
        there |= tuples.find(session, [tuple_.key for tuple_ in missing], lock=True)
        missing = [tuple_ for tuple_ in missing if tuple_.key not in there]
        if missing:
            written = _send(session, list(_grants(missing)), change.saying)
            new = [tuple_ for tuple_ in missing if tuple_.id in written]
            as_flushed(session, new)
            there |= {tuple_.key: tuple_ for tuple_ in new}
    return Written(added, there)


def write_joining(session: AnySession, change: Change, org_id: str) -> Organization | None:
    """Lock an organization for others to join it, and write what is added if it is active.

    Whoever calls must judge whether it may be joined, and then tell the Session.

    Returns:
        The organization.
    """
    parts = _parts(change)
    statement = together_behind(tuple(part for part, _ in parts))
    org: Organization | None = session.scalars(
        statement, values_of(parts, change.saying) | {"joined": org_id}
    ).one_or_none()
    return org


def pass_over(session: AnySession, granted: Sequence[Tuple]) -> None:
    """Add tuples but for those that collide, which takes a snapshot that shows what collides.

    Raises:
        DBAPIError: the transaction's does not; a serialization failure.
    """
    rows = [_row_of(each) | {"subject_type": "usr"} for each in granted]
    insert = postgresql.insert(table_of(Tuple)).on_conflict_do_nothing()
    connection_of(session).execute(insert, rows)


def _send(session: AnySession, parts: list[tuple[Part, Values]], saying: Saying) -> set[str]:
    """Send the statement, and return the ids that it returns."""
    if not parts:
        return set()
    # The Session itself would flush the entities first.
    result = connection_of(session).execute(
        together(tuple(part for part, _ in parts)), values_of(parts, saying)
    )
    return set(result.scalars()) if result.returns_rows else set()


def _parts(change: Change) -> list[tuple[Part, Values]]:
    # New users come first: what changes may refer to them, and where tables are distributed, the
    # parts run one after another.
    users = [each for each in change.added if isinstance(each, User)]
    others = [each for each in change.added if not isinstance(each, User)]
    return [
        *_added(change, users),
        *_changed(change),
        *_added(change, others),
        *_of_memberships(change),
    ]


def _changed(change: Change) -> Iterator[tuple[Part, Values]]:
    """Return a part for all rows that change in a table."""
    for model, columns in _CHANGING.items():
        entities = [entity for entity in change.changed if type(entity) is model]
        names = [
            name
            for name in columns
            if any(get_history(entity, name).has_changes() for entity in entities)
        ]
        if names:
            rows = [{name: getattr(entity, name) for name in ("id", *names)} for entity in entities]
            yield part_of(Kind.CHANGE, table_of(model), rows)


def _added(change: Change, added: Sequence[Base]) -> Iterator[tuple[Part, Values]]:
    """Return a part for all rows that are added to a table."""
    for model, entities in groupby(added, type):
        every = [
            {name: getattr(entity, name) for name in OWN_COLUMNS[model]} for entity in entities
        ]
        used = [name for name in OWN_COLUMNS[model] if any(row[name] is not None for row in every)]
        rows = [{name: row[name] for name in used} for row in every]
        kind = Kind.JOIN if change.passes_over else Kind.ADD
        yield part_of(kind, table_of(model), rows)


def _of_memberships(change: Change) -> Iterator[tuple[Part, Values]]:
    """Return the parts for the tuples that come and go with memberships."""
    if change.withdrawn:
        rows: list[Values] = [
            {"subject_id": k.subject_uuid, "relation": k.relation, "object_id": k.object_uuid}
            for k in change.withdrawn
        ]
        yield part_of(Kind.WITHDRAW, table_of(Tuple), rows)
    if change.taken:
        rows = [
            {column.name: getattr(key, name) for column, name in tuples.KEY.items()}
            for key in change.taken
        ]
        yield part_of(Kind.WITHDRAW, table_of(Tuple), rows)
    if change.entering:
        rows = [
            {OF: membership.id, **_row_of(tuple_)}
            for membership, tuple_ in zip(
                change.entering, change.tuples_of(change.entering), strict=True
            )
        ]
        for row in rows:
            del row["object_type"]
        yield part_of(Kind.ENTER, table_of(Tuple), rows)


def _grants(granted: Sequence[Tuple]) -> Iterator[tuple[Part, Values]]:
    if granted:
        yield part_of(Kind.GRANT, table_of(Tuple), [_row_of(each) for each in granted])


def _row_of(tuple_: Tuple) -> Values:
    return {column: getattr(tuple_, name) for column, name in _TUPLE.items()}
