"""The page on what an application adds to our classes: typed, used and migrated."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import Organization
from tests.docs.test_migrations import AT_FIRST, MAKO
from tests.support.guides import DOCS, ROOT, chapters

if TYPE_CHECKING:
    from tests.support.guides import Reader

NAME: Final = "how-to/added-columns.md"
[GUIDE] = chapters(NAME)

MISTAKES: Final = """\
from models import Organization
from sqlalchemy import select


def mistaken(org: Organization) -> None:
    org.plan = 3
    org.pan = "pro"
    select(Organization).where(Organization.pan == "pro")
"""
WRONG_LINES: Final = [6, 7, 8]

OWN: Final = set(Organization.__table__.columns.keys())
# What a revision consists of, upwards and downwards.
ADDED: Final = {
    "upgrade": ["create_table", "add_column", "add_column", "create_index", "create_foreign_key"],
    "downgrade": ["drop_constraint", "drop_index", "drop_column", "drop_column", "drop_table"],
}
ALTERED: Final = {
    "upgrade": ["alter_column", "drop_index", "create_unique_constraint"],
    "downgrade": ["drop_constraint", "create_index", "alter_column"],
}
DROPPED: Final = {
    "upgrade": ["drop_constraint", "drop_constraint", "drop_column", "drop_column"],
    "downgrade": ["add_column", "add_column", "create_foreign_key", "create_unique_constraint"],
}


@pytest.fixture
def project(reader: Reader) -> Reader:
    """A reader who has a project with Alembic beside ours, as the page on migrations has it."""
    reader.write("migrations/script.py.mako", MAKO.read_text())
    (reader.folder / "migrations" / "versions").mkdir()
    reader.write_files(AT_FIRST)
    [target] = re.findall(r"`(\"target_metadata\": .+?)`", (DOCS / NAME).read_text("utf-8"))
    env = (reader.folder / "migrations" / "env.py").read_text()
    before = '"target_metadata": Base.metadata'
    assert before in env
    env = env.replace("import Base\n", "import Base, Organization\n")
    reader.write("migrations/env.py", env.replace(before, target))
    return reader


def newest(project: Reader) -> dict[str, list[str]]:
    """Return the operations of the newest revision, upwards and downwards."""
    versions = (project.folder / "migrations" / "versions").glob("*.py")
    newest = max(versions, key=lambda file: file.stat().st_mtime_ns).read_text()
    up, down = newest.split("def downgrade")
    operations = {"upgrade": up, "downgrade": down}
    return {name: re.findall(r"\bop\.(\w{2,})\(", code) for name, code in operations.items()}


def columns(project: Reader) -> set[str]:
    engine = create_engine(project.database, poolclass=NullPool)
    return {column["name"] for column in inspect(engine).get_columns("org")}


def test_it_works_and_what_is_altered_and_dropped_is_seen_and_nothing_of_ours(
    project: Reader,
) -> None:
    project.follow(GUIDE)
    assert newest(project) == ADDED
    assert columns(project) == {*OWN, "plan", "manager_id"}

    project.execute("CREATE INDEX by_hand ON org (name)")
    project.execute("COMMENT ON COLUMN org.name IS 'of the company'")
    models = (project.folder / "models.py").read_text()
    for declared, changed, expected in (
        (r"(?<=plan = mapped_column\()Text, index=True", "String(20), unique=True", ALTERED),
        (r"    Organization\.\w+ = .+\n", "", DROPPED),
    ):
        edited, count = re.subn(declared, changed, models)
        assert count > 0
        project.write("models.py", edited.replace("import ForeignKey", "import ForeignKey, String"))
        project.run("alembic revision --autogenerate -m change --head app@head")
        assert newest(project) == expected
        project.run("alembic upgrade heads && alembic check && flametrench-tenancy doctor")
    assert columns(project) == OWN

    project.run("alembic downgrade app@-2 && flametrench-tenancy doctor")
    assert columns(project) == {*OWN, "plan", "manager_id"}
    project.run("alembic downgrade app@base && flametrench-tenancy doctor")
    assert columns(project) == OWN


def type_errors(project: Reader, *files: str) -> list[str]:
    """Return what mypy has to say, as strict as it can be."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, *files],
        cwd=project.folder,
        env=os.environ | {"MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    return re.findall(r"^(.+?): error: ", done.stdout + done.stderr, re.MULTILINE)


def test_a_type_checker_knows_what_is_added_and_nothing_else(reader: Reader) -> None:
    reader.write_files(GUIDE)
    reader.write("mistakes.py", MISTAKES)

    assert type_errors(reader, "app.py", "models.py") == []
    assert type_errors(reader, "mistakes.py") == [f"mistakes.py:{line}" for line in WRONG_LINES]
