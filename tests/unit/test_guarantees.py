"""The page of guarantees names files and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "concepts" / "guarantees.md").read_text(encoding="utf-8")

NAMED = sorted(set(re.findall(r"`((?:alembic|src|tests)/[^`:]+)(?:::(?:\w+::)?(\w+))?`", PAGE)))


@pytest.mark.parametrize("path, test", NAMED)
def test_what_the_page_names_exists(path: str, test: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^ *(async )?def {test}\(", source, re.MULTILINE) or not test


def test_the_page_names_tests_of_every_kind() -> None:
    folders = {path.split("/")[1] for path, _ in NAMED if path.startswith("tests/")}
    assert folders >= {"concurrency", "integration", "unit"}
