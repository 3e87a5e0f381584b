"""The opt-in branch for searching organizations: beside the main one, never in its way."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, text

from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.migrations import (
    HEAD,
    VERSION_TABLE,
    SchemaMismatchError,
    alembic_config,
    downgrade,
    search_location,
    upgrade,
)
from flametrench_tenancy_sqlalchemy.migrations.catalog import Part

from .reference import ROWS, run
from .state import everything, tenancy_schema

SCHEMA = "Ten ancy"
INDEX = Part("index", "org", "org_search_idx")
HEAD_OF_SEARCH = "flametrench_tenancy_search@head"


def revisions(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")))


def test_who_does_not_ask_for_it_has_one_head(empty: Engine) -> None:
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1
    upgrade(empty.url, "head")
    assert INDEX not in tenancy_schema(empty)


def test_who_asks_for_it_has_two_and_ours_keeps_its_name() -> None:
    scripts = ScriptDirectory.from_config(alembic_config(search=True))
    assert len(scripts.get_heads()) == 2
    assert scripts.get_revision(HEAD) != scripts.get_revision(HEAD_OF_SEARCH)
    assert scripts.get_bases() == ["ft0001", "ft_search_0001"]


def test_the_ini_file_names_both_folders() -> None:
    ini = Path(__file__).parents[2] / "alembic.ini"
    config = Config(ini, ini_section="search")
    assert len(ScriptDirectory.from_config(config).get_heads()) == 2
    assert search_location() == ini.parent / "alembic" / "search"


@pytest.mark.parametrize("rows", [False, True])
def test_it_comes_and_goes_and_touches_nothing_else(empty: Engine, rows: bool) -> None:
    upgrade(empty.url)
    if rows:
        with empty.begin() as connection:
            run(connection, [*ROWS["usr"], *ROWS["org"]])
    before = tenancy_schema(empty)
    upgrade(empty.url, "heads", search=True)
    upgrade(empty.url, "heads", search=True)
    wording = "CREATE INDEX ON org USING gin (name gin_trgm_ops, slug gin_trgm_ops)"
    assert tenancy_schema(empty) == before | {INDEX: wording}
    command.check(alembic_config(empty.url, search=True))
    downgrade(empty.url, "flametrench_tenancy_search@base", search=True)
    assert tenancy_schema(empty) == before


def test_alone_it_brings_the_tables_along(empty: Engine) -> None:
    upgrade(empty.url, HEAD_OF_SEARCH, search=True)
    assert revisions(empty) == {"ft_search_0001"}
    upgrade(empty.url, search=True)
    assert revisions(empty) == {"ft_search_0001", "ft0003"}
    downgrade(empty.url, "base", search=True)
    assert revisions(empty) == set()


def test_a_database_that_has_it_says_so_to_whoever_forgets_it(empty: Engine) -> None:
    upgrade(empty.url, "heads", search=True)
    with pytest.raises(CommandError, match="ft_search_0001"):
        upgrade(empty.url)


@pytest.mark.parametrize("home", ["extensions", SCHEMA, None])
@pytest.mark.parametrize("rows", [False, True])
def test_the_extension_may_live_in_any_schema(empty: Engine, home: str | None, rows: bool) -> None:
    upgrade(empty.url, schema=SCHEMA)
    with empty.begin() as connection:
        if rows:
            run(connection, [f'SET LOCAL search_path TO "{SCHEMA}"', *ROWS["usr"], *ROWS["org"]])
        if home is not None:
            run(connection, [f'CREATE SCHEMA IF NOT EXISTS "{home}"'])
            run(connection, [f'CREATE EXTENSION pg_trgm SCHEMA "{home}"'])
    upgrade(empty.url, "heads", schema=SCHEMA, search=True)
    prefix = "extensions." if home == "extensions" else ""
    assert f"{prefix}gin_trgm_ops" in tenancy_schema(empty, SCHEMA)[INDEX]
    upgrade(empty.url, "heads", search=True)  # in public, too, beside the other
    assert INDEX in tenancy_schema(empty)


def test_another_index_of_its_name_is_refused(empty: Engine) -> None:
    upgrade(empty.url)
    with empty.begin() as connection:
        run(connection, ["CREATE INDEX org_search_idx ON org (name)"])
    with pytest.raises(SchemaMismatchError, match="org_search_idx"):
        upgrade(empty.url, "heads", search=True)


def test_offline_sql_builds_the_same(empty: Engine) -> None:
    printed = io.StringIO()
    config = alembic_config(search=True)
    config.output_buffer = printed
    command.upgrade(config, "heads", sql=True)
    connection = empty.raw_connection()
    connection.cursor().execute(printed.getvalue())
    connection.close()
    offline = everything(empty)
    downgrade(empty.url, "base", search=True)
    upgrade(empty.url, "heads", search=True)
    assert everything(empty) == offline


def test_the_command_line_knows_it(empty: Engine, capsys: Any) -> None:
    url = empty.url.render_as_string(hide_password=False)
    assert main(["migrate", "upgrade", "heads", "--search", "--url", url]) == 0
    assert INDEX in tenancy_schema(empty)
    assert main(["doctor", "--url", url]) == 0
    assert main(["migrate", "downgrade", "base", "--search", "--url", url]) == 0
    assert tenancy_schema(empty) == {}
