"""Events as the specification's own package has them, where that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import flametrench_audit

    from ..models import AuditEvent

T = TypeVar("T")


def as_peer(event: AuditEvent) -> flametrench_audit.AuditEvent:
    """Return an event as ``flametrench_audit.AuditEvent``, for code that works with either store.

    Args:
        event: the event.

    Raises:
        ModuleNotFoundError: flametrench-audit is not installed.
    """
    import flametrench_audit as peer  # noqa: PLC0415 - not needed otherwise

    document = event.document()
    return peer.AuditEvent(
        id=event.id,
        occurred_at=document["occurred_at"],
        recorded_at=event.recorded_at,
        actor_usr_id=event.actor_usr_id,
        action=event.action,
        target=peer.Target(*event.target),
        outcome=peer.Outcome(event.outcome.value),
        metadata=document["metadata"],
        auth=_made(peer.AuthInfo, event.auth),
        on_behalf=_made(peer.OnBehalf, event.on_behalf),
        scope=_made(peer.Scope, document.get("scope")),
        context=_made(peer.AuditContext, event.context),
    )


def _made(part: Callable[..., T], fields: Mapping[str, Any] | None) -> T | None:
    return None if fields is None else part(**fields)
