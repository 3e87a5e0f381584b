"""The database at work for a command: connected, in the right schema, in a transaction."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from .. import migrations
from ..migrations.connecting import on_connection
from ..models import Base
from ..repository import ActingTenancy, TenancyRepository
from ..store import unit_of_work
from ..values import Page
from .answers import Answer, Exit
from .documents import Document, described
from .failures import NotConfirmedError
from .layout import visible
from .progress import progress

T = TypeVar("T")
Entity = TypeVar("Entity", bound=Base)
Tenancy: TypeAlias = TenancyRepository | ActingTenancy

_PAGE: Final = 200


def on_database(arguments: Namespace, work: Callable[[Connection], T]) -> T:
    """Connect to the database that the arguments name, and do something there."""
    schema: str | None = arguments.schema
    options = {} if schema is None else {"schema_translate_map": {None: schema}}
    return on_connection(migrations.database_url(arguments.url), work, **options)


def in_session(arguments: Namespace, work: Callable[[Session], T]) -> T:
    """Do something in a Session, which is committed by whoever wants it to be."""

    def work_in_session(connection: Connection) -> T:
        with Session(connection) as session:
            return work(session)

    return on_database(arguments, work_in_session)


def as_system(
    arguments: Namespace,
    work: Callable[[TenancyRepository], Answer],
    *,
    question: Callable[[TenancyRepository], str | None] | None = None,
) -> Answer:
    """Do something in one transaction, as the system, which may do everything.

    Args:
        arguments: those of the command.
        work: what to do.
        question: returns what somebody has to say yes to first, with no connection held meanwhile;
            ``None`` if there is nothing to ask.

    Raises:
        NotConfirmedError: they say no, or nobody is there to ask.
    """
    dry_run: bool = getattr(arguments, "dry_run", False)
    if question is not None and not (arguments.yes or dry_run):
        asked = on_database(arguments, lambda to: in_unit(to, arguments, question))
        if asked is not None:
            _confirm(asked)
    answer = on_database(arguments, lambda to: in_unit(to, arguments, work))
    if not hasattr(arguments, "dry_run"):
        return answer
    notes = [*answer.notes, *(["nothing was written: --dry-run"] if dry_run else [])]
    return replace(answer, document={**answer.document, "dry_run": dry_run}, notes=notes)


def as_asked(
    arguments: Namespace,
    work: Callable[[Tenancy], Answer],
    *,
    question: Callable[[TenancyRepository], str] | None = None,
) -> Answer:
    """Do the same as the user whom ``--as`` names, or as the system, if it names nobody."""

    def work_as_asked(system: TenancyRepository) -> Answer:
        return work(system if arguments.actor is None else system.acting_as(arguments.actor))

    return as_system(arguments, work_as_asked, question=question)


def org_id(tenancy: Tenancy, given: str) -> str:
    """Return the id of the organization that an argument names by its id or slug."""
    # No slug has an underscore, every id has one.
    return given if "_" in given else tenancy.get_org_by_slug(given).id


def gathered(
    fetch: Callable[..., Page[Entity]],
    arguments: Namespace,
    what: str,
    *,
    describe: Callable[[Entity], Document] = described,
    **only: Any,
) -> tuple[list[Document], str | None]:
    """Return as many entities of a list as were asked for, and where it goes on.

    Args:
        fetch: returns a page of it.
        arguments: those of the command.
        what: what is listed, for whoever waits.
        describe: returns what is told of an entity.
        only: the list's own arguments.
    """
    rows: list[Document] = []
    cursor: str | None = arguments.cursor
    with progress(what) as report:
        while True:
            left = _PAGE if arguments.all else min(_PAGE, arguments.limit - len(rows))
            page = fetch(cursor=cursor, limit=left, **only)
            rows += map(describe, page)
            cursor = page.next_cursor
            if cursor is None or (not arguments.all and len(rows) >= arguments.limit):
                return rows, cursor
            report(len(rows), None)


def in_unit(
    connection: Connection, arguments: Namespace, work: Callable[[TenancyRepository], T]
) -> T:
    """Do something in a transaction of its own, and take it back if it is a trial."""
    policy, dry_run = arguments.policy, getattr(arguments, "dry_run", False)
    if dry_run:  # what is taken back must not be told to anybody
        policy = replace(policy, on_change=None)
    with unit_of_work(partial(Session, connection), policy=policy) as tenancy:
        done = work(tenancy)
        if dry_run:
            # Some rules are asked about at the commit, which there will not be.
            tenancy.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            tenancy.session.rollback()
    return done


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise NotConfirmedError(
            "this asks before it is done: run it on a terminal, or with --yes", Exit.FAILED
        )
    print(f"{visible(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise NotConfirmedError("not confirmed; nothing was done", Exit.REFUSED)
