"""A change as one statement: one wait for the server, however many tables.

The statement has a part for each row that is added or changed, one for each tuple that comes or
goes with a membership, and one for all grants (`parts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy.dialects import postgresql

from .._sql import table_of
from ..models import Base, Invitation, Membership, Organization, Tuple
from ..models.columns import OWN_COLUMNS
from ..models.tuple import TupleKey
from ..transactions.sessions import AnySession, connection_of
from . import tuples
from .change import Change
from .parts import Kind, Part, Values, together, together_behind, values_of
from .told import as_flushed

# What may change in a row that is there already.
_CHANGING: Final[dict[type[Base], tuple[str, ...]]] = {
    Organization: ("status", "name", "slug", "updated_at"),
    Membership: ("status", "removed_by", "updated_at"),
    Invitation: ("status", "invited_user_id", "terminal_at", "terminal_by"),
}
# A column of a tuple -> the attribute that holds it; of a membership's tuple, not all are given.
_TUPLE: Final = {
    "id": "id",
    **{column.name: name for column, name in tuples.KEY.items()},
    "created_at": "created_at",
    "created_by": "created_by",
}
_MEMBERSHIPS: Final = {column: name for column, name in _TUPLE.items() if column != "object_type"}


def write(session: AnySession, change: Change) -> dict[TupleKey, Tuple]:
    """Write a change, and return the tuples of its grants, those that were there before included.

    Nothing holds those: one that somebody else has just deleted is written after all.
    """
    parts = [*_rows(change), *_memberships_tuples(change)]
    missing, there = change.granted, dict[TupleKey, Tuple]()
    new = _send(session, [*parts, *_grants(missing)], missing)
    gone = tuples.held(session, change.withdrawn)
    as_flushed(session, [*change.added, *change.changed, *new], deleted=gone)
    there |= {tuple_.key: tuple_ for tuple_ in new}
    while missing := [tuple_ for tuple_ in change.granted if tuple_.key not in there]:
        there |= tuples.find(session, [tuple_.key for tuple_ in missing])
        missing = [tuple_ for tuple_ in missing if tuple_.key not in there]
        if missing:
            new = _send(session, list(_grants(missing)), missing)
            as_flushed(session, new)
            there |= {tuple_.key: tuple_ for tuple_ in new}
    return there


def write_joining(session: AnySession, change: Change, org_id: str) -> Organization | None:
    """Lock an organization for others to join it, and write what is added if it is active.

    Whoever calls must judge whether it may be joined, and then tell the Session.

    Returns:
        The organization.
    """
    parts = [*_rows(change), *_memberships_tuples(change)]
    statement = together_behind(tuple(part for part, _ in parts))
    org: Organization | None = session.scalars(
        statement, values_of(parts) | {"joined": org_id}
    ).one_or_none()
    return org


def pass_over(session: AnySession, granted: Sequence[Tuple]) -> None:
    """Add tuples but for those that collide, which takes a snapshot that shows what collides.

    Raises:
        DBAPIError: the transaction's does not; a serialization failure.
    """
    rows = [{c: getattr(each, name) for c, name in _TUPLE.items()} for each in granted]
    rows = [row | {"subject_type": "usr"} for row in rows]
    insert = postgresql.insert(table_of(Tuple)).on_conflict_do_nothing()
    connection_of(session).execute(insert, rows)


def _send(
    session: AnySession, parts: list[tuple[Part, Values]], granted: Sequence[Tuple]
) -> list[Tuple]:
    """Send the statement, and return the new ones of the tuples that its last part grants."""
    if not parts:
        return []
    # The Session itself would flush the entities first.
    result = connection_of(session).execute(
        together(tuple(part for part, _ in parts)), values_of(parts)
    )
    written = set(result.scalars()) if granted else ()
    return [tuple_ for tuple_ in granted if tuple_.id in written]


def _rows(change: Change) -> Iterator[tuple[Part, Values]]:
    for entity in change.changed:
        names = ("id", *_CHANGING[type(entity)])
        yield _part(Kind.CHANGE, entity, {name: getattr(entity, name) for name in names})
    for entity in change.added:
        every = {name: getattr(entity, name) for name in OWN_COLUMNS[type(entity)]}
        given = {name: value for name, value in every.items() if value is not None}
        yield _part(Kind.ADD, entity, given)


def _memberships_tuples(change: Change) -> Iterator[tuple[Part, Values]]:
    for key in change.withdrawn:
        given: Values = {
            "subject_id": key.subject_uuid,
            "relation": key.relation,
            "object_id": key.object_uuid,
        }
        yield Part(Kind.WITHDRAW, Tuple, tuple(given)), given
    for each in change.tuples_of(change.entering):
        given = {column: getattr(each, name) for column, name in _MEMBERSHIPS.items()}
        yield _part(Kind.ENTER, each, given)


def _grants(granted: Sequence[Tuple]) -> Iterator[tuple[Part, Values]]:
    if granted:
        given: Values = {c: [getattr(each, name) for each in granted] for c, name in _TUPLE.items()}
        yield _part(Kind.GRANT, granted[0], given)


def _part(kind: Kind, entity: Any, given: Values) -> tuple[Part, Values]:
    return Part(kind, type(entity), tuple(given)), given
