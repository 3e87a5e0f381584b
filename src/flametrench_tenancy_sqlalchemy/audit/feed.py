"""Following the log: what has been committed, in order, each event once and none left out.

Transactions that write at the same time do not commit in the order of their numbers, nor of any
sequence. What is below the oldest number still at work is settled: nothing is added there any more.
So a consumer is given what lies between its position and that horizon, by the number of the
transaction and the place in it, from one statement, which sees both at the same moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Unpack, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from ..errors import InvalidIdError, PreconditionError, Reason
from ..ids import require
from ..models import AuditConsumer, AuditEra, AuditEvent, SkippedEvent
from ..models.audit_event import Xid8
from ..repository.queries import whole_number
from ..transactions.own import rules_in_our_words
from ..transactions.sessions import where_writes_go
from .base import OnSession, text
from .events import Which, conditions_of

MAX_LIMIT: Final = 10_000
"""The most events that a consumer takes at once."""

LONGEST_ERROR: Final = 2000


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a consumer is behind.

    Attributes:
        events: how many committed events it has not been given.
        withheld: how many of them wait for a transaction that began before they were committed,
            in whichever database of the server.
        since: when the first of them was recorded; ``None`` if there are none.
    """

    events: int
    withheld: int
    since: datetime | None


class Feed(OnSession):
    """The log as a feed, for consumers with names."""

    def follow(self, consumer: str, *, limit: int = 100) -> list[AuditEvent]:
        """Return what has been committed since a consumer's position, which moves behind it.

        Each event comes once and none is left out, in an order in which whatever a transaction has
        seen committed comes before it. The position moves in the caller's transaction, whose commit
        says that the work is done; rolled back, the same events come again. A new consumer begins
        at the beginning of the log. One worker at a time works for a consumer: the position's row
        is locked, and where another worker has it, there is nothing to do.

        Args:
            consumer: its name.
            limit: how many, up to 10 000.

        Raises:
            PreconditionError: ``consumer_format``, ``limit_format``; the argument is misshapen.
                ``log_restored``; the log comes from another server, and `begin_era` is to be done.
        """
        name = _name(consumer)
        limit = max(1, min(whole_number(limit), MAX_LIMIT))
        with where_writes_go(self.session), rules_in_our_words():
            position = self._take(name)
            if position is None:
                return []
            events: Sequence[AuditEvent] = (
                self._ask(NEXT, position | {"rows": limit}).scalars().all()
            )
            if events:
                self._ask(_MOVE.values(_position_of(events[-1])), {"consumer": name})
            elif self._ask(_RESTORED, position).scalar():
                raise PreconditionError(
                    "the log has been restored on a server whose transactions have lower numbers; "
                    "begin another era",
                    Reason.LOG_RESTORED,
                )
        return list(events)

    def behind(
        self, event: AuditEvent | None, *, limit: int = 100, **which: Unpack[Which]
    ) -> list[AuditEvent]:
        """Return what the feed has behind an event, for whoever keeps their position themselves.

        Args:
            event: the event; the beginning, if there is none.
            limit: how many, up to 10 000.
            which: which events, as in `Which`.

        Raises:
            InvalidIdError: an id is no wire id of its type, or ``event`` is none.
            PreconditionError: ``moment_format``, ``action_format``, ``target_format``,
                ``limit_format``; the argument is misshapen.
        """
        conditions = conditions_of(**which)
        given = BEGINNING if event is None else _position_of(_require_event(event))
        rows = max(1, min(whole_number(limit), MAX_LIMIT))
        return list(self._ask(NEXT.where(*conditions), given | {"rows": rows}).scalars())

    def skip(self, consumer: str, event: AuditEvent, error: object) -> None:
        """Put on record that a consumer has passed over an event that it could not take.

        Args:
            consumer: its name.
            event: the event.
            error: what was wrong, an exception or a text, of which 2 000 characters are kept.

        Raises:
            InvalidIdError: ``event`` is none.
            PreconditionError: ``consumer_format``.
        """
        kind = type(error).__name__
        try:
            words = f"{kind}: {error}" if isinstance(error, Exception) else str(error)
        except Exception:  # what cannot be told must not stop the consumer
            words = kind
        skipped = {
            "consumer": _name(consumer),
            "event_id": require(_require_event(event).id, "aud", "event"),
            "error": words.encode(errors="replace").decode().replace("\0", "?")[:LONGEST_ERROR],
        }
        with where_writes_go(self.session), rules_in_our_words():
            self._ask(insert(SkippedEvent).values(skipped).on_conflict_do_nothing())

    def lag(self, consumer: str) -> Lag:
        """Return how far a consumer is behind; one that has never followed is by all of the log.

        Args:
            consumer: its name.

        Raises:
            PreconditionError: ``consumer_format``.
        """
        found = self._ask(_POSITION, {"consumer": _name(consumer)}).mappings().one_or_none()
        position = dict(found or BEGINNING)
        events, settled = self._ask(_BEHIND, position).one()
        since = self._ask(_FIRST, position).scalar() if events else None
        return Lag(events, events - settled, since)

    def _take(self, name: str) -> dict[str, Any] | None:
        """Lock a consumer's position and return it, unless another worker has it."""
        mine = self._ask(_POSITION.with_for_update(skip_locked=True), {"consumer": name})
        if position := mine.mappings().one_or_none():
            return dict(position)
        if self._ask(_POSITION, {"consumer": name}).first():
            return None
        return dict(BEGINNING) if self._ask(_NEW, {"consumer": name}).first() else None


