"""The README is short and true, here and on the package index."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from tests.support.guides import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_it_is_read_in_three_minutes() -> None:
    assert len(README.split()) <= 600


def test_its_only_code_is_the_example_that_is_run_elsewhere() -> None:
    example = (ROOT / "examples" / "in_memory.py").read_text().partition("# fmt: off\n")[2]
    assert re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) == [example]


def test_its_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+) ", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_its_links_work_on_the_package_index_too() -> None:
    assert all(link.startswith("https://") for link in re.findall(r"\]\(([^)]+)\)", README))


def test_what_it_says_of_versions_is_what_the_package_declares() -> None:
    minors = [
        int(said.rpartition(".")[2])
        for said in PROJECT["classifiers"]
        if re.fullmatch(r".* :: 3\.\d+", said)
    ]
    assert f"Python 3.{min(minors)} to 3.{max(minors)}" in README
    [sqlalchemy] = [need for need in PROJECT["dependencies"] if need.startswith("sqlalchemy")]
    assert f"SQLAlchemy {sqlalchemy.partition('>=')[2]} or newer" in README
    assert f"pip install '{PROJECT['name']}[psycopg]'" in README
