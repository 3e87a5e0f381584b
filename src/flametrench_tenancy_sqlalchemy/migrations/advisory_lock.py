"""One deployer at a time: the advisory lock of the migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Interval,
    String,
    cast,
    extract,
    func,
    literal,
    literal_column,
    select,
    text,
)

from .errors import AdvisoryLockTimeoutError

# Built-in functions are called by their schema: one of somebody else's would fit the types of
# parameters better.
LOCK_KEY: Final = literal_column(
    "pg_catalog.hashtextextended('flametrench_tenancy migrations', 0)", BigInteger
)
_HOLDERS: Final = text(
    """
    SELECT pid, usename AS "user", application_name AS application, client_addr AS client,
        backend_start AS "connected since"
    FROM pg_catalog.pg_locks LEFT JOIN pg_catalog.pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_catalog.pg_database
        WHERE datname = pg_catalog.current_database())
    AND (classid::pg_catalog.int8 << 32) | objid::pg_catalog.int8 = :key
    """
)


def take(connection: Connection, timeout: str) -> None:
    """Wait for the lock, to hold it for the transaction if there is one, else for the session.

    Args:
        connection: whose session or transaction will hold it.
        timeout: how long to wait, as PostgreSQL writes an interval.

    Raises:
        AdvisoryLockTimeoutError: somebody else has held it all the time.
    """
    joining = connection.in_transaction()
    functions = func.pg_catalog
    take_it = functions.pg_try_advisory_xact_lock if joining else functions.pg_try_advisory_lock
    seconds = select(extract("epoch", cast(literal(timeout, String), Interval)))
    deadline = monotonic() + float(connection.scalars(seconds).one())
    # Waiting in the lock's queue would hold a snapshot, and an index that is built concurrently
    # waits for all of those.
    while not connection.scalar(select(take_it(LOCK_KEY))):
        if monotonic() >= deadline:
            raise AdvisoryLockTimeoutError(timeout, _holders(connection))
        connection.scalar(select(functions.pg_sleep(0.1)))
        if not joining:
            connection.rollback()


@contextmanager
def held(connection: Connection, timeout: str) -> Iterator[None]:
    """Hold the lock for the session, whose transactions a migration may have to end."""
    take(connection, timeout)
    connection.rollback()
    try:
        yield
    finally:
        connection.rollback()
        if not connection.invalidated:
            connection.scalar(select(func.pg_catalog.pg_advisory_unlock(LOCK_KEY)))
            connection.rollback()


def _holders(connection: Connection) -> list[str]:
    """Describe who holds the lock, as far as the role may see it."""
    key = connection.scalars(select(LOCK_KEY)).one()
    return [_described(row) for row in connection.execute(_HOLDERS, {"key": key}).mappings()]


def _described(row: Any) -> str:
    if row["pid"] is None:
        return "a prepared transaction"
    return ", ".join(f"{name} {value}" for name, value in row.items() if value not in {None, ""})
