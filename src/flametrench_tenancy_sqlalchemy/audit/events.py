"""Events of the audit log, one by one and in pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypedDict, Unpack

from sqlalchemy import ColumnElement, Select, func, literal, select, tuple_

from ..clock import time_of
from ..errors import InvalidIdError, NotFoundError, Reason, cut, shown
from ..ids import require
from ..models import AuditEvent, Organization
from ..models.audit_document import event_document
from ..models.base import not_found
from ..repository.queries import MAX_LIMIT, whole_number
from ..transactions.isolation import stays_within
from ..transactions.own import rules_in_our_words
from ..transactions.savepoint import savepoint
from ..transactions.sessions import pool_in_our_words, where_writes_go
from ..values import AuditOutcome, Page
from ..writing.events import write_events
from .base import STREAMED, OnSession, moment, text

_ORDER: Final = (AuditEvent.recorded_at, AuditEvent.id)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Which(TypedDict, total=False):
    """Which events: those of which all holds that is named.

    Attributes:
        org_id: they happened in the organization of this wire id (``org_…``).
        actor: the user of this wire id (``usr_…``) did it.
        action: the action begins so, as in ``tenancy.member_``.
        target: it was done to whatever has this id.
        since: recorded then or later, a timezone-aware datetime.
        until: recorded before, a timezone-aware datetime.
    """

    org_id: str | None
    actor: str | None
    action: str | None
    target: str | None
    since: datetime | None
    until: datetime | None


class Events(OnSession):
    """Writing events and finding them again."""

    def write(
        self,
        action: str,
        target: tuple[str, str],
        *,
        occurred_at: datetime | str | None = None,
        actor_usr_id: str | None = None,
        auth: Mapping[str, Any] | None = None,
        on_behalf: Mapping[str, Any] | None = None,
        scope: tuple[str, str] | None = None,
        outcome: AuditOutcome | str = AuditOutcome.SUCCESS,
        metadata: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> AuditEvent:
        """Write an event of the application's own, which commits with what it tells.

        Args:
            action: what was done, such as ``proj.archive``.
            target: the type and id of what it was done to; the id is kept as it is.
            occurred_at: when, as a timezone-aware datetime, or as a string that is kept as it is;
                now, if nothing is said.
            actor_usr_id: the wire id (``usr_…``) of the user who did it, if a user did.
            auth: how they had signed in, or what part of the system it was: a ``kind`` of
                ``session``, ``pat``, ``share`` and ``system``, and the id that is named after it.
            on_behalf: ``agent_id`` of the agent that acted for them.
            scope: the kind and id of where it happened; ``("org", org_id)`` puts it into an
                organization's log.
            outcome: how it went.
            metadata: whatever else is to be known; no personal data.
            context: ``request_id``, ``ip`` and ``user_agent``.

        Raises:
            InvalidIdError: ``actor_usr_id`` is no ``usr_`` wire id, or ``scope`` names an
                organization by something else than its wire id.
            NotFoundError: row-level security confines the Session to another organization than
                that of ``scope``.
            PreconditionError: ``action_format``, ``target_format``, ``scope_format``,
                ``occurred_at_format``, ``auth_format``, ``on_behalf_format``,
                ``metadata_format``, ``context_format`` or ``status_format``; it has not the form
                that the specification gives it. ``type_format``; the target's type has not 2 to 6
                lowercase letters. ``event_size``; it is larger than 64 KB.
                ``action_reserved``; what it tells is recorded by the schema's triggers.

        Specification: ADR 0019.
        """
        event = event_document(
            *(action, target),
            occurred_at=time_of(self._clock) if occurred_at is None else occurred_at,
            actor_usr_id=actor_usr_id,
            auth=auth,
            on_behalf=on_behalf,
            scope=scope,
            outcome=outcome,
            metadata=metadata,
            context=context,
        )
        org_id = scope[1] if scope is not None and scope[0] == "org" else None
        if org_id is not None and not stays_within(self.session, org_id):
            raise not_found(Organization, org_id, "scope")
        with (
            where_writes_go(self.session),
            pool_in_our_words,
            rules_in_our_words(),
            savepoint(self.session, "write_event"),
        ):
            [written] = write_events(self.session, [event])
            return written

    def get(self, id: str) -> AuditEvent:  # noqa: A002 - the specification's word
        """Return an event.

        Args:
            id: its wire id (``aud_…``).

        Raises:
            InvalidIdError: it is no ``aud_`` wire id.
            NotFoundError: there is none of that id.

        Specification: ADR 0019.
        """
        require(id, "aud", "id")
        event: AuditEvent | None = (
            self._ask(select(AuditEvent).where(AuditEvent.id == id)).scalars().one_or_none()
        )
        if event is None:
            raise NotFoundError(f"id: there is no event {shown(id)}", parameter="id", id=cut(id))
        return event

    def query(
        self,
        *,
        newest_first: bool = False,
        cursor: str | None = None,
        limit: int = 50,
        **which: Unpack[Which],
    ) -> Page[AuditEvent]:
        """Return a page of the events that have been recorded, by the time of that.

        A transaction that commits late may still add to pages that have been read: whoever must
        miss nothing follows the log.

        Args:
            newest_first: whether to begin with the newest.
            cursor: the ``next_cursor`` of the page before.
            limit: how many, up to 200.
            which: which events, as in `Which`.

        Raises:
            InvalidIdError: an id is no wire id of its type, or the cursor is none.
            PreconditionError: ``moment_format``, ``action_format``, ``target_format``,
                ``limit_format``; the argument is misshapen.

        Specification: ADR 0019.
        """
        conditions = conditions_of(**which)
        limit = max(1, min(whole_number(limit), MAX_LIMIT))
        if cursor is not None:
            order, after = tuple_(*_ORDER), tuple_(*_decoded(cursor))
            conditions.append(order < after if newest_first else order > after)
        events = select(AuditEvent).where(*conditions).limit(limit + 1)
        with self._seeing(which.get("org_id")):
            found = self._ask(_ordered(events, newest_first=newest_first)).scalars().all()
        data = list(found[:limit])
        return Page(data, _cursor(data[-1]) if len(found) > limit else None)

    def count(
        self,
        **which: Unpack[Which],
    ) -> int:
        """Return how many events there are.

        Args:
            which: which events, as in `Which`.

        Raises:
            InvalidIdError: an id is no wire id of its type.
            PreconditionError: ``moment_format``, ``action_format``, ``target_format``; the argument
                is misshapen.
        """
        conditions = conditions_of(**which)
        count = select(func.count()).select_from(AuditEvent).where(*conditions)
        with self._seeing(which.get("org_id")):
            counted: int = self._ask(count).scalar_one()
        return counted

    def export(
        self,
        **which: Unpack[Which],
    ) -> Iterator[AuditEvent]:
        """Return an iterator over the events, which holds no more than a thousand of them.

        They come from one statement, so that they are all of one moment.

        Args:
            which: which events, as in `Which`.

        Raises:
            InvalidIdError: an id is no wire id of its type.
            PreconditionError: ``moment_format``, ``action_format``, ``target_format``; the argument
                is misshapen.
        """
        conditions = conditions_of(**which)
        events = _ordered(select(AuditEvent).where(*conditions))
        with self._seeing(which.get("org_id")):
            return iter(self._ask(events, yield_per=STREAMED).scalars())


def conditions_of(**which: Unpack[Which]) -> list[ColumnElement[bool]]:
    """Return the conditions for which events; errors are those of `Events.count`."""
    conditions: list[ColumnElement[bool]] = []
    if (org_id := which.get("org_id")) is not None:
        conditions.append(AuditEvent.scope_id == require(org_id, "org", "org_id"))
    if (actor := which.get("actor")) is not None:
        conditions.append(AuditEvent.actor_usr_id == require(actor, "usr", "actor"))
    if (action := which.get("action")) is not None:
        begins = text(action, "action", Reason.ACTION_FORMAT)
        conditions.append(func.starts_with(AuditEvent.action, begins))
    if (target := which.get("target")) is not None:
        conditions.append(AuditEvent.target_id == text(target, "target", Reason.TARGET_FORMAT))
    if (since := which.get("since")) is not None:
        conditions.append(AuditEvent.recorded_at >= moment(since, "since"))
    if (until := which.get("until")) is not None:
        conditions.append(AuditEvent.recorded_at < moment(until, "until"))
    return conditions


def _ordered(events: Select[Any], *, newest_first: bool = False) -> Select[Any]:
    return events.order_by(*(c.desc() if newest_first else c for c in _ORDER))


def _cursor(event: AuditEvent) -> str:
    """Return where a page ends: a moment and an id, and no position that organizations share."""
    return f"{event.id}.{(event.recorded_at - _EPOCH) // _MICROSECOND}"


def _decoded(cursor: str) -> Sequence[ColumnElement[Any]]:
    id_, _, microseconds = cursor.partition(".") if isinstance(cursor, str) else ("", "", "")
    try:
        require(id_, "aud", "cursor")
        at = _EPOCH + int(microseconds) * _MICROSECOND
    except (InvalidIdError, ValueError, OverflowError):
        raise InvalidIdError("cursor", cursor, expected="a cursor of the audit log") from None
    return literal(at, AuditEvent.recorded_at.type), literal(id_, AuditEvent.id.type)
