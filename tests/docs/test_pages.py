"""The pages lead to each other, and each block of their code is run by a test."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

import pytest

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from tests.support.guides import DOCS, ROOT, chapters

if TYPE_CHECKING:
    from tests.support.guides import Reader

REPOSITORY: Final = "https://github.com/flametrench/tenancy-sqlalchemy"
SITE: Final = "https://flametrench.github.io/tenancy-sqlalchemy/"
PAGES: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NAMES: Final = [page.relative_to(DOCS).as_posix() for page in PAGES[2:]]


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    here = re.sub(rf"\]\({REPOSITORY}/(?:blob|tree)/main/", f"]({ROOT}/", written)
    here = re.sub(rf"\]\({SITE}([^)#]*)\.html", rf"]({DOCS}/\1.md", here)
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", here):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), anchor


@pytest.mark.parametrize("name", [name for name in NAMES if any(chapters(name))])
def test_a_guide_is_followed_to_its_last_block(name: str) -> None:
    said = {f'"{name}"', f'follow("{PurePath(name).stem}")'}
    tests = [*Path(__file__).parent.glob("*.py"), *(ROOT / "tests" / "neighbours").glob("*.py")]
    assert any(words in test.read_text() for test in tests for words in said)
    fences = re.findall(r"^```\S", (DOCS / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == sum(map(len, chapters(name)))


@pytest.mark.parametrize(
    "name",
    [
        "concepts/transactions.md",
        "how-to/loading.md",
        "how-to/sets.md",
        "how-to/your-tables.md",
    ],
)
def test_its_code_runs_from_top_to_bottom(name: str, reader: Reader) -> None:
    upgrade(reader.database)
    [guide] = chapters(name)

    reader.follow(guide)

    reader.here["engine"].dispose()
