"""Building the schema from nothing, and taking it away again."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from flametrench_tenancy_sqlalchemy import Base
from flametrench_tenancy_sqlalchemy.migrations import (
    VERSION_TABLE,
    alembic_config,
    downgrade,
    upgrade,
)
from flametrench_tenancy_sqlalchemy.migrations.catalog import Part, describe, expected

from .reference import TABLES, create_reference, fill, run
from .state import functions_of, tables_of, tenancy_schema


def without_triggers(parts: dict[Part, str]) -> dict[Part, str]:
    return {part: definition for part, definition in parts.items() if part.kind != "trigger"}


def check(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.check(config)


def test_the_first_revision_builds_the_reference_schema(
    blank: Connection, built: dict[Part, str]
) -> None:
    run(blank, ["CREATE SCHEMA reference", "SET LOCAL search_path TO reference"])
    create_reference(blank)
    reference = describe(blank, "reference", TABLES)
    assert without_triggers(built) == without_triggers(reference)
    assert {part for part in built if part.kind == "trigger"} == {
        Part("trigger", table, f"{table}_{name}")
        for table in ("usr", "org", "mem")
        for name in ("stamp", "touch")
    }


def test_the_migrated_schema_is_the_one_that_the_models_declare(blank: Connection) -> None:
    upgrade(blank)
    migrated = tenancy_schema(blank)
    assert without_triggers(migrated) == expected(blank, Base.metadata)
    # The comparison sees what autogenerate does not.
    for change in (
        "ALTER TABLE tup DROP CONSTRAINT tup_relation_check",
        "DROP INDEX mem_unique_active;"
        "CREATE UNIQUE INDEX mem_unique_active ON mem (usr_id, org_id)",
        "DROP INDEX mem_org_idx; CREATE INDEX mem_org_idx ON mem USING hash (org_id)",
        "DROP TRIGGER org_touch ON org",
        "ALTER TABLE inv ALTER pre_tuples SET DEFAULT '{}'",
        "ALTER TABLE mem DROP CONSTRAINT mem_org_id_fkey, "
        "ADD CONSTRAINT mem_org_id_fkey FOREIGN KEY (org_id) REFERENCES org ON DELETE CASCADE",
    ):
        with blank.begin_nested() as savepoint:
            run(blank, [change])
            assert tenancy_schema(blank) != migrated
            savepoint.rollback()


def test_alembic_check_finds_differences_but_not_what_the_application_added(
    blank: Connection,
) -> None:
    upgrade(blank)
    check(blank)
    theirs = """
        CREATE TABLE project (id int PRIMARY KEY, org_id uuid REFERENCES org);
        ALTER TABLE org ADD COLUMN plan text UNIQUE;
        ALTER TABLE usr ADD COLUMN project_id int REFERENCES project;
        CREATE INDEX org_name_idx ON org (name)
        """
    run(blank, theirs)
    check(blank)
    run(blank, "DROP INDEX inv_org_idx")
    with pytest.raises(CommandError, match="inv_org_idx"):
        check(blank)


def test_it_comes_and_goes_with_rows_and_leaves_nothing_behind(blank: Connection) -> None:
    upgrade(blank)
    before = tenancy_schema(blank)
    fill(blank)
    downgrade(blank, "base")
    assert tables_of(blank) == [VERSION_TABLE]
    assert functions_of(blank) == []
    assert blank.scalar(text(f"SELECT count(*) FROM {VERSION_TABLE}")) == 0
    assert blank.scalar(text("SELECT count(*) FROM pg_type WHERE typname = 'org'")) == 0
    upgrade(blank)
    assert tenancy_schema(blank) == before
    fill(blank)


def test_downgrading_refuses_to_drop_what_somebody_refers_to(blank: Connection) -> None:
    upgrade(blank)
    run(blank, "CREATE TABLE project (id int PRIMARY KEY, org_id uuid REFERENCES org)")
    with pytest.raises(DBAPIError, match="project"):
        downgrade(blank, "base")
    assert set(tables_of(blank)) >= set(TABLES)
