"""What a command says, and how it ends, when it cannot do its work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from ..errors import PreconditionError, Reason, TenancyError, UnavailableError
from ..migrations.connecting import NoConnectionError, reason
from .answers import Exit, Failure
from .parser import UsageError


class NotConfirmedError(Exception):
    """Somebody was asked, and did not say yes; or there was nobody to ask."""

    def __init__(self, message: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# Where a command runs, rather than what it asks for, is in the way.
_OF_THE_PLACE: Final = {Reason.HIDDEN_ROWS, Reason.ISOLATION_LEVEL, Reason.SPANS_ORGANIZATIONS}

# The first that fits.
_CODES: Final[Mapping[type[Exception], str]] = {
    UsageError: "usage",
    NotConfirmedError: "not_confirmed",
    NoConnectionError: "no_connection",
    CommandError: "command",
    SQLAlchemyError: "database",
    OSError: "database",
}


def failure(error: Exception) -> Failure | None:
    """Return what an error means; ``None`` if it is not foreseen."""
    if isinstance(error, TenancyError):
        of_the_place = isinstance(error, PreconditionError) and error.reason in _OF_THE_PLACE
        in_vain = of_the_place or isinstance(error, UnavailableError)
        exit_code = Exit.FAILED if in_vain else Exit.REFUSED
        return Failure(error.code, str(error), exit_code, details=error.details)
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    if code is None or isinstance(error, BrokenPipeError):
        return None
    return Failure(
        code,
        reason(error) if code == "database" else str(error),
        getattr(error, "exit_code", Exit.FAILED),
        usage=getattr(error, "usage", ""),
    )
