"""The page on following the log and on history is true, from top to bottom."""

from __future__ import annotations

from tests.support.guides import Reader, chapters


def test_its_code_runs_from_top_to_bottom(reader: Reader) -> None:
    [guide] = chapters("how-to/events.md")
    reader.follow(guide)
    assert reader.here["suspended"].until is None
    reader.here["engine"].dispose()
