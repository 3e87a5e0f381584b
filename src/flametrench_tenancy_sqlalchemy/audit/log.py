"""The audit log in the caller's hands: one class, on the caller's Session."""

from __future__ import annotations

from .events import Events
from .feed import Feed
from .history import History


class AuditLog(Events, Feed, History):
    """The audit log, read and written inside the caller's transaction.

    It asks nobody: whoever lets others read guards it, as the endpoints do.

    Args:
        session: the caller's Session, or a ``scoped_session``.
        clock: returns the current time as a timezone-aware datetime.

    Specification: ADR 0019.
    """
