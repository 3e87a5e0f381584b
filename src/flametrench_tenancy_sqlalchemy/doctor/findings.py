"""What the doctor says: findings, and repairs."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import Final

HELP: Final = "https://flametrench.github.io/tenancy-sqlalchemy/reference/doctor.html#checks"
"""Where it is told what helps against each finding."""

EXAMPLES: Final = 5
"""How many of what is wrong a finding names."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """A rule is broken, so that somebody has more, or less, than they should have; or may be."""
    WARNING = "warning"
    """No rule is broken, yet something is left lying about that someone should look at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check that did not pass.

    Attributes:
        check: the check, as a stable word.
        severity: how bad it is.
        count: how many rows, or parts of the schema, are concerned.
        examples: some of them: wire ids, or names of parts.
        message: what is wrong, in words.
        repairable: whether `repair` sets all of them right.
    """

    check: str
    severity: Severity
    _: KW_ONLY
    count: int
    examples: tuple[str, ...]
    message: str
    repairable: bool = False


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing that was set right.

    Attributes:
        check: the check that had found it.
        id: the wire id of the row that was concerned.
        message: what was done, in words.
    """

    check: str
    id: str
    _: KW_ONLY
    message: str
