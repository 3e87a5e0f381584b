"""What changes or tells of the schema beside us, and where tests get theirs from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import alembic
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.doctor import diagnose
from tests.support.guides import chapters

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.guides import Reader

    Follow = Callable[[str], Reader]

TEMPLATES = Path(alembic.__file__).parent / "templates" / "generic"


@pytest.fixture
def project(reader: Reader) -> Reader:
    """A reader who has a project with Alembic, and our migrations beside theirs."""
    reader.write_files(chapters("how-to/migrations.md")[1])
    reader.write("migrations/script.py.mako", (TEMPLATES / "script.py.mako").read_text())
    reader.write("migrations/versions/.keep", "")
    return reader


def upgrading(project: Reader) -> str:
    """Return what the project's one revision does."""
    [revision] = (project.folder / "migrations" / "versions").glob("*.py")
    return revision.read_text().partition("def downgrade")[0]


def test_alembic_utils(project: Reader) -> None:
    [page] = chapters("how-to/ecosystem/alembic-utils.md")

    project.follow(page)

    assert upgrading(project).count("op.create_entity") == 3
    assert "op.drop_entity" not in upgrading(project)
    engine = create_engine(project.database, poolclass=NullPool)
    with Session(engine) as session:
        assert diagnose(session) == []
    project.run("alembic downgrade app@base")


FIRST = "--head base --branch-label app --depends-on flametrench_tenancy@head"


def test_sqlalchemy_continuum(project: Reader) -> None:
    [page] = chapters("how-to/ecosystem/sqlalchemy-continuum.md")
    project.write_files(page)
    environment = (project.folder / "migrations" / "env.py").read_text()
    both = environment.replace("Base.metadata", "[Base.metadata, Organization.metadata]")
    project.write("migrations/env.py", both.replace("models import Base", "models import *"))
    project.run("alembic upgrade heads")
    project.run(f"alembic revision --autogenerate {FIRST} --version-path migrations/versions")
    project.run("alembic upgrade heads")
    created = re.findall(r"op.create_table\(\s*['\"](\w+)", upgrading(project))
    assert sorted(created) == VERSIONED

    # It listens to all mappers and Sessions of its process, so that it gets one of its own.
    project.variables["PYTHONWARNINGS"] = "error,ignore::ResourceWarning"
    project.follow(page)

    project.run("alembic check")
    assert project.run(f"python -c '{DOCTOR}'") == "[]\n"


DOCTOR = """import models
from os import environ
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from flametrench_tenancy_sqlalchemy.doctor import diagnose
with Session(create_engine(environ["DATABASE_URL"])) as session:
    print(diagnose(session))"""
VERSIONED = ["mem_version", "org_version", "project", "project_version", "transaction"]


def test_pytest_postgresql(reader: Reader) -> None:
    """Its own server refuses to run as root, which CI may be: it gets this run's for one of its."""
    url = make_url(reader.variables.pop("TENANCY_TEST_DATABASE_URL"))
    where = {key: getattr(url, part) for key, part in WHERE.items()}
    reader.write(
        "conftest.py",
        "from pytest_postgresql import factories\n"
        f"postgresql_proc = factories.postgresql_noproc(**{where!r})\n",
    )
    reader.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")
    reader.variables["PYTEST_PLUGINS"] += ",pytest_postgresql.plugin"
    [page] = chapters("how-to/ecosystem/pytest-postgresql.md")

    reader.follow(page)

    assert " 2 passed in " in reader.said


WHERE = {"host": "host", "port": "port", "user": "username", "password": "password"}
