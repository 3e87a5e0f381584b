"""What changes or tells of the schema beside us, and where tests get theirs from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import alembic
from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from tests.support.guides import chapters

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.guides import Reader

    Follow = Callable[[str], Reader]

TEMPLATES = Path(alembic.__file__).parent / "templates" / "generic"


def test_alembic_utils(reader: Reader) -> None:
    project = chapters("how-to/migrations.md")[1]
    reader.write_files(project)
    reader.write("migrations/script.py.mako", (TEMPLATES / "script.py.mako").read_text())
    reader.write("migrations/versions/.keep", "")
    [page] = chapters("how-to/ecosystem/alembic-utils.md")

    reader.follow(page)

    [revision] = (reader.folder / "migrations" / "versions").glob("*.py")
    upgrading, _, _ = revision.read_text().partition("def downgrade")
    assert upgrading.count("op.create_entity") == 3
    assert "op.drop_entity" not in upgrading
    engine = create_engine(reader.database, poolclass=NullPool)
    with Session(engine) as session:
        assert diagnose(session) == []
    reader.run("alembic downgrade app@base")


def test_sqlalchemy_continuum(reader: Reader) -> None:
    upgrade(reader.database)
    # It listens to all mappers and Sessions of its process.
    reader.variables["PYTHONWARNINGS"] = "error,ignore::ResourceWarning"
    [page] = chapters("how-to/ecosystem/sqlalchemy-continuum.md")
    reader.follow(page)


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
