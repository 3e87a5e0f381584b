"""``retention``: how long the audit log is kept."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, Final

from ...audit.retention import (
    AHEAD,
    Month,
    add_months,
    drop_months,
    expired,
    forget_context,
    months,
)
from ...repository import TenancyRepository
from ..answers import Answer, Column, Table
from ..options import CHANGING, READING, YES, actions, past
from ..working import as_system

_COLUMNS: Final = tuple(map(Column, ("MONTH", "SINCE", "UNTIL", "EVENTS (ABOUT)", "BYTES")))


def fill(group: ArgumentParser) -> None:
    """Give the group its commands."""
    add = actions(group)
    add("months", _months, "list the months of the audit log", *READING)
    make = add("make", _make, "make the months to come, and move to them what waits", *CHANGING)
    make.add_argument(
        "--ahead",
        type=int,
        default=AHEAD,
        metavar="N",
        help="how many months from now (default: %(default)s)",
    )
    drop = add("drop", _drop, "drop whole months, events and all", *CHANGING, YES)
    forget = add(
        "forget", _forget, "forget addresses and user agents, and nothing else", *CHANGING, YES
    )
    for command in (drop, forget):
        command.add_argument(
            "--before",
            type=past,
            required=True,
            metavar="WHEN",
            help="up to when: 90d, 36h or 90m ago, or a moment with its zone",
        )


def _told(found: Sequence[Month], none: str = "no months") -> Answer:
    documents: list[dict[str, Any]] = [
        {
            "month": month.name,
            "since": month.since and month.since.isoformat(),
            "until": month.until and month.until.isoformat(),
            "events": month.events,
            "bytes": month.size,
        }
        for month in found
    ]
    if not documents:
        return Answer({"months": []}, notes=[none])
    rows = [["-" if each is None else str(each) for each in one.values()] for one in documents]
    return Answer({"months": documents}, [Table(_COLUMNS, rows)])


def _months(arguments: Namespace) -> Answer:
    no_log = "no months: `flametrench-tenancy migrate upgrade --branch audit` makes the log"
    return as_system(arguments, lambda system: _told(months(system.session), no_log))


def _make(arguments: Namespace) -> Answer:
    def work(system: TenancyRepository) -> Answer:
        made = add_months(system.session, ahead=arguments.ahead)
        return Answer({"made": made}, [f"{made} months were made"])

    return as_system(arguments, work)


def _drop(arguments: Namespace) -> Answer:
    def old(system: TenancyRepository) -> list[Month]:
        return expired(system.session, before=arguments.before)

    def work(system: TenancyRepository) -> Answer:
        gone = old(system)
        drop_months(system.session, [month.name for month in gone])
        return _told(gone)

    def question(system: TenancyRepository) -> str | None:
        names = ", ".join(month.name for month in old(system))
        return f"drop {names}, events and all?" if names else None

    return as_system(arguments, work, question=question)


def _forget(arguments: Namespace) -> Answer:
    def work(system: TenancyRepository) -> Answer:
        forgotten = forget_context(system.session, before=arguments.before)
        return Answer({"forgotten": forgotten}, [f"{forgotten} events had a context"])

    return as_system(
        arguments, work, question=lambda _: f"forget the contexts before {arguments.before}?"
    )
