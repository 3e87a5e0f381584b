"""Databases that cannot be adopted as they are, and what the error says about them."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.migrations.adoption import SchemaMismatchError

from .reference import create_reference, run
from .state import everything

FIRST = "ft0001"


def refuse(engine: Engine) -> tuple[str, ...]:
    """Return the differences for which an upgrade is refused; it must not change anything."""
    before = everything(engine)
    with pytest.raises(SchemaMismatchError) as caught:
        upgrade(engine.url, FIRST)
    assert everything(engine) == before
    assert all(difference in str(caught.value) for difference in caught.value.differences)
    return caught.value.differences


@pytest.mark.parametrize(
    "change, difference",
    [
        pytest.param(
            "ALTER TABLE tup ALTER object_id TYPE text",
            "column object_id of tup: expected uuid NOT NULL, found text NOT NULL",
            id="type",
        ),
        pytest.param(
            "ALTER TABLE org ALTER created_at TYPE timestamp",
            "column created_at of org: expected timestamp with time zone DEFAULT now() NOT NULL, "
            "found timestamp without time zone DEFAULT now() NOT NULL",
            id="time zone",
        ),
        pytest.param(
            "ALTER TABLE inv ALTER identifier DROP NOT NULL",
            "column identifier of inv: expected text NOT NULL, found text",
            id="nullable",
        ),
        pytest.param(
            "UPDATE mem SET invited_by = usr_id; ALTER TABLE mem ALTER invited_by SET NOT NULL",
            "column invited_by of mem: expected uuid, found uuid NOT NULL",
            id="not nullable",
        ),
        pytest.param(
            "ALTER TABLE usr ALTER status SET DEFAULT 'suspended'",
            "column status of usr: expected text DEFAULT 'active'::text NOT NULL, "
            "found text DEFAULT 'suspended'::text NOT NULL",
            id="default",
        ),
        pytest.param(
            "ALTER TABLE org DROP slug, ADD slug text GENERATED ALWAYS AS (lower(name)) STORED",
            "column slug of org: expected text, found text GENERATED ALWAYS AS lower(name)",
            id="generated",
        ),
        pytest.param(
            "ALTER TABLE mem DROP role",
            "column role of mem: expected text NOT NULL, found no such column",
            id="column without a value",
        ),
        pytest.param(
            "ALTER TABLE inv DROP CONSTRAINT inv_check1, "
            "ADD CONSTRAINT inv_check1 CHECK (expires_at >= created_at)",
            "constraint inv_check1 of inv: expected CHECK (expires_at > created_at), "
            "found CHECK (expires_at >= created_at)",
            id="check",
        ),
        pytest.param(
            "ALTER TABLE tup DROP CONSTRAINT tup_relation_check, ADD CONSTRAINT "
            "tup_relation_check CHECK (relation ~ '^[a-z_]{2,32}$') NOT VALID",
            "constraint tup_relation_check of tup: "
            "expected CHECK (relation ~ '^[a-z_]{2,32}$'::text), "
            "found CHECK (relation ~ '^[a-z_]{2,32}$'::text) NOT VALID",
            id="not valid",
        ),
        pytest.param(
            "ALTER TABLE mem DROP CONSTRAINT mem_org_id_fkey, ADD CONSTRAINT mem_org_id_fkey "
            "FOREIGN KEY (org_id) REFERENCES org ON DELETE CASCADE",
            "constraint mem_org_id_fkey of mem: expected FOREIGN KEY (org_id) REFERENCES org(id), "
            "found FOREIGN KEY (org_id) REFERENCES org(id) ON DELETE CASCADE",
            id="foreign key",
        ),
        pytest.param(
            "DROP INDEX mem_unique_active; "
            "CREATE UNIQUE INDEX mem_unique_active ON mem (org_id, usr_id, status)",
            "index mem_unique_active of mem: expected CREATE UNIQUE INDEX ON mem USING btree "
            "(usr_id, org_id) WHERE status = 'active'::text, found CREATE UNIQUE INDEX ON mem "
            "USING btree (org_id, usr_id, status)",
            id="index",
        ),
        pytest.param(
            "ALTER INDEX org_slug_unique RENAME TO org_slug_key",
            "index org_slug_unique of org: found it under the name org_slug_key; rename it",
            id="name",
        ),
        pytest.param(
            "ALTER TABLE usr RENAME CONSTRAINT usr_status_check TO usr_status_valid",
            "constraint usr_status_check of usr: "
            "found it under the name usr_status_valid; rename it",
            id="constraint's name",
        ),
        pytest.param(
            "DROP TABLE inv; CREATE VIEW inv AS SELECT * FROM mem",
            "table inv: expected a table, found a view",
            id="view",
        ),
        pytest.param(
            "CREATE OR REPLACE TRIGGER org_touch BEFORE UPDATE ON org "
            "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "trigger org_touch of org: expected none, or CREATE TRIGGER org_touch BEFORE UPDATE "
            "ON org FOR EACH ROW EXECUTE FUNCTION flametrench_touch_updated_at(), found CREATE "
            "TRIGGER org_touch BEFORE UPDATE ON org FOR EACH ROW "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            id="trigger",
        ),
        pytest.param(
            "ALTER TABLE mem DROP CONSTRAINT mem_role_check; UPDATE mem SET role = 'boss'",
            "constraint mem_role_check of mem cannot be added; rows that break it: 3",
            id="rows that break a check",
        ),
        pytest.param(
            "ALTER TABLE tup DROP CONSTRAINT tup_created_by_fkey; "
            "UPDATE tup SET created_by = gen_random_uuid() WHERE relation = 'editor'",
            "constraint tup_created_by_fkey of tup cannot be added; rows that break it: 1",
            id="rows that break a foreign key",
        ),
        pytest.param(
            "ALTER TABLE mem DROP CONSTRAINT mem_replaces_fkey; UPDATE mem SET replaces = org_id",
            "constraint mem_replaces_fkey of mem cannot be added; rows that break it: 3",
            id="rows that break a chain",
        ),
        pytest.param(
            "DROP INDEX mem_unique_active; UPDATE mem SET status = 'active'",
            "index mem_unique_active of mem cannot be added; values that are there twice: 1",
            id="rows that are not unique",
        ),
        pytest.param(
            "ALTER TABLE tup DROP CONSTRAINT "
            "tup_subject_type_subject_id_relation_object_type_object_id_key;"
            "INSERT INTO tup SELECT gen_random_uuid(), subject_type, subject_id, relation, "
            "object_type, object_id FROM tup",
            "constraint tup_subject_type_subject_id_relation_object_type_object_id_key of tup "
            "cannot be added; values that are there twice: 3",
            id="tuples that are not unique",
        ),
        pytest.param(
            "DROP TABLE usr CASCADE",
            "constraint mem_usr_id_fkey of mem cannot be added; rows that break it: 3",
            id="rows without their table",
        ),
        pytest.param(
            "ALTER TABLE inv DROP terminal_at",
            "constraint inv_check of inv cannot be added; rows that break it: 1",
            id="rows that break a check of a column to be added",
        ),
    ],
)
def test_a_difference_is_named(empty: Engine, change: str, difference: str) -> None:
    with empty.begin() as connection:
        create_reference(connection)
        run(connection, [change])
    assert difference in refuse(empty)


def test_all_differences_are_listed_at_once(empty: Engine) -> None:
    with empty.begin() as connection:
        create_reference(connection)
        run(
            connection,
            [
                "ALTER TABLE usr ALTER status DROP NOT NULL",
                "ALTER TABLE org DROP CONSTRAINT org_slug_format",
                "UPDATE org SET slug = '-'",
                "ALTER TABLE inv DROP CONSTRAINT inv_check1, "
                "ADD CONSTRAINT inv_check1 CHECK (true)",
                "DROP INDEX mem_org_idx",
            ],
        )
    assert refuse(empty) == (
        "column status of usr: expected text DEFAULT 'active'::text NOT NULL, "
        "found text DEFAULT 'active'::text",
        "constraint inv_check1 of inv: expected CHECK (expires_at > created_at), "
        "found CHECK (true)",
        "constraint org_slug_format of org cannot be added; rows that break it: 1",
    )


def test_a_table_that_only_shares_the_name_is_refused(empty: Engine) -> None:
    with empty.begin() as connection:
        run(connection, ["CREATE TABLE org (id serial PRIMARY KEY, title text)"])
    differences = refuse(empty)
    assert any(
        difference.startswith("column id of org: expected uuid") for difference in differences
    )


def test_a_refusal_spares_the_callers_transaction(empty: Engine) -> None:
    with empty.begin() as connection:
        run(connection, ["CREATE TABLE org (id int PRIMARY KEY)"])
        with pytest.raises(SchemaMismatchError):
            upgrade(connection, FIRST)
        run(connection, ["CREATE TABLE project (id int PRIMARY KEY)"])
    assert {part.name for part in everything(empty)[0] if part.kind == "table"} == {
        "org",
        "project",
    }
