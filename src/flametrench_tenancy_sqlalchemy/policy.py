"""What an application decides about its tenancy, given to a repository or a store once."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import Final

from .errors import PreconditionError, Reason, shown

INDEXABLE: Final = 600
"""How many characters of four bytes an entry of a B-tree has room for, with some to spare."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken at once; what is over is refused before it reaches the database.

    Rows that other clients have written beyond a limit are read as they are.

    Attributes:
        name: the longest name of an organization, in characters.
        identifier: the longest identifier of an invitation, in characters; no more than 600, which
            is what an index can hold of any script.
        pre_tuples: the most pre-tuples of one invitation.
        rows: the most rows of a set.
        body: the longest body of an HTTP request, in bytes.

    Raises:
        ValueError: a limit is no positive whole number, or more than can be stored.
    """

    _: KW_ONLY
    name: int = 255
    identifier: int = 320
    pre_tuples: int = 100
    rows: int = 10_000
    body: int = 256 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            number = getattr(self, field.name)
            if type(number) is not int or number < 1:
                raise ValueError(
                    f"limits: {field.name} must be a positive int, not {shown(number)}"
                )
        if self.identifier > INDEXABLE:
            raise ValueError(f"limits: identifier must be at most {INDEXABLE}")


@dataclass(frozen=True, slots=True)
class Policy:
    """What an application decides; by itself the specification's letter.

    Attributes:
        limits: how much is taken at once. Without limits, one request could fill the disk.
    """

    _: KW_ONLY
    limits: Limits = Limits()


def require_at_most(limit: int, number: int, unit: str, parameter: str, reason: Reason) -> None:
    """Refuse what is over one of the limits.

    Raises:
        PreconditionError: ``reason``.
    """
    if number > limit:
        raise PreconditionError(
            f"{parameter}: {number} {unit} are too many, the limit is {limit}",
            reason,
            parameter=parameter,
            limit=limit,
        )


LETTER: Final = Policy()
"""The specification's letter, where an application has decided nothing."""
