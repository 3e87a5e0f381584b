"""Who acts, and in what circumstances: told to the database by settings of the transaction.

The audit log's triggers read them when rows change. A statement that writes tells them for itself,
in the same wait: its own time is told along, and the next statement has another. What is flushed
takes several statements, before and after which they are set and taken back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, Select, Text, bindparam, exists, func, select, text
from sqlalchemy import cast as sql_cast

from ..authority import Actor
from ..models import Membership
from ..models.audit_document import event_document, require_auth, require_context
from ..values import AuditOutcome
from .sessions import AnySession, connection_of, is_sqlite

SAID: Final = "said"
"""The parameter of a statement that tells: `Saying.words`."""

_ACTING: Final = "tenancy.acting"
_DURING: Final = "tenancy.acting_during"
_NO_LOG: Final = "flametrench_tenancy.no_log"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What surrounds operations, whoever acts in them.

    Attributes:
        auth: how they have signed in, or what part of the system it is.
        context: the request's id, address and user agent.
    """

    auth: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None


_UNKNOWN: Final = Circumstances()
_circumstances: ContextVar[Circumstances] = ContextVar("circumstances", default=_UNKNOWN)


@contextmanager
def audit_context(
    *, auth: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Let the audit log know the circumstances of all operations in the block, in any Session.

    What `acting_as` is told stands before this. Tasks and threads that are started in the block
    know it as far as they inherit the context of their caller (``contextvars``).

    Args:
        auth: how whoever acts has signed in, or what part of the system it is:
            ``{"kind": "system", "system_id": "nightly-expiry"}``.
        context: ``request_id``, ``ip`` and ``user_agent``, each a string.

    Raises:
        PreconditionError: ``auth_format`` or ``context_format``; it has not the form that the
            specification gives it. ``event_size``; it is larger than an event may be.

    Specification: ADR 0019.
    """
    require_auth(auth, "auth")
    require_context(context, "context")
    around = _circumstances.get()
    token = _circumstances.set(
        Circumstances(auth or around.auth, {**(around.context or {}), **(context or {})} or None)
    )
    try:
        yield
    finally:
        _circumstances.reset(token)


@dataclass(frozen=True, slots=True)
class Saying:
    """What an operation tells: its name, whoever acts in it, and the circumstances."""

    words: str

    @classmethod
    def of(cls, operation: str, actor: Actor | None) -> Saying:
        """Return what an operation tells for a user, or for the system itself."""
        return cls(json.dumps(said_of(actor) | {"operation": operation}))


def said_of(actor: Actor | None) -> dict[str, Any]:
    """Return whoever acts and the circumstances, as far as they are known."""
    around = _circumstances.get()
    auth = around.auth
    if actor is not None:
        # What the system has said of itself does not hold for a user.
        auth = actor.auth or (auth if auth and auth["kind"] != "system" else None)
    told = {
        "actor": actor and actor.usr_id,
        "auth": auth,
        "on_behalf": actor and actor.on_behalf,
        "context": {**(around.context or {}), **((actor and actor.context) or {})} or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def denial(
    actor: Actor,
    operation: str,
    target_id: str,
    membership: Membership | None,
    *,
    reason: str,
    at: datetime,
) -> dict[str, Any]:
    """Return the event that tells what somebody may not do.

    Args:
        actor: the user.
        operation: what they tried.
        target_id: the wire id of what they tried it on.
        membership: theirs in the organization in whose log it is told, if there is one.
        reason: the code of the error that they got.
        at: when they tried.
    """
    said = said_of(actor)
    return event_document(
        f"tenancy.{operation}",
        (target_id.partition("_")[0], target_id),
        occurred_at=at,
        actor_usr_id=said.pop("actor"),
        scope=None if membership is None else ("org", membership.org_id),
        outcome=AuditOutcome.DENIED,
        metadata={"operation": operation, "reason": reason},
        **said,
    )


def told_by_the_statement() -> ColumnElement[bool]:
    """Return a condition that always holds, and tells the database `SAID` for its statement."""
    return exists(select(_THIS_STATEMENT))


@contextmanager
def telling(session: AnySession, saying: Saying) -> Iterator[None]:
    """Tell the database for all statements of the block, if it has a log to write it into.

    Whether it has is asked once for each of the driver's connections that finds none. What is told
    goes with a savepoint that is rolled back.
    """
    connection = connection_of(session)
    if is_sqlite(session) or connection.info.get(_NO_LOG):
        yield
        return
    there = connection.scalar(_SET_AND_ASK, {SAID: saying.words, "during": "operation"})
    connection.info[_NO_LOG] = not there
    yield
    if there:
        connection.execute(_SET, {SAID: "", "during": ""})


def _set(during: ColumnElement[Any]) -> Select[Any]:
    return select(
        func.set_config(_ACTING, bindparam(SAID, type_=Text), True),
        func.set_config(_DURING, during, True),
    )


_THIS_STATEMENT: Final[CTE] = _set(sql_cast(func.statement_timestamp(), Text)).cte("telling")
_SET: Final = _set(bindparam("during", type_=Text))
_SET_AND_ASK: Final = select(
    text("EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'aud' AND relkind = 'p')")
).select_from(_SET.subquery("set"))
