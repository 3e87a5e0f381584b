"""The groups of commands, and the parser that they make up."""

from __future__ import annotations

from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NoReturn

from .answers import Exit
from .options import sentence

PROGRAM: Final = "flametrench-tenancy"
DISTRIBUTION: Final = "flametrench-tenancy-sqlalchemy"

GROUPS: Final[Mapping[str, str]] = {
    "orgs": "list, create, change, suspend and revoke organizations",
    "members": "list, add, change, suspend and remove the members of an organization",
    "invitations": "list, create, renew, withdraw and expire invitations",
    "show": "show anything that has an id, and what hangs on it",
    "doctor": "find what is wrong in a database, and repair what can be repaired",
    "canonicalize": "store the identifiers of pending invitations as a policy has them",
    "migrate": "create the tables, or bring them up to date",
    "cells": "create cells, list them, and move them between the nodes of a cluster",
    "grants": "print the SQL that gives a role its least privileges",
    "log": "list what has happened in an organization, or follow it",
    "retention": "list, make and drop the months of the audit log",
    "completion": "print what a shell needs to complete commands and options",
}
"""A group of commands -> what it does; its module in `groups` has the same name."""

_CODES: Final = f"Exit codes: {', '.join(f'{code:d} {code.name.lower()}' for code in Exit)}."


class UsageError(Exception):
    """The arguments are not what a command takes."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class Parser(ArgumentParser):
    """A parser that leaves it to `main` to say what is wrong."""

    def __init__(self, **manner: Any) -> None:
        # An option to come must not change what a script has abbreviated.
        super().__init__(allow_abbrev=False, **manner)

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UsageError(message, self.format_usage())


def require_text(words: Sequence[str]) -> None:
    """Refuse arguments whose bytes are no text, which no database could be told.

    Raises:
        UsageError: one of them is none.
    """
    try:
        "".join(words).encode()
    except UnicodeEncodeError as exc:
        raise UsageError("the arguments are not text in UTF-8", "") from exc


def parser(words: Sequence[str]) -> Parser:
    """Return the parser for some arguments.

    Only what they name is imported: the help of all has no need of Alembic.

    Args:
        words: the arguments, or the names of groups.
    """
    what = "Look after Flametrench tenancy, in the database that DATABASE_URL or --url names."
    whole = Parser(prog=PROGRAM, description=what, epilog=_CODES)
    whole.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    groups = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, what in GROUPS.items():
        group = groups.add_parser(name, help=what, description=sentence(what))
        if name in words:
            import_module(f".groups.{name}", __package__).fill(group)
    return whole


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "of a checkout"


@dataclass(frozen=True, slots=True)
class Argument:
    """What a command takes.

    Attributes:
        names: an option's spellings, or what stands for a positional argument.
        what: what it means.
        value: what stands for an option's value; ``None`` if it takes none.
        choices: what it may be, where that is a closed set.
        required: whether it must be there.
    """

    names: Sequence[str]
    what: str
    value: str | None
    choices: Sequence[str]
    required: bool

    @property
    def is_option(self) -> bool:
        """Whether it begins with a hyphen."""
        return self.names[0].startswith("-")


@dataclass(frozen=True, slots=True)
class Command:
    """A place in the tree of commands.

    Attributes:
        path: the words that lead there.
        what: what it does.
        more: what is said of it besides.
        arguments: what it takes.
        below: the next word -> what that does.
    """

    path: tuple[str, ...]
    what: str
    more: str = ""
    arguments: Sequence[Argument] = ()
    below: Mapping[str, str] = field(default_factory=dict)


def commands() -> Iterator[Command]:
    """Yield every place in the tree of commands, each before what lies below it."""
    return _commands(parser([*GROUPS]), ())


def _commands(of: ArgumentParser, path: tuple[str, ...]) -> Iterator[Command]:
    # argparse has no public way to look into a parser.
    arguments, below, parsers = list[Argument](), dict[str, str](), dict[str, ArgumentParser]()
    for action in of._actions:
        if isinstance(action, _SubParsersAction):
            below = {each.dest: each.help or "" for each in action._choices_actions}
            parsers = dict(action.choices)
        elif action.help != "==SUPPRESS==":
            metavar = action.metavar or action.dest.upper().replace("_", "-")
            value = metavar if isinstance(metavar, str) else " ".join(metavar)
            what = (action.help or "") % {"default": action.default, "prog": PROGRAM}
            names = action.option_strings or [value]
            takes_value = action.option_strings and action.nargs != 0
            choices = [*map(str, action.choices or ())]
            shown = (value if not choices else "|".join(choices)) if takes_value else None
            arguments.append(Argument(names, what, shown, choices, action.required))
    yield Command(path, of.description or "", of.epilog or "", arguments, below)
    for name, each in parsers.items():
        yield from _commands(each, (*path, name))
