"""Building the schema from nothing, and taking it away again."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text

from flametrench_tenancy_sqlalchemy import Base
from flametrench_tenancy_sqlalchemy.migrations import (
    VERSION_TABLE,
    alembic_config,
    downgrade,
    upgrade,
)
from flametrench_tenancy_sqlalchemy.migrations.catalog import Part, describe, expected

from .reference import ROWS, TABLES, create_reference, run
from .state import functions_of, tables_of, tenancy_schema


def without_triggers(parts: dict[Part, str]) -> dict[Part, str]:
    return {part: definition for part, definition in parts.items() if part.kind != "trigger"}


def test_the_first_revision_builds_the_reference_schema(empty: Engine) -> None:
    upgrade(empty.url, "ft0001")
    ours = tenancy_schema(empty)
    with empty.connect() as connection:
        run(connection, ["CREATE SCHEMA reference", "SET LOCAL search_path TO reference"])
        create_reference(connection)
        reference = describe(connection, "reference", TABLES)
    assert without_triggers(ours) == without_triggers(reference)
    assert {part for part in ours if part.kind == "trigger"} == {
        Part("trigger", table, f"{table}_{name}")
        for table in ("usr", "org", "mem")
        for name in ("stamp", "touch")
    }


def test_the_migrated_schema_is_the_one_that_the_models_declare(empty: Engine) -> None:
    upgrade(empty.url)
    with empty.connect() as connection:
        declared = expected(connection, Base.metadata)
    assert without_triggers(tenancy_schema(empty)) == declared


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tup DROP CONSTRAINT tup_relation_check",
        "ALTER TABLE inv DROP CONSTRAINT inv_check1",
        "DROP INDEX mem_unique_active;"
        "CREATE UNIQUE INDEX mem_unique_active ON mem (usr_id, org_id)",
        "DROP INDEX mem_org_idx; CREATE INDEX mem_org_idx ON mem USING hash (org_id)",
        "DROP TRIGGER org_touch ON org",
        "ALTER TABLE inv ALTER pre_tuples SET DEFAULT '{}'",
        "ALTER TABLE mem DROP CONSTRAINT mem_org_id_fkey, "
        "ADD CONSTRAINT mem_org_id_fkey FOREIGN KEY (org_id) REFERENCES org ON DELETE CASCADE",
    ],
)
def test_the_comparison_sees_what_autogenerate_does_not(empty: Engine, change: str) -> None:
    upgrade(empty.url)
    before = tenancy_schema(empty)
    with empty.begin() as connection:
        run(connection, [change])
    assert tenancy_schema(empty) != before


def test_alembic_check_finds_no_difference(empty: Engine) -> None:
    upgrade(empty.url)
    command.check(alembic_config(empty.url))


def test_alembic_check_leaves_what_the_application_added_alone(empty: Engine) -> None:
    upgrade(empty.url)
    with empty.begin() as connection:
        run(
            connection,
            [
                "CREATE TABLE project (id int PRIMARY KEY, org_id uuid REFERENCES org)",
                "ALTER TABLE org ADD COLUMN plan text UNIQUE",
                "ALTER TABLE usr ADD COLUMN project_id int REFERENCES project",
                "CREATE INDEX org_name_idx ON org (name)",
            ],
        )
    command.check(alembic_config(empty.url))


def test_alembic_check_finds_a_difference_where_there_is_one(empty: Engine) -> None:
    upgrade(empty.url)
    with empty.begin() as connection:
        run(connection, ["DROP INDEX inv_org_idx"])
    with pytest.raises(Exception, match="inv_org_idx"):
        command.check(alembic_config(empty.url))


def test_downgrading_leaves_nothing_behind(empty: Engine) -> None:
    upgrade(empty.url)
    fill(empty)
    downgrade(empty.url, "base")
    with empty.connect() as connection:
        assert tables_of(connection) == [VERSION_TABLE]
        assert functions_of(connection) == []
        assert connection.scalar(text(f"SELECT count(*) FROM {VERSION_TABLE}")) == 0
        assert connection.scalar(text("SELECT count(*) FROM pg_type WHERE typname = 'org'")) == 0


def test_up_down_up_with_rows_ends_where_it_began(empty: Engine) -> None:
    upgrade(empty.url)
    before = tenancy_schema(empty)
    fill(empty)
    downgrade(empty.url, "base")
    upgrade(empty.url)
    assert tenancy_schema(empty) == before
    fill(empty)


def test_downgrading_refuses_to_drop_what_somebody_refers_to(empty: Engine) -> None:
    upgrade(empty.url)
    with empty.begin() as connection:
        run(connection, ["CREATE TABLE project (id int PRIMARY KEY, org_id uuid REFERENCES org)"])
    with pytest.raises(Exception, match="project"):
        downgrade(empty.url, "base")
    assert set(inspect(empty).get_table_names()) >= set(TABLES)


def fill(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in TABLES:
            run(connection, ROWS[table])
