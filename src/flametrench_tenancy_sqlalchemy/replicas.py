"""To read one's own writes on a replica: how far the primary has come, and waiting for that.

The functions for an ``AsyncSession`` are in `aio`.
"""

from __future__ import annotations

import re
import time
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from .errors import PreconditionError, Reason, ReplicaBehindError, shown
from .transactions.sessions import AnySession, connection_of, itself, where_writes_go

TIMEOUT: Final = 1.0
"""How many seconds a caller waits for a replica, if they say nothing."""

_LONGEST_PAUSE: Final = 0.05
_FORM: Final = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")

# A commit has been flushed when it is answered, unless the Session does without. What has not been
# flushed, such as traces of what was only read, need not reach a replica for a while.
_POSITION: Final = text(
    "SELECT CAST(CASE current_setting('synchronous_commit') WHEN 'off'"
    " THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_flush_lsn() END AS text),"
    " pg_current_xact_id_if_assigned() IS NOT NULL"
)
# A server that is no replica, or none any more, has all that there is.
_REPLAYED: Final = text(
    "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= CAST(:position AS pg_lsn),"
    " CAST(pg_last_wal_replay_lsn() AS text)"
)
# The server sleeps, so that an event loop can wait for it as for any other statement.
_PAUSE: Final = text("SELECT pg_sleep(:seconds)")


def position(session: AnySession) -> str:
    """Return how far the primary has come, for a replica that is to show what was committed.

    It is a statement on the primary, which begins a transaction if none is open.

    Args:
        session: a Session on the primary, after the commit, or a ``scoped_session``; with the
            ``synchronous_commit`` that the commit had.

    Returns:
        A position in the primary's log, such as ``0/16B3748``: text, for a cookie or a header.

    Raises:
        InvalidRequestError: the Session's transaction has written and is not committed, so that
            its commit lies behind any position; SQLAlchemy's error.
    """
    with where_writes_go(session):
        found, has_written = connection_of(session).execute(_POSITION).one()
    if has_written:
        raise InvalidRequestError(
            "the Session's transaction has written: commit it, and ask for the position then"
        )
    return str(found)


def wait_for(session: AnySession, position: str, *, timeout: float = TIMEOUT) -> None:
    """Wait until a replica shows all that was committed before a position.

    What the Session reads afterwards is as new as that, if its engine leads to one replica only. A
    primary need not be waited for.

    Args:
        session: a Session on the replica, or a ``scoped_session``, with no transaction open.
        position: what `position` has returned.
        timeout: how many seconds to wait at the most.

    Raises:
        InvalidRequestError: a transaction is open, which may keep the replica from going on, and
            show what was there when it began; SQLAlchemy's error.
        PreconditionError: ``position_format``; it is no position.
        ReplicaBehindError: the replica has not come so far in time.
    """
    if not isinstance(position, str) or not _FORM.fullmatch(position):
        raise PreconditionError(
            f"position: {shown(position)} is not a position in the primary's log",
            Reason.POSITION_FORMAT,
            parameter="position",
        )
    session = itself(session)
    if session.in_transaction():
        raise InvalidRequestError(
            "wait for the replica before the Session's transaction begins, which may keep it from "
            "going on"
        )
    until, pause = time.monotonic() + timeout, 0.0
    while True:
        # Each look is a transaction: the replica lets none with a snapshot see rows vanish.
        with session.begin():
            connection = connection_of(session)
            connection.execute(_PAUSE, {"seconds": pause})
            reached, replayed = connection.execute(_REPLAYED, {"position": position}).one()
        if reached:
            return
        if (left := until - time.monotonic()) <= 0:
            raise ReplicaBehindError(
                f"the replica has come to {replayed}, and not to {position} in {timeout:g} s",
                position=position,
                replayed=replayed,
            )
        pause = min(max(2 * pause, 0.001), left, _LONGEST_PAUSE)
