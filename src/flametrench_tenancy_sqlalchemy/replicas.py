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
from .transactions.sessions import AnySession, connection_of, where_writes_go

TIMEOUT: Final = 1.0
"""How many seconds a caller waits for a replica, if they say nothing."""

_LONGEST_PAUSE: Final = 0.05
_FORM: Final = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")

# Where a page begins, the next record comes behind the page's header, and the last one ended before
# it: a replica comes no farther until there is a next one.
_POSITION: Final = text("""
    SELECT CAST(lsn - CASE
        WHEN mod(lsn - '0/0', pg_size_bytes(current_setting('wal_segment_size'))) = 40 THEN 40
        WHEN mod(lsn - '0/0', CAST(current_setting('wal_block_size') AS integer)) = 24 THEN 24
        ELSE 0 END AS text), pg_current_xact_id_if_assigned() IS NOT NULL
    FROM pg_current_wal_insert_lsn() AS lsn
""")
# A server that is no replica, or none any more, has all that there is.
_REPLAYED: Final = text(
    "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= CAST(:position AS pg_lsn),"
    " CAST(pg_last_wal_replay_lsn() AS text), current_setting('transaction_isolation')"
)
# The server sleeps, so that an event loop can wait for it as for any other statement.
_PAUSE: Final = text("SELECT pg_sleep(:seconds)")


def position(session: AnySession) -> str:
    """Return how far the primary has come, for a replica that is to show what was committed.

    It is a statement on the primary, which begins a transaction if none is open.

    Args:
        session: a Session on the primary, after the commit, or a ``scoped_session``.

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

    What the Session reads afterwards is as new as that. A primary need not be waited for.

    Args:
        session: a Session on the replica, or a ``scoped_session``.
        position: what `position` has returned.
        timeout: how many seconds to wait at the most.

    Raises:
        PreconditionError: ``position_format``; it is no position. ``isolation_level``; the
            Session's transaction would go on to show what was there when the wait began.
        ReplicaBehindError: the replica has not come so far in time.
    """
    if not isinstance(position, str) or not _FORM.fullmatch(position):
        raise PreconditionError(
            f"position: {shown(position)} is not a position in the primary's log",
            Reason.POSITION_FORMAT,
            parameter="position",
        )
    connection, pause = connection_of(session), 0.001
    until = time.monotonic() + timeout
    while True:
        reached, replayed, level = connection.execute(_REPLAYED, {"position": position}).one()
        if level != "read committed":
            raise PreconditionError(
                f"to wait, a transaction has to be at READ COMMITTED, and not at {level.upper()}",
                Reason.ISOLATION_LEVEL,
            )
        if reached:
            return
        if (left := until - time.monotonic()) <= 0:
            raise ReplicaBehindError(
                f"the replica has come to {replayed}, and not to {position} in {timeout:g} s",
                position=position,
                replayed=replayed,
            )
        connection.execute(_PAUSE, {"seconds": min(pause, left)})
        pause = min(2 * pause, _LONGEST_PAUSE)
