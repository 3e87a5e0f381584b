"""How what an operation writes reaches the database: one change, two ways that end the same.

By the Session's own flush, so that all who listen hear it, or by one statement where nobody does.
"""

from __future__ import annotations

from datetime import datetime

from ..models import Organization
from ..models.base import not_found
from ..transactions.sessions import AnySession
from ..transactions.settings import Saying, telling
from . import endings, flush, statement, tuples
from .change import Change, Guard, Written, was, what_was
from .endings import overdue
from .listeners import goes_by_flush
from .told import as_flushed


def write(session: AnySession, change: Change, *, guard: Guard | None = None) -> Written:
    """Write a change.

    Args:
        session: the Session, in an operation.
        change: what to write.
        guard: the organization that is joined, and is locked and judged first, or, by a statement,
            in the same wait.
    """
    if goes_by_flush(session):
        if guard is not None:
            guard.judge(guard.lock())
        gone = change.gone  # as long as the Session knows what its entities were
        with telling(session, change.saying):
            return flush.write(session, change, gone)
    if guard is None:
        return statement.write(session, change)
    org = statement.write_joining(session, change, guard.org_id)
    if org is None:
        raise not_found(Organization, guard.org_id, "org_id")
    guard.judge(org)
    as_flushed(session, change.added)
    return Written(change.added, {})


def write_revocation(
    session: AnySession, org: Organization, *, at: datetime, saying: Saying
) -> None:
    """Write that an organization has been revoked, with everything that it grants."""
    if not goes_by_flush(session):
        endings.revoke(session, org, at=at, saying=saying)
        return
    with telling(session, saying):
        endings.revoke_by_flush(session, org, at=at)


def write_expiry(
    session: AnySession, *, at: datetime, saying: Saying, limit: int | None = None
) -> list[str]:
    """Write that overdue invitations have expired, and return their ids."""
    if not goes_by_flush(session):
        return endings.expire(session, at=at, saying=saying, limit=limit)
    with telling(session, saying):
        return endings.expire_by_flush(session, at=at, limit=limit)


__all__ = [
    "Change",
    "Guard",
    "Written",
    "goes_by_flush",
    "overdue",
    "tuples",
    "was",
    "what_was",
    "write",
    "write_expiry",
    "write_revocation",
]
