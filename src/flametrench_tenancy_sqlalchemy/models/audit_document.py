"""What an event of the audit log may be, before it reaches the database.

The same is upheld by the table's own constraints, for other clients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from ..errors import PreconditionError, Reason, shown
from ..ids import require
from ..policy import INDEXABLE, require_at_most
from ..values import AuditOutcome
from .audit_event import EVENT_BYTES
from .base import is_moment, is_storable
from .tuple import require_object_type

_AUTH_KINDS: Final = ("session", "pat", "share", "system")
_CONTEXT: Final = frozenset({"request_id", "ip", "user_agent"})
_NUL: Final = re.compile(r"(?<!\\)(\\\\)*\\u0000")


def event_document(
    action: str,
    target: tuple[str, str],
    *,
    occurred_at: datetime | str,
    actor_usr_id: str | None = None,
    auth: Mapping[str, Any] | None = None,
    on_behalf: Mapping[str, Any] | None = None,
    scope: tuple[str, str] | None = None,
    outcome: AuditOutcome | str = AuditOutcome.SUCCESS,
    metadata: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an event as the database takes it, after checking it.

    Args:
        action: what was done, ``{capability}.{verb}`` or ``{capability}.{verb}.{object}``.
        target: the type and id of what it was done to.
        occurred_at: when, as a timezone-aware datetime, or as a string that is kept as it is.
        actor_usr_id: the wire id (``usr_…``) of the user who did it, if a user did.
        auth: how they had signed in, or what part of the system it was.
        on_behalf: ``agent_id`` of the agent that acted for them.
        scope: the kind and id of the tenancy boundary, ``("org", "org_…")``.
        outcome: how it went.
        metadata: whatever else is to be known; no personal data.
        context: ``request_id``, ``ip`` and ``user_agent``.

    Raises:
        InvalidIdError: ``actor_usr_id`` is no ``usr_`` wire id, or ``scope`` names an organization
            by something else than its wire id.
        PreconditionError: ``action_format``, ``target_format``, ``scope_format``,
            ``occurred_at_format``, ``auth_format``, ``on_behalf_format``, ``metadata_format``,
            ``context_format`` or ``status_format``; it has not the form that the specification
            gives it. ``type_format``; the target's type has not 2 to 6 lowercase letters.
            ``event_size``; it is larger than 64 KB.

    Specification: ADR 0019.
    """
    if not isinstance(action, str) or not action or not is_storable(action):
        raise _refused("action", action, "text that can be stored", Reason.ACTION_FORMAT)
    kind, id_ = _pair(target, "target", Reason.TARGET_FORMAT)
    require_object_type(kind, "target")
    document: dict[str, Any] = {
        **_moment(occurred_at),
        "action": action,
        "target": {"kind": kind, "id": id_},
        "outcome": AuditOutcome.parse(outcome, "outcome"),
        "metadata": _object({} if metadata is None else metadata, "metadata"),
    }
    if actor_usr_id is not None:
        document["actor_usr_id"] = require(actor_usr_id, "usr", "actor_usr_id")
    if auth is not None:
        document["auth"] = require_auth(auth, "auth", acting=actor_usr_id is not None)
    if on_behalf is not None:
        document["on_behalf"] = require_on_behalf(on_behalf, "on_behalf")
    if context is not None:
        document["context"] = require_context(context, "context")
    if scope is not None:
        where, which = _pair(scope, "scope", Reason.SCOPE_FORMAT)
        document["scope"] = {
            "kind": where,
            "id": require(which, "org", "scope") if where == "org" else which,
        }
    _require_small(json.dumps(document, ensure_ascii=False), "metadata")
    return document


