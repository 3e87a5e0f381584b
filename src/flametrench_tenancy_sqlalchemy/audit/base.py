"""What all parts of the audit log share: the Session, how it is asked, and moments."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Executable

from ..clock import Clock, utc_now
from ..errors import PreconditionError, Reason, shown
from ..ids import require
from ..models.base import is_moment, is_storable
from ..policy import INDEXABLE
from ..transactions.isolation import View, Way, seeing
from ..transactions.sessions import BIND, AnySession, pool_in_our_words

STREAMED: Final = 1000
"""How many rows of a long answer are held at once."""


class OnSession:
    """What is bound to the caller's Session."""

    def __init__(self, session: AnySession, *, clock: Clock = utc_now) -> None:
        self.session = session
        self._clock = clock

    @pool_in_our_words
    def _ask(
        self, statement: Executable, given: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send a statement to where the tables of tenancy are, and return its result."""
        return self.session.execute(
            statement, dict(given or {}), bind_arguments=BIND, execution_options=options
        )

    def _seeing(self, org_id: str | None) -> AbstractContextManager[object]:
        """Let the block see the organization that is asked about, if it would be hidden.

        Args:
            org_id: the organization's wire id (``org_…``); none, if it is about the whole log.

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
        """
        if org_id is None:
            return nullcontext()
        view = View.of(Way.NAMED, require(org_id, "org", "org_id"), log=True)
        return seeing(self.session, view)


def moment(value: object, parameter: str) -> datetime:
    """Return ``value`` if it is a moment.

    Raises:
        PreconditionError: ``moment_format``; it is no timezone-aware datetime, or has no date in
            another timezone.
    """
    if is_moment(value):
        return value
    raise PreconditionError(
        f"{parameter}: {shown(value)} is not a timezone-aware datetime with a date everywhere",
        Reason.MOMENT_FORMAT,
        parameter=parameter,
    )


def text(value: object, parameter: str, reason: Reason) -> str:
    """Return ``value`` if it is a text that is neither empty nor long.

    Raises:
        PreconditionError: it is not, for the reason given.
    """
    if isinstance(value, str) and 0 < len(value) <= INDEXABLE and is_storable(value):
        return value
    raise PreconditionError(
        f"{parameter}: {shown(value)} is not a text of 1 to {INDEXABLE} characters",
        reason,
        parameter=parameter,
    )
