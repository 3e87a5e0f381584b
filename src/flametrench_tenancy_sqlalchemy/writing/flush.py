"""A change by way of the Session's own flush: every listener hears what it would hear anyway."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from .._integrity import MEM_UNIQUE_ACTIVE, TUPLE_UNIQUE, constraint_name
from .._sql import deciding, table_of, word
from ..models import Base, Membership, Tuple
from ..models.tuple import TupleKey
from ..transactions.savepoint import savepoint
from ..transactions.sessions import AnySession, pairs_among
from ..values import Status
from . import statement, tuples
from .change import Change, Written

T = TypeVar("T")

_ATTEMPTS: Final = 3

_mem = table_of(Membership)


def write(session: AnySession, change: Change, gone: Collection[TupleKey]) -> Written:
    """Write a change; where some of it is to be passed over, others must be locked out already.

    Args:
        session: the Session, in an operation.
        change: what to write.
        gone: the keys of all tuples that go.
    """
    if not change.passes_over:
        return _write(session, change, change.added, gone)

    def join() -> Written:
        return _write(session, change, _without_those_present(session, change), gone)

    return _beside_others(
        session, "join", MEM_UNIQUE_ACTIVE, join, lambda: statement.write(session, change)
    )


def _write(
    session: AnySession, change: Change, added: Sequence[Base], gone: Collection[TupleKey]
) -> Written:
    """Write first what ends and who comes, then what they are granted.

    In the order of the one statement, or two who bring the same user in would wait for each other.
    """
    here = {*added, *change.changed}
    entering = change.tuples_of([m for m in change.entering if m in here])
    for tuple_ in tuples.find(session, gone, lock=True).values():
        session.delete(tuple_)
    session.add_all(added)
    session.flush()
    there = tuples.find(session, [tuple_.key for tuple_ in entering], lock=True)
    session.add_all(tuple_ for tuple_ in entering if tuple_.key not in there)
    session.flush()
    return Written(added, _grant(session, change.granted) if change.grants else {})


def _without_those_present(session: AnySession, change: Change) -> list[Any]:
    """Return what is added but for members who are there, or come before in the same set."""
    first = {(m.usr_id, m.org_id): m for m in reversed(change.added)}
    if not first:
        return []
    there = pairs_among(session, (_mem.c.usr_id, _mem.c.org_id), first)
    present = select(_mem).where(there, _mem.c.status == word(Status.ACTIVE))
    for membership in session.scalars(deciding(present, Membership)):
        del first[membership.usr_id, membership.org_id]
    return [m for m in change.added if first.get((m.usr_id, m.org_id)) is m]


def _grant(session: AnySession, granted: Sequence[Tuple]) -> dict[TupleKey, Tuple]:
    """Add the tuples that are not there, and return all of them."""

    def grant() -> dict[TupleKey, Tuple]:
        there = tuples.find(session, [tuple_.key for tuple_ in granted], lock=True)
        session.add_all(tuple_ for tuple_ in granted if tuple_.key not in there)
        session.flush()
        return {tuple_.key: there.get(tuple_.key, tuple_) for tuple_ in granted}

    return _beside_others(
        session, "grant", TUPLE_UNIQUE, grant, lambda: statement.pass_over(session, granted)
    )


def _beside_others(
    session: AnySession,
    name: str,
    constraint: str,
    add: Callable[[], T],
    pass_over: Callable[[], object],
) -> T:
    """Add what others may add at the same time, in a savepoint, and look again if they have.

    What collides and cannot be seen then tells that the transaction's snapshot is too old. The
    database says so, too, where it is asked to pass over what collides.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            with savepoint(session, name):
                return add()
        except DBAPIError as exc:
            if constraint_name(exc) != constraint:
                raise
            if not attempts_left:
                pass_over()
                raise
    raise AssertionError("the last attempt returns or raises")
