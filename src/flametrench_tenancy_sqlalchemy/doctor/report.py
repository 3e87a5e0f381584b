"""What the doctor found and did, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from .findings import Finding, Repair

Row = tuple[str, ...]


def as_json(findings: Sequence[Finding], repairs: Sequence[Repair]) -> str:
    """Return one JSON object: whether all is well, what was repaired, what is wrong."""
    report = {
        "healthy": not findings,
        "repairs": [asdict(repair) for repair in repairs],
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(report, indent=2)


def as_table(findings: Sequence[Finding], repairs: Sequence[Repair]) -> str:
    """Return a table of what was repaired, one of what is wrong, and a sentence in the end."""
    parts = []
    if repairs:
        rows: list[Row] = [(repair.check, repair.id, repair.message) for repair in repairs]
        parts.append(_table(("REPAIRED", "ID", "WHAT WAS DONE"), rows))
    if findings:
        rows = [row for finding in findings for row in _rows_of(finding)]
        parts.append(_table(("CHECK", "SEVERITY", "COUNT", "EXAMPLES"), rows))
    parts.append(_summary(findings))
    return "\n\n".join(parts)


def _rows_of(finding: Finding) -> Iterator[Row]:
    first, *others = finding.examples
    more = finding.count - len(finding.examples)
    yield finding.check, finding.severity, str(finding.count), first
    for example in [*others, *([f"and {more} more"] if more else [])]:
        yield "", "", "", example
    yield (f"  {finding.message}",)


def _table(header: Row, rows: Sequence[Row]) -> str:
    # A row of one cell is a remark, and as wide as it likes.
    columns = zip(*(row for row in [header, *rows] if len(row) > 1), strict=True)
    widths = [max(map(len, column)) for column in columns]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in [header, rule, *rows]
    )


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Healthy: nothing is wrong."
    repairable = sum(finding.repairable for finding in findings)
    summary = f"{len(findings)} of the checks found something wrong"
    return f"{summary}; --repair sets {repairable} of them right." if repairable else f"{summary}."
