"""All pages: their links lead somewhere, and whoever reads the README finds them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.guides import DOCS, ROOT, chapters

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(DOCS.glob("*.md"))
GUIDES = [page for page in PAGES if any(chapters(page.name))]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
every_guide = pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_its_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), anchor


@every_guide
def test_the_readme_leads_to_it(page: Path) -> None:
    assert f"](docs/{page.name})" in (ROOT / "README.md").read_text()


@every_guide
def test_there_is_a_test_that_follows_it(page: Path) -> None:
    tests = [*ROOT.glob("tests/guides/*.py"), ROOT / "tests" / "contrib" / "test_guides.py"]
    assert any(f'"{page.name}"' in test.read_text() for test in tests)


@every_guide
def test_no_block_of_it_is_overlooked(page: Path) -> None:
    fences = re.findall(r"^```\S", page.read_text(), re.MULTILINE)
    assert len(fences) == sum(map(len, chapters(page.name)))
