"""Events that no trigger records: an application's own, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, select, text
from sqlalchemy.orm import Session

from ..models import AuditEvent
from ..transactions.sessions import BIND, AnySession, connection_of, in_our_sql

_FUNCTION: Final = "flametrench_tenancy_log_event"
# Whoever may not read the log gets back what they have written.
_WRITE: Final = """
    SELECT written.* FROM jsonb_array_elements(CAST(:events AS jsonb)) AS given (event),
        {function}(given.event) AS written
"""


def write_events(
    session: AnySession, documents: Sequence[Mapping[str, Any]]
) -> Sequence[AuditEvent]:
    """Append events to the log, in the transaction that the Session is in, and return them.

    Args:
        session: the Session.
        documents: the events, as `event_document` makes them.

    Raises:
        PreconditionError: ``action_reserved``; what happens itself is recorded with this action.
        DBAPIError: the database has no log, or the role may not write into it.
    """
    statement = (
        text(_WRITE.format(function=in_our_sql(connection_of(session), _FUNCTION)))
        .bindparams(bindparam("events", json.dumps(documents)))
        .columns(*AuditEvent.__table__.columns)
    )
    written = session.execute(select(AuditEvent).from_statement(statement), bind_arguments=BIND)
    return written.scalars().all()


def write_apart(factory: Callable[[], Session], documents: Sequence[Mapping[str, Any]]) -> None:
    """Append events in a transaction of its own, which outlives the one that they are about.

    Args:
        factory: returns a new Session.
        documents: the events, as `event_document` makes them.
    """
    with factory() as session, session.begin():
        write_events(session, documents)