def require_auth(
    auth: Mapping[str, Any] | None, parameter: str, *, acting: bool = False
) -> Mapping[str, Any] | None:
    """Return how somebody has signed in, if it is well-formed.

    Args:
        auth: a ``kind`` of ``session``, ``pat``, ``share`` and ``system``, and the id that is named
            after it: ``{"kind": "pat", "pat_id": "pat_…"}``.
        parameter: the name of the argument, for the error.
        acting: whether a user acts; ``system`` is nobody's.

    Raises:
        PreconditionError: ``auth_format`` or ``event_size``.

    Specification: ADR 0016, ADR 0019.
    """
    if auth is None:
        return None
    form = "a kind of session, pat, share and system, and the id named after it"
    given = _object(auth, parameter, Reason.AUTH_FORMAT)
    kind = given.get("kind")
    if kind not in _AUTH_KINDS or given.keys() != {"kind", f"{kind}_id"}:
        raise _refused(parameter, auth, form, Reason.AUTH_FORMAT)
    if not isinstance(given[f"{kind}_id"], str):
        raise _refused(parameter, auth, form, Reason.AUTH_FORMAT)
    if acting and kind == "system":
        raise _refused(parameter, auth, "a user's; system is nobody's", Reason.AUTH_FORMAT)
    return given


def require_on_behalf(
    on_behalf: Mapping[str, Any] | None, parameter: str
) -> Mapping[str, Any] | None:
    """Return the agent that acts for somebody, if it is well-formed.

    Raises:
        PreconditionError: ``on_behalf_format``; it is not ``{"agent_id": "…"}``. ``event_size``.

    Specification: ADR 0019.
    """
    if on_behalf is None:
        return None
    given = _object(on_behalf, parameter, Reason.ON_BEHALF_FORMAT)
    if given.keys() != {"agent_id"} or not isinstance(given["agent_id"], str):
        raise _refused(parameter, on_behalf, "an agent_id alone", Reason.ON_BEHALF_FORMAT)
    return given


def require_context(context: Mapping[str, Any] | None, parameter: str) -> Mapping[str, Any] | None:
    """Return the circumstances of a request, if they are well-formed.

    Raises:
        PreconditionError: ``context_format``; it is not of ``request_id``, ``ip`` and
            ``user_agent``, each a string. ``event_size``.

    Specification: ADR 0019.
    """
    if context is None:
        return None
    given = _object(context, parameter, Reason.CONTEXT_FORMAT)
    if not given.keys() <= _CONTEXT or not all(isinstance(each, str) for each in given.values()):
        form = "of request_id, ip and user_agent, each a string"
        raise _refused(parameter, context, form, Reason.CONTEXT_FORMAT)
    return given


def _moment(occurred_at: datetime | str) -> dict[str, str]:
    """Return a moment, and the words that it was given in."""
    moment, words = occurred_at, dict[str, str]()
    if isinstance(occurred_at, str) and is_storable(occurred_at):
        words["occurred_as"] = occurred_at
        with suppress(ValueError):
            moment = datetime.fromisoformat(occurred_at)
    if not is_moment(moment):
        form = "a moment with a timezone"
        raise _refused("occurred_at", occurred_at, form, Reason.OCCURRED_AT_FORMAT)
    return {"occurred_at": moment.astimezone(UTC).isoformat(), **words}


def _pair(value: tuple[str, str], parameter: str, reason: Reason) -> tuple[str, str]:
    match value:
        case (str(kind), str(id_)) if all(
            0 < len(each) <= INDEXABLE and is_storable(each) for each in (kind, id_)
        ):
            return kind, id_
    form = f"a kind and an id, each of 1 to {INDEXABLE} characters"
    raise _refused(parameter, value, form, reason)


def _object(
    value: Mapping[str, Any], parameter: str, reason: Reason = Reason.METADATA_FORMAT
) -> dict[str, Any]:
    """Return what JSON can express, PostgreSQL store, and an event hold."""
    written = "\0"
    with suppress(TypeError, ValueError, RecursionError):
        if isinstance(value, Mapping):
            written = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
    if not is_storable(written) or _NUL.search(written):
        raise _refused(parameter, value, "an object that JSON can express", reason)
    _require_small(written, parameter)
    return dict(value)


def _require_small(written: str, parameter: str) -> None:
    size = len(written.encode())
    require_at_most(EVENT_BYTES, size, "bytes of an event", parameter, Reason.EVENT_SIZE)


def _refused(parameter: str, value: object, form: str, reason: Reason) -> PreconditionError:
    return PreconditionError(
        f"{parameter}: {shown(value)} is not {form}", reason, parameter=parameter
    )
