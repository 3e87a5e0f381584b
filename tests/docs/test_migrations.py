"""The guide to migrations: each way to run them, on a project of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import alembic
import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.doctor import Finding, diagnose
from flametrench_tenancy_sqlalchemy.migrations import VERSION_TABLE, upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES
from flametrench_tenancy_sqlalchemy.testing.factories import make_org
from tests.migration.reference import create_reference
from tests.migration.state import rows_of
from tests.support.guides import chapters

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.support.guides import Reader

ALONE, AT_FIRST, BESIDE, FLASK, APART, TRANSLATED, OFFLINE = chapters("how-to/migrations.md")

FIRST_REVISION: Final = '''"""Projects."""

import sqlalchemy as sa
from alembic import op

revision = "1f0c93"
down_revision = None


def upgrade():
    op.create_table(
        "project",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
    )
    op.execute("INSERT INTO project (name) VALUES ('old')")


def downgrade():
    op.drop_table("project")
'''
# Nothing about our tables.
NEW_COLUMN: Final = [
    *("add_column", "create_index", "create_foreign_key"),
    *("drop_constraint", "drop_index", "drop_column"),
]

MAKO: Final = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"


@pytest.fixture
def engine_(reader: Reader) -> Engine:
    """The reader's database."""
    return create_engine(reader.database, poolclass=NullPool)


@pytest.fixture
def project(reader: Reader) -> Reader:
    """A reader who has a project with Alembic, a revision in it and a row."""
    reader.write("migrations/script.py.mako", MAKO.read_text())
    reader.write("migrations/versions/1f0c93_projects.py", FIRST_REVISION)
    reader.write_files(AT_FIRST)
    ours = "    flametrench_tenancy_sqlalchemy:alembic/versions\n"
    settings = (reader.folder / "alembic.ini").read_text()
    assert ours in settings
    reader.write("alembic.ini", settings.replace(ours, ""))
    return reader


@pytest.fixture
def running(project: Reader) -> Reader:
    """The same, where that revision has been applied."""
    project.execute(
        """
        CREATE TABLE project (id serial PRIMARY KEY, name varchar NOT NULL);
        INSERT INTO project (name) VALUES ('old');
        CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
        INSERT INTO alembic_version VALUES ('1f0c93');
        """
    )
    return project


def written(project: Reader) -> list[list[str]]:
    """Return what Alembic has written: for each revision the operations that it consists of."""
    versions = project.folder / "migrations" / "versions"
    files = [file for file in versions.glob("*.py") if "1f0c93_" not in file.name]
    return sorted(re.findall(r"\bop\.(\w{2,})\(", file.read_text()) for file in files)


def tables(engine: Engine, schema: str = "public") -> set[str]:
    return set(inspect(engine).get_table_names(schema))


def findings(engine: Engine) -> list[Finding]:
    with Session(engine) as session:
        return diagnose(session)


def test_they_run_alone(reader: Reader, engine_: Engine) -> None:
    *up, down = ALONE

    reader.follow(up)
    assert tables(engine_) == {*TABLES, VERSION_TABLE}
    reader.follow([down])
    assert tables(engine_) == {VERSION_TABLE}


def test_they_run_beside_revisions_that_were_there_before(running: Reader, engine_: Engine) -> None:
    *forth, back = BESIDE

    running.write_files(AT_FIRST)
    running.follow(forth)

    assert tables(engine_) == {*TABLES, "project", "alembic_version"}
    [key] = inspect(engine_).get_foreign_keys("project")
    assert (key["constrained_columns"], key["referred_table"]) == (["org_id"], "org")
    assert written(running) == [[], NEW_COLUMN]
    with engine_.connect() as connection:
        assert connection.exec_driver_sql("SELECT name FROM project").scalars().all() == ["old"]

    running.follow([back])

    assert tables(engine_) == {"project", "alembic_version"}


def test_beside_others_they_adopt_what_is_there(running: Reader, engine_: Engine) -> None:
    with engine_.begin() as connection:
        create_reference(connection, newest=False)
        before = rows_of(connection, "mem")

    running.write_files(AT_FIRST)
    running.run("alembic upgrade heads")

    with engine_.connect() as connection:
        assert rows_of(connection, "mem") == before
    running.run("alembic downgrade flametrench_tenancy@base")
    assert {*TABLES, "project"} <= tables(engine_)


