"""The README is true: its code runs, its names exist; and all pages can be found."""

from __future__ import annotations

import inspect
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.orm import DeclarativeBase

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import Base, TenancyError, TenancyRepository
from tests.support.guides import DOCS, ROOT, chapters

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

REPOSITORY = "https://github.com/flametrench/tenancy-sqlalchemy"
README = (ROOT / "README.md").read_text()

# What the README says about all operations, to spare each line of its table.
EVERYWHERE = {"InvalidIdError", "NotFoundError"}
MALFORMED = {"role_format", "status_format", "limit_format", "type_format", "relation_format"}
MALFORMED |= {"options_format"}


def blocks(language: str) -> list[tuple[int, str]]:
    """Return the README's blocks in a language, each with the number of lines above it."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [(README.count("\n", 0, match.start(1)), match[1]) for match in found]


def table_of_operations() -> dict[str, set[str]]:
    """Return what the table says: operation -> the errors and reasons it is refused with."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", README, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", refused)) for name, refused in rows}


def operations() -> dict[str, Callable[..., Any]]:
    """Return the repository's public operations."""
    return {
        name: function
        for name, function in inspect.getmembers(TenancyRepository, inspect.isfunction)
        if not name.startswith(("_", "acting_as"))
    }


def documented_refusals(operation: Callable[..., Any]) -> set[str]:
    """Return the errors that a docstring lists, a precondition by its reasons."""
    doc = inspect.getdoc(operation) or ""
    _, _, raises = doc.partition("Raises:\n")
    raises, _, _ = raises.partition("\n\n")
    entries = dict(re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", raises, re.M | re.S))
    reasons = entries.pop("PreconditionError", "")
    parameters = set(inspect.signature(operation).parameters)
    return {*entries, *re.findall(r"``(\w+)``", reasons)} - parameters


def test_its_code_runs_from_top_to_bottom(
    clean_engine: Engine, request: pytest.FixtureRequest
) -> None:
    class AppBase(DeclarativeBase):
        """The reader's own declarative base."""

    here: dict[str, Any] = {"__name__": "readme", "Base": AppBase, "engine": clean_engine}
    try:
        for above, block in blocks("python"):
            code = "\n" * above + block  # a traceback shows the README's own lines
            exec(compile(code, "README.md", "exec", dont_inherit=True), here)
            AppBase.metadata.create_all(clean_engine)  # the tables of classes it has defined
    finally:
        AppBase.metadata.drop_all(clean_engine)

    (test,) = (value for name, value in here.items() if name.startswith("test_"))
    fixtures = inspect.signature(test).parameters
    test(**{name: request.getfixturevalue(name) for name in fixtures})


def test_its_table_names_every_operation_and_what_it_is_refused_with() -> None:
    table = table_of_operations()
    assert table == {
        name: documented_refusals(operation) - EVERYWHERE - MALFORMED
        for name, operation in operations().items()
    }
    named = set().union(EVERYWHERE, *table.values())
    errors = {name for name in named if name.endswith("Error")}
    assert all(issubclass(getattr(package, name), TenancyError) for name in errors)


def test_its_diagram_draws_every_table_and_column() -> None:
    (diagram,) = (block for _, block in blocks("mermaid") if block.startswith("erDiagram"))
    entities = re.findall(r"^ {4}(\w+) \{\n(.*?)^ {4}\}", diagram, re.MULTILINE | re.DOTALL)
    drawn = {name: [line.split()[1] for line in body.splitlines()] for name, body in entities}
    assert drawn == {
        name: [column.name for column in table.columns]
        for name, table in Base.metadata.tables.items()
    }


def test_its_diagram_of_states_names_only_operations() -> None:
    (diagram,) = (block for _, block in blocks("mermaid") if block.startswith("stateDiagram"))
    named = set(re.findall(r"\w+_\w+", "\n".join(re.findall(r" : (.*)", diagram))))
    assert named <= operations().keys()
    assert named >= {"create_org", "accept_invitation", "self_leave", "expire_invitations"}


PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
GUIDES = [
    name
    for page in PAGES[1:]
    for name in [page.relative_to(DOCS).as_posix()]
    if any(chapters(name))
]


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    written = re.sub(rf"\]\({REPOSITORY}/(?:blob|tree)/main/", f"]({ROOT}/", page.read_text())
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", written):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), anchor


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_is_followed_to_its_last_block(name: str) -> None:
    said = {f'"{name}"', f'follow("{PurePath(name).stem}")'}
    tests = [*Path(__file__).parent.glob("*.py"), *(ROOT / "tests" / "neighbours").glob("*.py")]
    assert any(words in test.read_text() for test in tests for words in said)
    fences = re.findall(r"^```\S", (DOCS / name).read_text(), re.MULTILINE)
    assert len(fences) == sum(map(len, chapters(name)))
