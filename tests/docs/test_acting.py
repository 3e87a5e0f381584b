"""The guide to acting for a user is true."""

from __future__ import annotations

import pytest

from tests.support.guides import Reader, chapters


def test_its_code_runs_from_top_to_bottom(
    reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    [guide] = chapters("how-to/acting.md")

    reader.follow(guide)

    lacking, missing = capsys.readouterr().out.splitlines()
    assert " may not do this as member of org_" in lacking
    assert missing.startswith("org_id: there is no organization")
    assert reader.here["ben"].role_of(reader.here["org"].id) == "member"
