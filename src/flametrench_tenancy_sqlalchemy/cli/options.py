"""The options that several commands have, and the forms of their arguments."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _ActionsContainer
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..clock import utc_now
from ..policy import LETTER, Policy
from ..values import Role
from .answers import Answer

Run: TypeAlias = Callable[[Namespace], Answer]
"""What a command does with its arguments."""

Option: TypeAlias = Callable[[_ActionsContainer], object]
"""Adds an option, or a few that belong together, to a command."""

_LIFETIME: Final = re.compile(r"([0-9]{1,4})([dhm])")
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes"}


def policy_named(name: str) -> Policy:
    """Return the Policy that an argument names, as ``app.tenancy:policy``."""
    module, _, attributes = name.partition(":")
    if "" in (module, attributes):
        raise ArgumentTypeError(f"{name!r} is not MODULE:NAME")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = attrgetter(attributes)(import_module(module))
    except (ImportError, AttributeError) as exc:
        raise ArgumentTypeError(f"{name!r} cannot be found: {exc}") from exc
    if not isinstance(found, Policy):
        raise ArgumentTypeError(f"{name!r} is no Policy, but {type(found).__name__}")
    return found


def moment(when: str, *, past: bool = False) -> datetime:
    """Return the moment that an argument names: in so many days, or a time with its zone.

    Args:
        when: the argument.
        past: whether it is so many days ago.
    """
    if found := _LIFETIME.fullmatch(when):
        away = timedelta(**{_UNITS[found[2]]: int(found[1])})
        return utc_now() - away if past else utc_now() + away
    try:
        at = datetime.fromisoformat(when)
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        raise ArgumentTypeError(
            f"{when!r} is neither a time like 7d, 36h or 90m {'ago' if past else 'from now'}, "
            "nor a moment with its zone "
            "like 2030-12-31T18:00+01:00"
        )
    return at


past: Final = partial(moment, past=True)
"""Returns the moment that an argument names, so many days ago."""


def whole(number: str) -> int:
    """Return a number of rows, which is at least one."""
    if not number.isdecimal() or int(number) < 1:
        raise ArgumentTypeError(f"{number!r} is no whole number from 1")
    return int(number)


def takes(parser: ArgumentParser, run: Run, *options: Option) -> ArgumentParser:
    """Make a parser that of a command, with the options that it shares with others."""
    parser.set_defaults(run=run)
    for add in (JSON, *options):
        add(parser)
    return parser


def actions(group: ArgumentParser) -> Callable[..., ArgumentParser]:
    """Return what adds a command to a group: name, what runs it, what it does, its options."""
    commands = group.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, run: Run, what: str, *options: Option) -> ArgumentParser:
        return takes(
            commands.add_parser(name, help=what, description=sentence(what)), run, *options
        )

    return add


def sentence(what: str) -> str:
    """Return a help text as a sentence of its own."""
    return f"{what[0].upper()}{what[1:]}."


def _option(*flags: str, **manner: Any) -> Option:
    return methodcaller("add_argument", *flags, **manner)


JSON: Final = _option("--json", action="store_true", help="print one JSON document")
URL: Final = _option("--url", help="the database; DATABASE_URL if it is not given")
SCHEMA: Final = _option("--schema", help="the schema of the tables; else the search path's")
POLICY: Final = _option(
    "--policy",
    type=policy_named,
    metavar="MODULE:NAME",
    default=LETTER,
    help="the application's Policy, importable from here",
)
BRANCH: Final = _option(
    "--branch",
    action="append",
    default=[],
    dest="branches",
    choices=["audit", "rls", "search"],
    help="with an opt-in branch; may be given several times",
)
DRY_RUN: Final = _option(
    "--dry-run", action="store_true", help="do it, tell what came of it, and take it back"
)
YES: Final = _option("--yes", action="store_true", help="do it without asking")
ACTING: Final = _option(
    "--as", dest="actor", metavar="USR", help="act as this user, with no more rights than theirs"
)
ACTING_ALWAYS: Final = _option(
    "--as", dest="actor", metavar="USR", required=True, help="the user who does it"
)
ORG: Final = _option("org", metavar="ORG", help="an organization, by its id or slug")
ROLE: Final = _option(
    "role", choices=[*map(str, Role)], metavar="ROLE", help=f"one of {', '.join(Role)}"
)
MEM: Final = _option("mem", metavar="MEM", help="the id of a membership")
INV: Final = _option("inv", metavar="INV", help="the id of an invitation")
EXPIRES: Final = _option(
    "--expires",
    type=moment,
    required=True,
    metavar="WHEN",
    help="the last moment to accept: 7d, 36h or 90m from now, or a moment with its zone",
)


def LISTING(parser: _ActionsContainer) -> None:  # noqa: N802 - an option like the others
    """Take how much of a list is wanted."""
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument(
        "--limit",
        type=whole,
        default=50,
        metavar="N",
        help="how many rows at the most (default: %(default)s)",
    )
    how_many.add_argument("--all", action="store_true", help="all rows, however many")
    parser.add_argument(
        "--cursor", metavar="ID", help="go on after this id, where an earlier list has ended"
    )


DATABASE: Final = (URL, SCHEMA)
"""What every command takes that connects."""

READING: Final = (*DATABASE, POLICY)
"""What every command takes that reads organizations and what belongs to them."""

CHANGING: Final = (*READING, DRY_RUN)
"""What every command takes that changes them."""
