"""Alembic's own command line, in a checkout and in an application with a base of its own."""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alembic
import pytest
from alembic.config import main
from sqlalchemy import Engine, inspect

from flametrench_tenancy_sqlalchemy.migrations import version_location

from .reference import TABLES, create_reference, fill, run
from .state import everything, tenancy_schema

ROOT = Path(__file__).parents[2]
Alembic = Callable[..., None]

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
from models_of_an_application import Base
from sqlalchemy import NullPool, create_engine

from flametrench_tenancy_sqlalchemy.migrations import (
    include_object,
    process_revision_directives,
    render_item,
)

url = context.config.get_main_option("sqlalchemy.url")
with create_engine(url, poolclass=NullPool).connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=include_object,
        process_revision_directives=process_revision_directives,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()
"""

INI = """
[alembic]
script_location = %(here)s/migrations
path_separator = newline
revision_environment = true
version_locations =
    %(here)s/migrations/versions
    {ours}
sqlalchemy.url = {url}
"""


@pytest.fixture
def checkout(empty: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alembic]:
    """Alembic's command line where the package is developed; the environment names a database."""
    # What its configuration says of logging is for a process of its own.
    handlers, level = logging.root.handlers[:], logging.root.level
    url = empty.url.set(drivername="postgres").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield lambda *arguments: main(list(arguments))
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def application(
    tmp_path: Path, empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Alembic]:
    """Alembic's command line in a folder with models and an environment."""
    migrations = tmp_path / "migrations"
    (migrations / "versions").mkdir(parents=True)
    url = empty.url.render_as_string(hide_password=False).replace("%", "%%")
    (tmp_path / "alembic.ini").write_text(INI.format(ours=version_location(), url=url))
    (tmp_path / "models_of_an_application.py").write_text(MODELS)
    (migrations / "env.py").write_text(ENV)
    template = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
    (migrations / "script.py.mako").write_text(template.read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda *arguments: main(list(arguments))
    sys.modules.pop("models_of_an_application", None)


# -- in a checkout


def test_environment_or_arguments_name_the_database_and_the_schema(
    checkout: Alembic, empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout("upgrade", "head")
    checkout("check")
    checkout("downgrade", "base")
    assert tenancy_schema(empty) == {}
    monkeypatch.delenv("DATABASE_URL")
    url = empty.url.render_as_string(hide_password=False)
    checkout("-x", f"url={url}", "-x", "schema=tenancy", "upgrade", "head")
    assert tenancy_schema(empty) == {}
    assert tenancy_schema(empty, "tenancy")


def test_a_refusal_is_a_message_not_a_traceback(
    checkout: Alembic, empty: Engine, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with empty.begin() as connection:
        run(connection, "CREATE TABLE org (id int PRIMARY KEY)")
    with pytest.raises(SystemExit):
        checkout("upgrade", "head")
    message = "column id of org: expected uuid NOT NULL, found integer NOT NULL"
    assert message in "".join(capsys.readouterr())
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SystemExit):
        checkout("upgrade", "head")
    assert "set DATABASE_URL" in "".join(capsys.readouterr())
    with pytest.raises(SystemExit):
        checkout("-x", "url=postgresql+asyncpg://u:secret@127.0.0.1:1/x", "upgrade", "head")
    said = "".join(capsys.readouterr())
    assert "no connection by postgresql+asyncpg: " in said
    assert "secret" not in said


def test_a_busy_table_is_not_waited_for_longer_than_asked(checkout: Alembic, empty: Engine) -> None:
    with empty.begin() as connection:
        create_reference(connection)
    before = everything(empty)
    with empty.begin() as writer:
        run(writer, "LOCK TABLE mem IN ROW EXCLUSIVE MODE")
        with pytest.raises(Exception, match="lock timeout"):
            checkout("-x", "lock_timeout=10ms", "upgrade", "head")
    assert everything(empty) == before


# -- beside the application's own


def test_both_bases_come_and_go_side_by_side(application: Alembic, empty: Engine) -> None:
    application("upgrade", "heads")
    ours = tenancy_schema(empty)
    application(
        *("revision", "--autogenerate", "-m", "projects", "--rev-id", "app1"),
        *("--head", "base", "--branch-label", "app", "--version-path", "migrations/versions"),
        *("--depends-on", "flametrench_tenancy@head"),
    )
    written = next(Path("migrations/versions").glob("*.py")).read_text()
    assert "sa.Column('org_id', sa.Uuid(), nullable=False)" in written
    assert "flametrench_tenancy_sqlalchemy" not in written
    assert written.count("op.") == len(["create_table", "drop_table"])
    application("upgrade", "heads")
    assert tenancy_schema(empty) == ours
    assert inspect(empty).has_table("project")
    application("check")
    application("downgrade", "app@base")
    assert not inspect(empty).has_table("project")
    assert tenancy_schema(empty) == ours
    application("downgrade", "base")
    assert inspect(empty).get_table_names() == ["alembic_version"]
    application("upgrade", "app@head")  # which brings ours along
    assert set(inspect(empty).get_table_names()) == {*TABLES, "project", "alembic_version"}


PLAIN = ("revision", "-m", "projects")


@pytest.mark.parametrize(
    "arguments",
    [
        PLAIN,
        (*PLAIN, "--autogenerate"),
        (*PLAIN, "--autogenerate", "--version-path", "migrations/versions"),
        (*PLAIN, "--head", "flametrench_tenancy@head"),
        (*PLAIN, "--head", "ft0002", "--splice", "--version-path", "migrations/versions"),
        (*PLAIN, "--head", "base", "--version-path", str(version_location())),
    ],
)
def test_no_revision_is_written_into_the_package_or_on_top_of_ours(
    application: Alembic, capsys: Any, arguments: tuple[str, ...]
) -> None:
    application("upgrade", "heads")
    ours = sorted(version_location().iterdir())
    with pytest.raises(SystemExit):
        application(*arguments)
    assert sorted(version_location().iterdir()) == ours
    assert list(Path("migrations/versions").iterdir()) == []
    said = "".join(capsys.readouterr())
    _, _, command = said.replace("\n", " ").partition(": alembic ")
    application(*shlex.split(command), "-m", "projects")
    application("upgrade", "heads")
    application(*PLAIN, "--autogenerate", "--head", "app@head")
    assert len(list(Path("migrations/versions").glob("*.py"))) == 2
    application("upgrade", "heads")
    application("check")


ENTITIES = """
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_trigger import PGTrigger
from alembic_utils.replaceable_entity import register_entities

quiet = "BEFORE UPDATE ON public.org FOR EACH ROW WHEN (false) EXECUTE FUNCTION public.quiet()"
register_entities([
    PGFunction("public", "quiet()", "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"),
    PGTrigger("public", "org_quiet", quiet, "public.org"),
])
"""


def test_alembic_utils_brings_the_applications_triggers_and_leaves_ours(
    application: Alembic, empty: Engine
) -> None:
    application("upgrade", "heads")
    with empty.begin() as connection:
        run(
            connection,
            "GRANT SELECT ON org TO pg_read_all_data; ALTER TABLE org ENABLE ROW LEVEL SECURITY",
        )
        run(connection, "CREATE POLICY org_seen ON org USING (true)")
    ours = everything(empty)
    Path("migrations/env.py").write_text(ENTITIES + ENV)

    def alembic_of_its_own(*arguments: str) -> None:
        # What is registered with alembic_utils, is for the whole process.
        subprocess.run([sys.executable, "-m", "alembic", *arguments], check=True)

    first = ("--head", "base", "--branch-label", "app", "--version-path", "migrations/versions")
    alembic_of_its_own("revision", "--autogenerate", "-m", "quiet", *first)
    written = next(Path("migrations/versions").glob("*.py")).read_text()
    upgrade, _, _ = written.partition("def downgrade")
    assert upgrade.count("op.create_entity") == 2
    assert "op.drop_entity" not in upgrade
    alembic_of_its_own("upgrade", "heads")
    alembic_of_its_own("check")
    alembic_of_its_own("downgrade", "app@base")
    run_anew = everything(empty)
    assert run_anew[0] == ours[0]
    assert run_anew[2] == ours[2]


@pytest.mark.parametrize("per_migration", [False, True])
def test_tables_in_use_are_indexed_whatever_transactions_the_environment_runs(
    application: Alembic, empty: Engine, per_migration: bool
) -> None:
    options = f"(transaction_per_migration={per_migration}, "
    Path("migrations/env.py").write_text(ENV.replace("configure(", f"configure{options}"))
    application("upgrade", "ft0002")
    with empty.begin() as connection:
        fill(connection)
    application("upgrade", "heads")
    upgraded = tenancy_schema(empty)
    application("downgrade", "base")
    application("upgrade", "heads")
    assert tenancy_schema(empty) == upgraded
