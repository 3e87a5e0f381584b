"""What a command answers: one document for machines, and the same in parts for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import IntEnum
from typing import Any, Final, TypeAlias


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    REFUSED = 1
    FAILED = 2
    INTERRUPTED = 130
    UNREAD = 141


MEANINGS: Final[Mapping[Exit, str]] = {
    Exit.DONE: "It is done, or all is well.",
    Exit.REFUSED: "A rule or the operator refused it, and nothing was written; or `doctor` or "
    "`canonicalize` left something that is wrong.",
    Exit.FAILED: "It did not work: wrong usage, no connection, a lock that was not to be had, an "
    "error of the database.",
    Exit.INTERRUPTED: "It was interrupted (Ctrl-C).",
    Exit.UNREAD: "Nobody read its output to the end (a broken pipe).",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: what stands above it.
        cuttable: whether its cells may be cut to fit a terminal; ids may not.
    """

    title: str
    cuttable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under titles; where a terminal is too narrow, columns that do not fit are left out.

    Attributes:
        columns: the columns, the most important first.
        rows: the rows; a row of one cell is a remark, and as wide as it likes.
        caption: what they are, where that needs to be said.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to know about one thing.

    Attributes:
        title: what it is.
        facts: name -> what is to be read there.
    """

    title: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text for other programs, such as SQL: printed as it is."""

    text: str


Part: TypeAlias = Table | Facts | Verbatim | str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answers.

    Attributes:
        document: what is printed under ``--json``.
        parts: what is printed for people, with an empty line between two.
        notes: what is said to people beside it, on stderr.
        exit_code: how the command ends.
    """

    document: Mapping[str, Any]
    parts: Sequence[Part] = ()
    _: KW_ONLY
    notes: Sequence[str] = ()
    exit_code: Exit = Exit.DONE


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something was not done.

    Attributes:
        code: a stable name.
        message: why, in words.
        exit_code: how the command ends.
        details: the facts behind it.
        usage: how the command is used, if that was not known.
    """

    code: str
    message: str
    exit_code: Exit
    _: KW_ONLY
    details: Mapping[str, Any] = field(default_factory=dict)
    usage: str = ""