def _require_event(value: object) -> AuditEvent:
    if isinstance(value, AuditEvent):
        return value
    raise InvalidIdError("event", value, expected="an event of the audit log")


def _position_of(event: AuditEvent) -> dict[str, Any]:
    return {"era": event.era, "xid": event.xid, "pos": event.pos}


def _name(consumer: object) -> str:
    return text(consumer, "consumer", Reason.CONSUMER_FORMAT)


BEGINNING: Final = {"era": 0, "xid": 0, "pos": 0}
_ORDER: Final = (AuditEvent.era, AuditEvent.xid, AuditEvent.pos)
_SNAPSHOT: Final = func.pg_current_snapshot()
_ERA: Final = select(func.max(AuditEra.era)).scalar_subquery()
_XID: Final = bindparam("xid", type_=Xid8())

_CONSUMER: Final = bindparam("consumer", type_=Text())
_POSITION: Final = select(AuditConsumer.era, AuditConsumer.xid, AuditConsumer.pos).where(
    AuditConsumer.name == _CONSUMER
)
# Who inserts what another is inserting would wait for them.
_ALONE: Final = func.pg_try_advisory_xact_lock(
    func.hashtextextended(literal("flametrench_tenancy.consumer.") + _CONSUMER, 0)
)
_NEW: Final = (
    insert(cast("Table", AuditConsumer.__table__))
    .from_select(["name"], select(_CONSUMER).where(_ALONE))
    .on_conflict_do_nothing()
    .returning(AuditConsumer.name)
)
_MOVE: Final = (
    update(AuditConsumer)
    .where(AuditConsumer.name == _CONSUMER)
    .values(moved_at=func.now())
    .execution_options(synchronize_session=False)
)
_GIVEN: Final = tuple_(
    bindparam("era", type_=Integer()), _XID, bindparam("pos", type_=BigInteger())
)
# "Greater" and "less" would look like no rows where all are of one era, and all would be sorted.
_AHEAD: Final[ColumnElement[bool]] = and_(tuple_(*_ORDER) >= _GIVEN, tuple_(*_ORDER) != _GIVEN)
# What earlier eras have is settled as a whole.
_WRITTEN: Final = tuple_(AuditEvent.era, AuditEvent.xid)
_HORIZON: Final = tuple_(_ERA, func.pg_snapshot_xmin(_SNAPSHOT, type_=Xid8()))
_SETTLED: Final[ColumnElement[bool]] = and_(_WRITTEN <= _HORIZON, _WRITTEN != _HORIZON)
NEXT: Final = (
    select(AuditEvent)
    .where(_AHEAD, _SETTLED)
    .order_by(*_ORDER)
    .limit(bindparam("rows", type_=Integer()))
)
_BEHIND: Final = select(func.count(), func.count().filter(_SETTLED)).where(_AHEAD)
_FIRST: Final = select(AuditEvent.recorded_at).where(_AHEAD).order_by(*_ORDER).limit(1)

# Nobody else's rows can be seen beyond the newest number, nor have been.
_NEWEST: Final = func.pg_snapshot_xmax(_SNAPSHOT, type_=Xid8())
_RESTORED: Final = select(
    or_(
        (bindparam("era", type_=Integer()) == _ERA) & (_XID >= _NEWEST),
        exists().where(
            AuditEvent.era == _ERA,
            AuditEvent.xid >= _NEWEST,
            AuditEvent.xid.is_distinct_from(func.pg_current_xact_id_if_assigned(type_=Xid8())),
        ),
    )
)
