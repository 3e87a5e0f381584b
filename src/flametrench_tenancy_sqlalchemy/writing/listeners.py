"""Whether anybody listens to what a Session writes."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from ..models import Invitation, Membership, Organization, Tuple, User
from ..transactions.sessions import AnySession, is_sqlite, itself

_MAPPERS: Final = [m.__mapper__ for m in (Organization, User, Membership, Invitation, Tuple)]
_OF_MAPPERS: Final = [
    f"{when}_{what}" for what in ("insert", "update", "delete") for when in ("before", "after")
]
_OF_SESSIONS: Final = (
    "before_flush",
    "after_flush",
    "after_flush_postexec",
    "before_attach",
    "after_attach",
    "transient_to_pending",
    "pending_to_persistent",
    "persistent_to_deleted",
    "pending_to_transient",
    "persistent_to_transient",
    "deleted_to_persistent",
    "deleted_to_detached",
)


def goes_by_flush(session: AnySession) -> bool:
    """Tell whether the Session itself must write, because somebody listens to it; on SQLite, too.

    Asked each time: a listener may come at any moment.
    """
    session = itself(session)
    return (
        is_sqlite(session)
        or type(session).flush is not Session.flush
        or any(getattr(session.dispatch, name) for name in _OF_SESSIONS)
        or any(getattr(m.dispatch, name) for m in _MAPPERS for name in _OF_MAPPERS)
    )
