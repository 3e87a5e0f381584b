"""The opt-in branch of the audit log: beside the others, in any order, never in their way."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData, text

from flametrench_tenancy_sqlalchemy.cells.directory import DIRECTORY
from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.doctor.log import PARTS, TRIGGERS
from flametrench_tenancy_sqlalchemy.migrations import (
    BRANCHES,
    VERSION_TABLE,
    alembic_config,
    branch_location,
    downgrade,
    include_object,
    upgrade,
)
from flametrench_tenancy_sqlalchemy.migrations.catalog import Part, describe
from flametrench_tenancy_sqlalchemy.models import AuditBase

from .reference import TABLES, fill, run, run_script
from .state import everything, functions_of, tables_of, tenancy_schema

AUDIT = ["audit"]
SCHEMA = "Ten ancy"
VERSIONS = text(f"SELECT version_num FROM {VERSION_TABLE}")


def newest(branch: str) -> str:
    """Return the newest revision of an opt-in branch."""
    scripts = ScriptDirectory.from_config(alembic_config(branches=[branch]))
    return str(scripts.get_revision(f"flametrench_tenancy_{branch}@head").revision)


def log_of(connection: Connection, schema: str = "public") -> dict[Part, str]:
    """Return the parts of the log's table."""
    with connection.begin_nested() as savepoint:
        run(connection, f'SET LOCAL search_path TO "{schema}"')
        found = describe(connection, schema, AuditBase.metadata.tables)
        savepoint.rollback()
    return found


def test_branches_are_combined_in_any_order(blank: Connection) -> None:
    assert BRANCHES == ("audit", "rls", "search")
    upgrade(blank, branches=("search", "audit"))
    assert {newest("audit"), newest("search")} <= set(blank.scalars(VERSIONS))
    downgrade(blank, "flametrench_tenancy_search@base", branches=("audit", "search"))
    upgrade(blank, branches=AUDIT)
    assert newest("search") not in set(blank.scalars(VERSIONS))
    with pytest.raises(CommandError, match="'shoes' is not an opt-in branch"):
        upgrade(blank, branches=["shoes"])


def test_the_ini_file_has_a_section_for_it_and_one_for_all() -> None:
    ini = Path(__file__).parents[2] / "alembic.ini"
    for section, heads in (("audit", 2), ("all", 1 + len(BRANCHES))):
        scripts = ScriptDirectory.from_config(Config(ini, ini_section=section))
        assert len(scripts.get_heads()) == heads
    assert branch_location("audit") == ini.parent / "alembic" / "audit"


@pytest.mark.parametrize("rows", [False, True])
def test_it_comes_and_goes_and_leaves_nothing_behind(empty: Engine, rows: bool) -> None:
    upgrade(empty.url)
    if rows:
        with empty.begin() as connection:
            fill(connection)
    before = everything(empty)
    with empty.connect() as connection:
        functions = functions_of(connection)
    upgrade(empty.url, branches=AUDIT)
    upgrade(empty.url, branches=AUDIT)
    with pytest.raises(CommandError, match=newest("audit")):
        upgrade(empty.url)  # which a database that has it says to whoever forgets it
    downgrade(empty.url, "flametrench_tenancy_audit@base", branches=AUDIT)
    with empty.connect() as connection:
        assert functions_of(connection) == functions
    assert everything(empty) == before


def test_the_migrated_log_is_the_one_that_the_model_declares(blank: Connection) -> None:
    upgrade(blank, branches=AUDIT)
    migrated = log_of(blank)
    run(blank, ["CREATE SCHEMA declared", "SET LOCAL search_path TO declared"])
    AuditBase.metadata.create_all(blank)
    declared = describe(blank, "declared", AuditBase.metadata.tables)
    assert {p: d for p, d in migrated.items() if p.kind != "trigger"} == declared
    recorded = {
        part for part in tenancy_schema(blank) if re.search("_log_|^(org|inv|tup)_id_", part.name)
    }
    assert {part for part in migrated if part.kind == "trigger"} | recorded == TRIGGERS
    assert migrated.keys() | recorded == PARTS


def test_it_lives_in_any_schema_and_offline_sql_builds_the_same(empty: Engine) -> None:
    with empty.begin() as connection:
        upgrade(connection, schema=SCHEMA, branches=AUDIT)
        assert log_of(connection, SCHEMA).keys() | TRIGGERS == PARTS
        connection.execute(text(f'DROP SCHEMA "{SCHEMA}" CASCADE'))
    config = alembic_config(branches=AUDIT)
    config.output_buffer = printed = io.StringIO()
    command.upgrade(config, "heads", sql=True)
    run_script(empty, printed.getvalue())
    with empty.connect() as connection:
        tables, functions = tables_of(connection), functions_of(connection)
    downgrade(empty.url, "base", branches=AUDIT)
    upgrade(empty.url, branches=AUDIT)
    with empty.connect() as connection:
        assert (tables_of(connection), functions_of(connection)) == (tables, functions)


def test_autogenerate_leaves_it_alone_unless_the_application_has_one_of_its_own() -> None:
    for name in ("aud", "aud_default", "aud_2026_11", DIRECTORY.name):
        assert not include_object(None, name, "table", True, None)
        assert include_object(None, name, "table", False, None)
    assert include_object(None, "audition", "table", True, None)


def test_autogenerate_knows_the_types_of_what_it_leaves_alone(empty: Engine) -> None:
    upgrade(empty.url, branches=AUDIT)
    with empty.connect() as connection:
        options = {"include_object": include_object}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, MetaData()) == []


def test_the_command_line_knows_it(empty: Engine, capsys: Any) -> None:
    url = empty.url.render_as_string(hide_password=False)
    assert main(["migrate", "upgrade", "--branch", "audit", "--url", url]) == 0
    assert main(["doctor", "--url", url]) == 0
    capsys.readouterr()
    assert main(["grants", "app", "--branch", "audit"]) == 0
    assert "flametrench_tenancy_log_event(jsonb)" in capsys.readouterr().out
    with empty.connect() as connection:
        assert {*TABLES, "aud"} < set(tables_of(connection))
