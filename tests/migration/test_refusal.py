"""Databases that cannot be adopted as they are, and what the error says about them."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine

from flametrench_tenancy_sqlalchemy.migrations import SchemaMismatchError, upgrade

from .reference import create_reference, run
from .state import everything


def refuse(connection: Connection) -> list[str]:
    """Return the differences for which an upgrade is refused; it must not change anything."""
    before = everything(connection)
    with pytest.raises(SchemaMismatchError) as caught:
        upgrade(connection, "ft0001")
    assert everything(connection) == before
    assert all(difference in str(caught.value) for difference in caught.value.differences)
    return sorted(caught.value.differences)


# Changes of the reference schema, and all that is then said.
DIFFERENCES = {
    "columns": (
        """
        ALTER TABLE tup ALTER object_id TYPE text;
        ALTER TABLE org ALTER created_at TYPE timestamp;
        ALTER TABLE org DROP slug, ADD slug text GENERATED ALWAYS AS (lower(name)) STORED;
        ALTER TABLE inv ALTER identifier DROP NOT NULL;
        UPDATE mem SET invited_by = usr_id;
        ALTER TABLE mem ALTER invited_by SET NOT NULL;
        ALTER TABLE mem DROP role;
        ALTER TABLE usr ALTER status SET DEFAULT 'suspended'
        """,
        """
        column created_at of org: expected timestamp with time zone DEFAULT now() NOT NULL,
            found timestamp without time zone DEFAULT now() NOT NULL
        column identifier of inv: expected text NOT NULL, found text
        column invited_by of mem: expected uuid, found uuid NOT NULL
        column object_id of tup: expected uuid NOT NULL, found text NOT NULL
        column role of mem: expected text NOT NULL, found no such column
        column slug of org: expected text, found text GENERATED ALWAYS AS lower(name)
        column status of usr: expected text DEFAULT 'active'::text NOT NULL,
            found text DEFAULT 'suspended'::text NOT NULL
        """,
    ),
    "guards": (
        """
        ALTER TABLE inv DROP CONSTRAINT inv_check1, ADD CONSTRAINT inv_check1 CHECK (true);
        ALTER TABLE tup DROP CONSTRAINT tup_relation_check, ADD CONSTRAINT tup_relation_check
            CHECK (relation ~ '^[a-z_]{2,32}$') NOT VALID;
        ALTER TABLE mem DROP CONSTRAINT mem_org_id_fkey, ADD CONSTRAINT mem_org_id_fkey
            FOREIGN KEY (org_id) REFERENCES org ON DELETE CASCADE;
        DROP INDEX mem_unique_active;
        CREATE UNIQUE INDEX mem_unique_active ON mem (org_id, usr_id, status);
        DROP INDEX mem_org_idx;
        ALTER INDEX org_slug_unique RENAME TO org_slug_key;
        ALTER TABLE usr RENAME CONSTRAINT usr_status_check TO usr_status_valid;
        CREATE OR REPLACE TRIGGER org_touch BEFORE UPDATE ON org
            FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
        """,
        """
        constraint inv_check1 of inv: expected CHECK (expires_at > created_at), found CHECK (true)
        constraint mem_org_id_fkey of mem: expected FOREIGN KEY (org_id) REFERENCES org(id),
            found FOREIGN KEY (org_id) REFERENCES org(id) ON DELETE CASCADE
        constraint tup_relation_check of tup: expected CHECK (relation ~ '^[a-z_]{2,32}$'::text),
            found CHECK (relation ~ '^[a-z_]{2,32}$'::text) NOT VALID
        constraint usr_status_check of usr: found it under the name usr_status_valid; rename it
        index mem_unique_active of mem: expected CREATE UNIQUE INDEX ON mem USING btree
            (usr_id, org_id) WHERE status = 'active'::text,
            found CREATE UNIQUE INDEX ON mem USING btree (org_id, usr_id, status)
        index org_slug_unique of org: found it under the name org_slug_key; rename it
        trigger org_touch of org: expected none, or CREATE TRIGGER org_touch BEFORE UPDATE ON org
            FOR EACH ROW EXECUTE FUNCTION flametrench_touch_updated_at(),
            found CREATE TRIGGER org_touch BEFORE UPDATE ON org
            FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()
        """,
    ),
    "rows": (
        """
        ALTER TABLE mem DROP CONSTRAINT mem_role_check, DROP CONSTRAINT mem_replaces_fkey;
        DROP INDEX mem_unique_active;
        UPDATE mem SET role = 'boss', replaces = org_id, status = 'active';
        ALTER TABLE tup DROP CONSTRAINT tup_created_by_fkey, DROP CONSTRAINT
            tup_subject_type_subject_id_relation_object_type_object_id_key;
        UPDATE tup SET created_by = gen_random_uuid() WHERE relation = 'editor';
        INSERT INTO tup SELECT gen_random_uuid(), subject_type, subject_id, relation, object_type,
            object_id FROM tup;
        ALTER TABLE org DROP CONSTRAINT org_slug_format;
        UPDATE org SET slug = '-'
        """,
        """
        constraint mem_replaces_fkey of mem cannot be added; rows that break it: 3
        constraint mem_role_check of mem cannot be added; rows that break it: 3
        constraint org_slug_format of org cannot be added; rows that break it: 1
        constraint tup_created_by_fkey of tup cannot be added; rows that break it: 1
        constraint tup_subject_type_subject_id_relation_object_type_object_id_key of tup
            cannot be added; values that are there twice: 3
        index mem_unique_active of mem cannot be added; values that are there twice: 1
        """,
    ),
    "a view": (
        "DROP TABLE inv; CREATE VIEW inv AS SELECT * FROM mem",
        "table inv: expected a table, found a view",
    ),
    "rows without their table": (
        "DROP TABLE usr CASCADE",
        """
        constraint inv_invited_by_fkey of inv cannot be added; rows that break it: 2
        constraint mem_usr_id_fkey of mem cannot be added; rows that break it: 3
        """,
    ),
    "rows that break a check of a column to be added": (
        "ALTER TABLE inv DROP terminal_at",
        "constraint inv_check of inv cannot be added; rows that break it: 1",
    ),
}


@pytest.mark.parametrize("changes, differences", list(DIFFERENCES.values()), ids=DIFFERENCES)
def test_all_differences_are_listed_at_once(
    blank: Connection, changes: str, differences: str
) -> None:
    create_reference(blank)
    run(blank, [changes])
    indented = differences.strip().replace("\n            ", " ")  # goes on
    assert refuse(blank) == [line.strip() for line in indented.splitlines()]


def test_a_table_that_only_shares_the_name_is_refused_and_the_transaction_spared(
    empty: Engine,
) -> None:
    with empty.begin() as connection:
        run(connection, "CREATE TABLE org (id serial PRIMARY KEY, title text)")
        assert any("column id of org: expected uuid" in found for found in refuse(connection))
        run(connection, "CREATE TABLE project (id int PRIMARY KEY)")
    assert set(everything(empty)[1]) == {"org", "project"}
