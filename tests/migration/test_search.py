"""The opt-in branch for searching organizations: beside the main one, never in its way."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.migrations import (
    HEAD,
    VERSION_TABLE,
    SchemaMismatchError,
    alembic_config,
    branch_location,
    downgrade,
    include_object,
    upgrade,
)
from flametrench_tenancy_sqlalchemy.migrations.catalog import Part

from .reference import ROWS, run, run_script
from .state import everything, tenancy_schema

SCHEMA = "Ten ancy"
INDEX = Part("index", "org", "org_search_idx")
HEAD_OF_SEARCH = "flametrench_tenancy_search@head"


def test_who_does_not_ask_for_it_has_one_head_and_who_does_has_two() -> None:
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1
    scripts = ScriptDirectory.from_config(alembic_config(branches=["search"]))
    assert len(scripts.get_heads()) == 2
    assert scripts.get_revision(HEAD) != scripts.get_revision(HEAD_OF_SEARCH)
    assert scripts.get_bases() == ["ft0001", "ft_search_0001"]
    ini = Path(__file__).parents[2] / "alembic.ini"
    scripts = ScriptDirectory.from_config(Config(ini, ini_section="search"))
    assert len(scripts.get_heads()) == 2
    assert branch_location("search") == ini.parent / "alembic" / "search"


@pytest.mark.parametrize("rows", [False, True])
def test_it_comes_and_goes_and_touches_nothing_else(empty: Engine, rows: bool) -> None:
    upgrade(empty.url, "head")
    if rows:
        with empty.begin() as connection:
            run(connection, [ROWS["usr"], ROWS["org"]])
    before = tenancy_schema(empty)
    assert INDEX not in before
    upgrade(empty.url, "heads", branches=["search"])
    upgrade(empty.url, "heads", branches=["search"])
    wording = "CREATE INDEX ON org USING gin (name gin_trgm_ops, slug gin_trgm_ops)"
    assert tenancy_schema(empty) == before | {INDEX: wording}
    command.check(alembic_config(empty.url, branches=["search"]))
    with pytest.raises(CommandError, match="ft_search_0001"):
        upgrade(empty.url)  # which a database that has it says to whoever forgets it
    downgrade(empty.url, "flametrench_tenancy_search@base", branches=["search"])
    assert tenancy_schema(empty) == before


def test_alone_it_brings_the_tables_along(blank: Connection) -> None:
    versions = text(f"SELECT version_num FROM {VERSION_TABLE}")
    upgrade(blank, HEAD_OF_SEARCH, branches=["search"])
    assert set(blank.scalars(versions)) == {"ft_search_0001"}
    upgrade(blank, branches=["search"])
    assert set(blank.scalars(versions)) == {"ft_search_0001", "ft0004"}
    downgrade(blank, "base", branches=["search"])
    assert set(blank.scalars(versions)) == set()


@pytest.mark.parametrize("home", ["extensions", SCHEMA, None])
def test_the_extension_may_live_in_any_schema(blank: Connection, home: str | None) -> None:
    upgrade(blank, schema=SCHEMA)
    if home is not None:
        run(blank, f'CREATE SCHEMA IF NOT EXISTS "{home}"')
        run(blank, f'CREATE EXTENSION pg_trgm SCHEMA "{home}"')
    upgrade(blank, "heads", schema=SCHEMA, branches=["search"])
    prefix = "extensions." if home == "extensions" else ""
    assert f"{prefix}gin_trgm_ops" in tenancy_schema(blank, SCHEMA)[INDEX]
    upgrade(blank, "heads", branches=["search"])  # in public, too, beside the other
    assert INDEX in tenancy_schema(blank)


def test_tables_in_use_find_the_extension_wherever_it_lives(empty: Engine) -> None:
    upgrade(empty.url, schema=SCHEMA)
    with empty.begin() as connection:
        run(connection, ["CREATE SCHEMA extensions", "CREATE EXTENSION pg_trgm SCHEMA extensions"])
        run(connection, [f'SET LOCAL search_path TO "{SCHEMA}"', ROWS["usr"], ROWS["org"]])
    upgrade(empty.url, "heads", schema=SCHEMA, branches=["search"])
    assert "extensions.gin_trgm_ops" in tenancy_schema(empty, SCHEMA)[INDEX]


def test_another_index_of_its_name_is_refused(blank: Connection) -> None:
    upgrade(blank)
    run(blank, "CREATE INDEX org_search_idx ON org (name)")
    with pytest.raises(SchemaMismatchError, match="org_search_idx"):
        upgrade(blank, "heads", branches=["search"])


def test_offline_sql_builds_the_same(empty: Engine) -> None:
    config = alembic_config(branches=["search"])
    config.output_buffer = printed = io.StringIO()
    command.upgrade(config, "heads", sql=True)
    run_script(empty, printed.getvalue())
    offline = everything(empty)
    downgrade(empty.url, "base", branches=["search"])
    upgrade(empty.url, "heads", branches=["search"])
    assert everything(empty) == offline


def test_autogenerate_leaves_the_extension_alone_unless_the_application_declares_it() -> None:
    for name, reflected, is_included in (
        ("pg_trgm", True, False),
        ("pg_trgm", False, True),
        ("hstore", True, True),
    ):
        extension = SimpleNamespace(signature=name)  # as alembic_utils has it
        assert include_object(extension, name, "extension", reflected, None) is is_included


def test_the_command_line_knows_it(empty: Engine, capsys: Any) -> None:
    url = empty.url.render_as_string(hide_password=False)
    assert main(["migrate", "upgrade", "heads", "--branch", "search", "--url", url]) == 0
    assert INDEX in tenancy_schema(empty)
    assert main(["doctor", "--url", url]) == 0
    assert main(["migrate", "downgrade", "base", "--branch", "search", "--url", url]) == 0
    assert tenancy_schema(empty) == {}