def test_a_project_without_a_revision_begins_a_branch_of_its_own(
    project: Reader, engine_: Engine
) -> None:
    (project.folder / "migrations" / "versions" / "1f0c93_projects.py").unlink()

    project.follow(AT_FIRST)

    assert tables(engine_) == {*TABLES, "project", "alembic_version"}
    [file] = (project.folder / "migrations" / "versions").glob("*.py")
    assert "('app',)" in file.read_text()


def test_flask_migrate_does_it_too_and_refuses_a_revision_on_top_of_ours(
    reader: Reader, engine_: Engine
) -> None:
    reader.follow(FLASK)

    assert tables(engine_) == {*TABLES, "project", "alembic_version"}
    assert written(reader) == [["create_table", "drop_table"]]
    reader.run("flask db downgrade app@base && rm migrations/versions/*.py")
    reader.run("flask db migrate -m again", must_succeed=False)
    assert "begin a branch of your own" in reader.said
    assert written(reader) == []


def test_they_move_in_from_a_version_table_of_their_own(running: Reader, engine_: Engine) -> None:
    upgrade(running.database)
    running.write_files(AT_FIRST)

    running.run("alembic stamp flametrench_tenancy@head")
    running.execute(f"DROP TABLE {VERSION_TABLE}")
    running.run("alembic upgrade heads")

    assert tables(engine_) == {*TABLES, "project", "alembic_version"}


def test_they_run_in_a_schema_of_their_own(running: Reader, engine_: Engine) -> None:
    running.follow(APART)
    running.run("alembic revision --autogenerate -m 'projects of organizations'")
    running.run("alembic upgrade head && alembic check")
    assert findings(engine_) == []

    assert tables(engine_) == {"project", "alembic_version"}
    assert tables(engine_, "tenancy") == {*TABLES, VERSION_TABLE}
    [key] = inspect(engine_).get_foreign_keys("project", "public")
    assert (key["referred_schema"] or "tenancy", key["referred_table"]) == ("tenancy", "org")
    assert written(running) == [NEW_COLUMN]
    with Session(engine_) as session:
        make_org(session, slug="acme")
        found = "SELECT slug FROM tenancy.org"
        assert session.connection().exec_driver_sql(found).scalars().all() == ["acme"]


def test_a_schema_of_their_own_is_translated(project: Reader, engine_: Engine) -> None:
    (project.folder / "migrations" / "versions" / "1f0c93_projects.py").unlink()

    project.follow(TRANSLATED)

    assert tables(engine_) == {"project", "alembic_version"}
    assert tables(engine_, "tenancy") == {*TABLES, VERSION_TABLE}
    assert written(project) == [["create_table", "drop_table"]]
    project.run("alembic revision --autogenerate -m nothing")
    assert written(project) == [[], ["create_table", "drop_table"]]
    models = next(block for block in TRANSLATED if block.title == "models.py")
    project.follow([replace(models, title=None)])
    here = project.here
    with Session(here["engine"]) as session, session.begin():
        session.add(here["Project"](organization=make_org(session, slug="acme")))
    with engine_.connect() as connection:
        joined = "SELECT slug FROM public.project JOIN tenancy.org ON org.id = org_id"
        assert connection.exec_driver_sql(joined).scalars().all() == ["acme"]


def test_they_are_printed_for_somebody_else(reader: Reader, engine_: Engine) -> None:
    reader.follow(OFFLINE)
    reader.execute((reader.folder / "tenancy.sql").read_text())

    assert findings(engine_) == []
    assert tables(engine_) == {*TABLES, VERSION_TABLE}

    reader.run("flametrench-tenancy migrate downgrade ft0001")
    reader.execute(reader.run("flametrench-tenancy migrate sql ft0001:ft0002 2>/dev/null"))
    upgrade(reader.database)
    assert findings(engine_) == []


def test_both_bases_are_printed_for_somebody_else(project: Reader, engine_: Engine) -> None:
    project.write_files(AT_FIRST)
    project.run("alembic upgrade heads --sql > everything.sql 2>/dev/null")
    project.execute((project.folder / "everything.sql").read_text())

    assert findings(engine_) == []
    assert tables(engine_) == {*TABLES, "project", "alembic_version"}
    project.run("alembic upgrade heads")
