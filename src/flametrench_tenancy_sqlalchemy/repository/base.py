"""What all operations share: the Session, and the frame that they run in."""

from __future__ import annotations

from typing import Any

from ..clock import Clock, utc_now
from ..ids import require
from ..transactions.savepoint import savepoint
from ..transactions.sessions import AnySession
from .operation import Directory, Frame, Unit


class Repository:
    """The common ground of the operations.

    Args:
        session: the caller's Session, or a ``scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
        unit: what an operation is to its transaction: a savepoint, if nothing else is said.
        directory: who is known as a user: whom the database knows, if nothing else is said.
    """

    def __init__(
        self,
        session: AnySession,
        *,
        clock: Clock = utc_now,
        unit: Unit = savepoint,
        directory: Directory | None = None,
    ) -> None:
        self.session = session
        self._operation = Frame(session, clock=clock, unit=unit, directory=directory)


def parsed_users(**users: Any) -> dict[str, str | None]:
    """Return arguments that refer to users, each a wire id or ``None``, after checking them.

    Raises:
        InvalidIdError: one of them is no ``usr_`` wire id.
    """
    return {
        parameter: None if value is None else require(value, "usr", parameter)
        for parameter, value in users.items()
    }
