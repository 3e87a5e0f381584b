"""What a command says, and how it ends, when it cannot do its work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from .._integrity import sqlstate
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

_MIGRATE: Final = (
    "; `flametrench-tenancy migrate upgrade` makes what is missing, with `--branch audit` the log, "
    "and `--schema` says where else to look"
)
_THEIRS: Final = (
    "; where the application's own Alembic runs these migrations, it is `alembic upgrade heads`"
)

# SQLSTATE -> what helps; the server only knows what it is.
_ADVICE: Final[Mapping[str | None, str]] = {
    "42P01": _MIGRATE,  # no such table
    "42703": _MIGRATE,  # no such column
    "42883": _MIGRATE,  # no such function
    "42P07": _THEIRS,  # such a table or index already
    "42710": _THEIRS,  # such an object already
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
        reason(error) + _advice(error) if code == "database" else str(error),
        getattr(error, "exit_code", Exit.FAILED),
        usage=getattr(error, "usage", ""),
    )


def _advice(error: Exception) -> str:
    return _ADVICE.get(sqlstate(error), "") if isinstance(error, DBAPIError) else ""
