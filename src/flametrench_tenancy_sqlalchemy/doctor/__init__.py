"""The doctor: what is wrong in a whole database, and what of it can be put right.

Every question is one set-based statement, so that a million memberships take seconds. It runs on
PostgreSQL, in the schema that the Session's connection means (`schema_translate_map` or
``search_path``).
"""

from __future__ import annotations

from collections.abc import Callable

from ..clock import Clock, utc_now
from ..policy import LETTER, Policy
from ..transactions.sessions import BIND, AnySession, pool_in_our_words
from .checks import checks
from .findings import Finding, Repair, Severity
from .repairs import Repairs
from .schema import examine_schema

__all__ = ["Finding", "Progress", "Repair", "Severity", "diagnose", "repair"]

Progress = Callable[[int, int], object]
"""Told how many questions have been answered, and of how many."""


@pool_in_our_words
def diagnose(
    session: AnySession,
    *,
    policy: Policy = LETTER,
    clock: Clock = utc_now,
    progress: Progress | None = None,
) -> list[Finding]:
    """Return everything that is wrong, one finding for each check; nothing if all is well.

    The schema comes first. Where it lacks a table or a column, or hides some of it from the
    Session's role, the rows are not examined, and a finding says why.

    Args:
        session: a Session on the database; nothing is written.
        policy: tells which identifiers are the same invitee's.
        clock: returns the current time, by which invitations are overdue.
        progress: told after every check how far the examination has come.
    """
    questions = checks(clock(), policy)
    total = len(questions) + 1
    report = progress or _nobody
    schema = examine_schema(session.connection(bind_arguments=BIND))
    report(1, total)
    if not schema.shows_rows:
        report(total, total)
        return schema.findings
    findings = list(schema.findings)
    for done, question in enumerate(questions, start=2):
        # What a constraint in force has seen to need not be asked of a million rows.
        if not question.kept_by or not schema.sound.issuperset(question.kept_by):
            findings += question.run(session)
        report(done, total)
    return findings


@pool_in_our_words
def repair(session: AnySession, *, clock: Clock = utc_now) -> list[Repair]:
    """Put right what has one right answer, and return each thing that was done.

    That is: tuples that memberships lack, tuples that are left over, overdue invitations, and
    memberships and invitations that a revoked organization has left behind. It happens in a
    savepoint of the caller's transaction, under the locks that all operations take, and is never
    committed here.

    Args:
        session: a Session in a READ COMMITTED transaction.
        clock: returns the current time.

    Raises:
        PreconditionError: ``isolation_level``; the transaction's snapshot may be older than the
            locks. ``hidden_rows``; the role may not see all rows.
    """
    return Repairs(session, clock=clock).repair()


def _nobody(done: int, total: int) -> None:
    """Take no interest in the progress."""
