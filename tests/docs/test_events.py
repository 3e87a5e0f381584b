"""The page on following the log and on history is true, from top to bottom."""

from __future__ import annotations

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from tests.support.guides import Reader, chapters


def test_its_code_runs_from_top_to_bottom(reader: Reader) -> None:
    upgrade(reader.database, branches=["audit"])
    [guide] = chapters("how-to/events.md")
    reader.here["url"] = reader.database
    reader.follow(guide)
    assert reader.here["suspended"].until is None
    reader.here["engine"].dispose()
