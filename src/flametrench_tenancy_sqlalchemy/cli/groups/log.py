"""``log``: what has happened in an organization, and what goes on happening."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from sqlalchemy.orm import Session

from ...audit import AuditLog
from ...clock import utc_now
from ...models import AuditEvent
from ...repository import TenancyRepository
from ...values import Page
from ..answers import Answer, Column, Table
from ..documents import Document, listed
from ..layout import visible
from ..options import LISTING, ORG, READING, past, takes
from ..working import as_system, gathered, in_session, org_id

POLL: Final = 0.5
"""How long to wait, in seconds, where nothing new has happened."""

_COLUMNS: Final = (Column("RECORDED"), Column("ACTION"), Column("TARGET"), Column("BY"))
_DETAILS: Final = Column("DETAILS", cuttable=True)


def fill(parser: ArgumentParser) -> None:
    """Give the command its arguments."""
    takes(parser, _log, ORG, *READING, LISTING)
    parser.add_argument(
        "--since",
        type=past,
        metavar="WHEN",
        help="only what was recorded since: 90d, 36h or 90m ago, or a moment with its zone",
    )
    parser.add_argument("--action", metavar="TEXT", help="only actions that begin so")
    parser.add_argument("--newest-first", action="store_true", help="begin with the newest")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on with what happens, from now or --since, in the order of the feed",
    )


def _log(arguments: Namespace) -> Answer:
    if arguments.follow:
        in_session(arguments, lambda session: _follow(session, arguments))

    def work(tenancy: TenancyRepository) -> Answer:
        query: Callable[..., Page[Any]] = AuditLog(tenancy.session).query
        rows, cursor = gathered(
            query,
            arguments,
            "events",
            describe=AuditEvent.document,
            org_id=org_id(tenancy, arguments.org),
            action=arguments.action,
            since=arguments.since,
            newest_first=arguments.newest_first,
        )
        return listed("events", rows, cursor, _table(rows))

    return as_system(arguments, work)


def _follow(session: Session, arguments: Namespace) -> NoReturn:
    """Print what happens, until somebody interrupts that."""
    log, last = AuditLog(session), None
    org = org_id(TenancyRepository(session), arguments.org)
    since = arguments.since or utc_now()
    while True:
        events = log.behind(last, org_id=org, action=arguments.action, since=since)
        session.rollback()  # whoever stays in a transaction holds back all that follow
        for event in events:
            document = event.document()
            print(json.dumps(document) if arguments.json else "  ".join(_row(document)), flush=True)
            last = event
        if not events:
            time.sleep(POLL)


def _table(documents: Sequence[Document]) -> Table:
    return Table((*_COLUMNS, _DETAILS), [_row(document) for document in documents])


def _row(document: Mapping[str, Any]) -> list[str]:
    outcome = [] if document["outcome"] == "success" else [document["outcome"]]
    details = [f"{name}={_word(value)}" for name, value in sorted(document["metadata"].items())]
    return [
        f"{document['recorded_at'][:10]} {document['recorded_at'][11:19]}",
        visible(document["action"]),
        visible(document["target"]["id"]),
        visible(_actor(document)),
        visible(" ".join([*outcome, *details])),
    ]


def _actor(document: Mapping[str, Any]) -> str:
    """Return the user who did it, or the part of the system that says so of itself."""
    by: str = document["actor_usr_id"] or document.get("auth", {}).get("system_id") or "-"
    return by


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
