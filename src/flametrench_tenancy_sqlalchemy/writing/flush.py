"""A change by way of the Session's own flush: every listener hears what it would hear anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import DBAPIError

from .._integrity import TUPLE_UNIQUE, constraint_name
from ..models import Tuple
from ..models.tuple import TupleKey
from ..transactions.savepoint import savepoint
from ..transactions.sessions import AnySession
from . import statement, tuples
from .change import Change

_ATTEMPTS: Final = 3


def write(session: AnySession, change: Change) -> dict[TupleKey, Tuple]:
    """Write a change, and return the tuples of its grants, those that were there before included.

    First what ends and who comes, then what they are granted: in the order of the one statement,
    or two who bring the same user in would wait for each other.
    """
    entering = change.tuples_of(change.entering)
    for gone in tuples.find(session, change.withdrawn, lock=True).values():
        session.delete(gone)
    session.add_all(change.added)
    session.flush()
    there = tuples.find(session, [tuple_.key for tuple_ in entering], lock=True)
    session.add_all(tuple_ for tuple_ in entering if tuple_.key not in there)
    session.flush()
    return _grant(session, change.granted) if change.grants else {}


def _grant(session: AnySession, granted: Sequence[Tuple]) -> dict[TupleKey, Tuple]:
    """Add the tuples that are not there, in a savepoint: somebody else may add the same."""
    for attempts_left in reversed(range(_ATTEMPTS)):
        there = tuples.find(session, [tuple_.key for tuple_ in granted], lock=True)
        new = [tuple_ for tuple_ in granted if tuple_.key not in there]
        try:
            if new:
                with savepoint(session, "grant"):
                    session.add_all(new)
            return {tuple_.key: there.get(tuple_.key, tuple_) for tuple_ in granted}
        except DBAPIError as exc:
            if constraint_name(exc) != TUPLE_UNIQUE:
                raise
            if not attempts_left:
                # What collides cannot be seen, so the transaction's snapshot is too old. The
                # database says so where it is asked to pass over what collides.
                statement.pass_over(session, new)
                raise
    raise AssertionError("the last attempt returns or raises")
