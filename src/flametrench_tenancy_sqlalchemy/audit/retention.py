"""How long the audit log is kept: its months, and what is forgotten earlier.

Nothing happens by itself. What is dropped is first listed, by `months`; the table's owner does it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sqlalchemy import text

from ..errors import NotFoundError, PreconditionError, Reason, cut, shown
from ..models.base import is_moment
from ..transactions.sessions import AnySession, connection_of, in_our_schema, in_our_sql

AHEAD: Final = 3
"""How many months are made ahead, unless told otherwise."""

MOST_AHEAD: Final = 1200
"""How many at the most: each is a partition."""

_NAME: Final = re.compile(r"aud_(\d{4})_(\d{2})")
_PARTITIONS: Final = text(
    """
    SELECT relname, greatest(reltuples, 0)::bigint, pg_total_relation_size(pg_class.oid)
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = to_regclass(:aud) ORDER BY relname
    """
)
_WANTED: Final = """
    SELECT CAST(date_trunc('month', recorded_at AT TIME ZONE 'UTC') AS date) FROM {default}
    UNION
    SELECT CAST(date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => n) AS date)
    FROM generate_series(0, :ahead) AS n
    ORDER BY 1
"""
_ADD: Final = "SELECT {add_month}(:month)"
_FORGET: Final = (
    "UPDATE {log} SET context = NULL WHERE context IS NOT NULL AND recorded_at < :before"
)


class Month(NamedTuple):
    """A month of the log, which is a partition of its table.

    Attributes:
        name: the partition's name; ``aud_default`` has what belongs to no month that is there.
        since: when it begins, ``None`` for the default partition.
        until: when it has ended.
        events: about how many it has.
        size: how many bytes it takes, with its indexes.
    """

    name: str
    since: datetime | None
    until: datetime | None
    events: int
    size: int


def months(session: AnySession) -> list[Month]:
    """Return the months of the log, oldest first, and the default partition."""
    connection = connection_of(session)
    rows = connection.execute(_PARTITIONS, {"aud": in_our_schema(connection, "aud")}).all()
    return [Month(name, *_range_of(name), events, size) for name, events, size in rows]


def add_months(session: AnySession, *, ahead: int = AHEAD) -> int:
    """Make the months that are missing, and move to them what the default partition has of them.

    Those who write wait for as long as the transaction lasts only where events are moved.

    Args:
        session: a Session of the table's owner.
        ahead: how many months from now, up to 1200; this one is made in any case.

    Returns:
        How many were made.

    Raises:
        PreconditionError: ``limit_format``; ``ahead`` is no such number.
    """
    if type(ahead) is not int or not 0 <= ahead <= MOST_AHEAD:
        raise PreconditionError(
            f"ahead: {shown(ahead)} is not a number of months from 0 to {MOST_AHEAD}",
            Reason.LIMIT_FORMAT,
            parameter="ahead",
        )
    connection = connection_of(session)
    default = in_our_sql(connection, "aud_default")
    wanted = connection.scalars(text(_WANTED.format(default=default)), {"ahead": ahead}).all()
    add = text(_ADD.format(add_month=in_our_sql(connection, "flametrench_tenancy_add_month")))
    return sum(connection.scalars(add, {"month": month}).one() for month in wanted)


def expired(session: AnySession, *, before: datetime) -> list[Month]:
    """Return the months that have ended by a moment.

    Args:
        session: a Session.
        before: the moment, timezone-aware.

    Raises:
        PreconditionError: ``occurred_at_format``; it has no timezone.
    """
    _require_aware(before)
    return [month for month in months(session) if month.until is not None and month.until <= before]


def drop_months(session: AnySession, names: Sequence[str]) -> None:
    """Drop months of the log, events and all.

    Args:
        session: a Session of the table's owner.
        names: the partitions' names, as `expired` gives them.

    Raises:
        NotFoundError: one of them is no month of the log; nothing is dropped.
    """
    connection = connection_of(session)
    there = [month.name for month in months(session) if month.since is not None]
    names = names if isinstance(names, Collection) else [names]
    for name in names:
        if name not in there:
            raise NotFoundError(
                f"names: there is no month {shown(name)} in the log",
                parameter="names",
                id=cut(name),
            )
    for name in names:
        connection.execute(text(f"DROP TABLE {in_our_sql(connection, name)}"))


def forget_context(session: AnySession, *, before: datetime) -> int:
    """Forget the context of events, which may hold personal data, and nothing else of them.

    Args:
        session: a Session of the table's owner.
        before: the moment, timezone-aware, up to which they were recorded.

    Returns:
        How many events had one.

    Raises:
        PreconditionError: ``occurred_at_format``; it has no timezone.
    """
    _require_aware(before)
    connection = connection_of(session)
    connection.execute(text("SELECT set_config('tenancy.forget_context', 'on', true)"))
    forget = text(_FORGET.format(log=in_our_sql(connection, "aud")))
    forgotten = connection.execute(forget, {"before": before}).rowcount
    connection.execute(text("SELECT set_config('tenancy.forget_context', '', true)"))
    return forgotten


def _range_of(name: str) -> tuple[datetime | None, datetime | None]:
    found = _NAME.fullmatch(name)
    if found is None:
        return None, None
    year, month = int(found[1]), int(found[2])
    after = (year + 1, 1) if month == 12 else (year, month + 1)
    return datetime(year, month, 1, tzinfo=UTC), datetime(*after, 1, tzinfo=UTC)


def _require_aware(before: datetime) -> None:
    if not is_moment(before):
        raise PreconditionError(
            f"before: {shown(before)} is no moment with a timezone",
            Reason.OCCURRED_AT_FORMAT,
            parameter="before",
        )
