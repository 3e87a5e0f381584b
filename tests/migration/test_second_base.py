"""Our revisions in the application's own Alembic environment, beside its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import alembic
import pytest
from sqlalchemy import Engine, inspect

from flametrench_tenancy_sqlalchemy import migrations
from flametrench_tenancy_sqlalchemy.migrations import upgrade, version_location

from .reference import ROWS, TABLES, run
from .state import tenancy_schema

SOURCE = Path(migrations.__file__).parents[2]

MODELS = """
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flametrench_tenancy_sqlalchemy import Organization


class Base(DeclarativeBase):
    pass


class Project(Base):
    __tablename__ = "project"

    id: Mapped[int] = mapped_column(primary_key=True)
    org_id: Mapped[str] = mapped_column(ForeignKey(Organization.id))
"""

ENV = """
from alembic import context
from models import Base
from sqlalchemy import create_engine

from flametrench_tenancy_sqlalchemy.migrations import include_name, render_item

with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=include_name,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()
"""

INI = """
[alembic]
script_location = %(here)s/migrations
prepend_sys_path = %(here)s
path_separator = newline
version_locations =
    %(here)s/migrations/versions
    {ours}
sqlalchemy.url = {url}
"""


class Project:
    """An application with its models and its Alembic environment in a folder."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.versions = folder / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        url = engine.url.render_as_string(hide_password=False).replace("%", "%%")
        (folder / "alembic.ini").write_text(INI.format(ours=version_location(), url=url))
        (folder / "models.py").write_text(MODELS)
        (folder / "migrations" / "env.py").write_text(ENV)
        template = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
        (folder / "migrations" / "script.py.mako").write_text(template.read_text())

    def alembic(self, *arguments: str) -> str:
        """Run Alembic's command line and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},  # installed or not
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write_first_revision(self) -> None:
        self.alembic(
            *("revision", "--autogenerate", "-m", "projects", "--rev-id", "app1"),
            *("--head", "base", "--branch-label", "app", "--version-path", str(self.versions)),
            *("--depends-on", "flametrench_tenancy@head"),
        )


@pytest.fixture
def project(tmp_path: Path, empty: Engine) -> Project:
    return Project(tmp_path, empty)


def test_both_bases_come_and_go_side_by_side(project: Project, empty: Engine) -> None:
    project.alembic("upgrade", "heads")
    ours = tenancy_schema(empty)
    project.write_first_revision()
    project.alembic("upgrade", "heads")
    assert tenancy_schema(empty) == ours
    assert inspect(empty).has_table("project")
    project.alembic("check")
    project.alembic("downgrade", "app@base")
    assert not inspect(empty).has_table("project")
    assert tenancy_schema(empty) == ours
    project.alembic("downgrade", "base")
    assert inspect(empty).get_table_names() == ["alembic_version"]


def test_the_applications_revision_brings_ours_along(project: Project, empty: Engine) -> None:
    project.alembic("upgrade", "heads")
    project.write_first_revision()
    project.alembic("downgrade", "base")
    project.alembic("upgrade", "app@head")
    assert set(inspect(empty).get_table_names()) == {*TABLES, "project", "alembic_version"}


def test_autogenerate_writes_nothing_about_our_tables(project: Project) -> None:
    project.alembic("upgrade", "heads")
    project.write_first_revision()
    [revision] = project.versions.glob("*.py")
    written = revision.read_text()
    assert "sa.Column('org_id', sa.Uuid(), nullable=False)" in written
    assert "flametrench_tenancy_sqlalchemy" not in written
    assert written.count("op.") == len(["create_table", "drop_table"])


def test_the_move_from_a_version_table_of_our_own_changes_nothing(
    project: Project, empty: Engine
) -> None:
    upgrade(empty.url)
    before = tenancy_schema(empty)
    project.alembic("stamp", "flametrench_tenancy@head")
    project.write_first_revision()
    project.alembic("upgrade", "heads")
    project.alembic("check")
    assert tenancy_schema(empty) == before


@pytest.mark.parametrize("per_migration", [False, True])
def test_tables_in_use_are_indexed_whatever_transactions_the_environment_runs(
    project: Project, empty: Engine, per_migration: bool
) -> None:
    env = project.folder / "migrations" / "env.py"
    option = f"        transaction_per_migration={per_migration},\n"
    env.write_text(env.read_text().replace("        connection=", f"{option}        connection="))
    project.alembic("upgrade", "ft0002")
    with empty.begin() as connection:
        for table in TABLES:
            run(connection, ROWS[table])
    project.alembic("upgrade", "heads")
    upgraded = tenancy_schema(empty)
    project.alembic("downgrade", "base")
    project.alembic("upgrade", "heads")
    assert tenancy_schema(empty) == upgraded
