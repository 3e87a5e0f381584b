"""The README's first example runs as it stands there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "in_memory.py"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
USER = r"usr_[0-9a-f]{32}"


def test_the_example_prints_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE))
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"org_[0-9a-f]{32} owner", first)
    assert re.fullmatch(rf"member \[<Tuple usr:{USER} editor proj:{UUID}>\]", second)


def test_the_readme_shows_the_example_word_for_word() -> None:
    _, _, code = EXAMPLE.read_text().partition("# fmt: off\n")
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text()
