"""``doctor``: what is wrong in a database, and its repair."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from sqlalchemy.orm import Session

from ...doctor import Finding, Repair, diagnose, repair
from ...doctor.findings import HELP
from ..answers import Answer, Column, Exit, Part, Table
from ..options import READING, takes
from ..progress import progress
from ..working import in_session


def fill(parser: ArgumentParser) -> None:
    """Give the command its arguments."""
    takes(parser, _doctor, *READING)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="put right what has one right answer, in one transaction, and list it",
    )
    # The spelling of --json before there was one.
    parser.add_argument("--format", dest="json", type=_is_json, help=SUPPRESS)


def _is_json(form: str) -> bool:
    if form not in {"table", "json"}:
        raise ArgumentTypeError(f"{form!r} is neither table nor json")
    return form == "json"


def _doctor(arguments: Namespace) -> Answer:
    def examine(session: Session) -> tuple[list[Finding], list[Repair]]:
        with progress("checks") as report:
            findings = diagnose(session, policy=arguments.policy, progress=report)
            if not (arguments.repair and any(finding.repairable for finding in findings)):
                return findings, []
            repairs = repair(session)
            remaining = diagnose(session, policy=arguments.policy, progress=report)
        session.commit()
        return remaining, repairs

    findings, repairs = in_session(arguments, examine)
    document = {
        "healthy": not findings,
        "repairs": [asdict(repair) for repair in repairs],
        "findings": [asdict(finding) for finding in findings],
    }
    exit_code = Exit.REFUSED if findings else Exit.DONE
    notes = [f"What helps: {HELP}"] if findings else []
    return Answer(document, [*_parts(findings, repairs)], notes=notes, exit_code=exit_code)


def _parts(findings: Sequence[Finding], repairs: Sequence[Repair]) -> Iterator[Part]:
    if repairs:
        columns = [Column("REPAIRED"), Column("ID"), Column("WHAT WAS DONE")]
        yield Table(columns, [(done.check, done.id, done.message) for done in repairs])
    if findings:
        columns = [Column(title) for title in ("CHECK", "SEVERITY", "COUNT", "EXAMPLES")]
        yield Table(columns, [row for finding in findings for row in _rows_of(finding)])
    yield _summary(findings)


def _rows_of(finding: Finding) -> Iterator[Sequence[str]]:
    first, *others = finding.examples
    more = finding.count - len(finding.examples)
    yield finding.check, finding.severity, str(finding.count), first
    for example in [*others, *([f"and {more} more"] if more else [])]:
        yield "", "", "", example
    yield (f"  {finding.message}",)


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Healthy: nothing is wrong."
    repairable = sum(finding.repairable for finding in findings)
    summary = f"{len(findings)} of the checks found something wrong"
    return f"{summary}; --repair sets {repairable} of them right." if repairable else f"{summary}."
