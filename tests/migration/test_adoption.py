"""Taking over a database in which another SDK already created some or all of the tables."""

from __future__ import annotations

from itertools import combinations

import pytest
from sqlalchemy import Connection, text

from flametrench_tenancy_sqlalchemy.migrations import VERSION_TABLE, downgrade, upgrade
from flametrench_tenancy_sqlalchemy.migrations.catalog import Part

from .reference import ROWS, TABLES, create_reference, run
from .state import everything, functions_of, rows_of, tables_of, tenancy_schema

FIRST = "ft0001"
NEEDS = {"usr": set(), "org": set(), "mem": {"usr", "org"}, "inv": {"usr", "org"}, "tup": {"usr"}}
SUBSETS = [
    subset
    for size in range(1, len(TABLES) + 1)
    for subset in combinations(TABLES, size)
    if all(NEEDS[table] <= set(subset) for table in subset)
]
Built = dict[Part, str]


def columns(connection: Connection, table: str) -> str:
    parts = tenancy_schema(connection)
    return ", ".join(p.name for p in parts if p.kind == "column" and p.table == table)


def give_back(connection: Connection) -> None:
    downgrade(connection, "base")
    run(connection, f"DROP TABLE {VERSION_TABLE}")


@pytest.mark.parametrize(
    "subset, newest",
    [*((subset, False) for subset in SUBSETS), (TABLES, True)],
    ids=[*map("-".join, SUBSETS), "newest form"],
)
def test_each_set_of_tables_is_completed_and_given_back(
    blank: Connection, built: Built, subset: tuple[str, ...], newest: bool
) -> None:
    create_reference(blank, subset, newest=newest)
    before = everything(blank)
    names = {table: columns(blank, table) for table in subset}
    rows = {table: rows_of(blank, table, names[table]) for table in subset}
    upgrade(blank, FIRST)
    assert tenancy_schema(blank) == built
    assert {table: rows_of(blank, table, names[table]) for table in subset} == rows
    # The new tables work beside the old ones.
    run(blank, [ROWS[table] for table in TABLES if table not in subset])
    give_back(blank)
    if "tup" in subset and not newest:
        # Tuples of other subjects may have been written meanwhile: this check stays wide.
        narrow = "ADD CONSTRAINT tup_subject_type_check CHECK (subject_type IN ('usr'))"
        run(blank, f"ALTER TABLE tup DROP CONSTRAINT tup_subject_type_check, {narrow}")
    assert everything(blank) == before


def test_everything_up_to_the_newest_revision_comes_and_goes_on_adopted_tables(
    blank: Connection,
) -> None:
    create_reference(blank)
    before = everything(blank)
    upgrade(blank)
    give_back(blank)
    assert everything(blank) == before


def test_tables_without_their_guards_get_them(blank: Connection, built: Built) -> None:
    create_reference(blank)
    for part in built:
        if part.kind == "index":
            run(blank, f"DROP INDEX {part.name}")
        elif part.kind == "trigger":
            run(blank, f"DROP TRIGGER IF EXISTS {part.name} ON {part.table}")
        elif part.kind == "constraint" and not part.name.endswith("_pkey"):
            run(blank, f"ALTER TABLE {part.table} DROP CONSTRAINT {part.name}")
    before = everything(blank)
    upgrade(blank, FIRST)
    assert tenancy_schema(blank) == built
    give_back(blank)
    assert everything(blank) == before


def test_what_the_application_added_stays(blank: Connection, built: Built) -> None:
    create_reference(blank)
    theirs = """
        ALTER TABLE org ADD COLUMN plan jsonb DEFAULT '{}', ADD COLUMN seal json,
            ADD COLUMN shout text GENERATED ALWAYS AS (upper(name)) STORED,
            ADD CONSTRAINT org_plan_check CHECK (plan <> '[]');
        CREATE INDEX org_plan_idx ON org (plan);
        CREATE TABLE project (id int PRIMARY KEY, org_id uuid REFERENCES org);
        INSERT INTO project SELECT 1, id FROM org;
        CREATE TRIGGER org_quiet BEFORE UPDATE ON org
            FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
        CREATE VIEW owners AS SELECT * FROM mem WHERE role = 'owner'
        """
    run(blank, theirs)
    before = tenancy_schema(blank)
    upgrade(blank, FIRST)
    after = tenancy_schema(blank)
    extra = before.keys() - built.keys()
    guards = {part.name for part in extra if part.kind != "column"}
    assert guards == {"org_plan_check", "org_plan_idx", "org_quiet"}
    assert {part: after[part] for part in extra} == {part: before[part] for part in extra}
    assert rows_of(blank, "project", "id") == [{"id": 1}]
    # Columns of types without equality are no obstacle to our trigger.
    run(blank, "UPDATE org SET seal = '{}'")


def test_the_touch_function_of_other_tables_stays_as_it_is(blank: Connection) -> None:
    create_reference(blank)
    theirs = functions_of(blank)
    run(blank, "INSERT INTO cred (id, usr_id, updated_at) SELECT id, id, '2020-01-01' FROM usr")
    upgrade(blank, FIRST)
    assert set(theirs) < set(functions_of(blank))
    touched = text("UPDATE cred SET id = id RETURNING updated_at = now()")
    assert blank.scalars(touched).all() == [True, True]


def test_the_older_check_of_subject_types_is_widened(blank: Connection) -> None:
    create_reference(blank, newest=False)
    upgrade(blank, FIRST)
    run(blank, "UPDATE tup SET subject_type = 'pat'")
    downgrade(blank, "base")
    assert blank.scalar(text("SELECT count(*) FROM tup WHERE subject_type = 'pat'")) == 3


def test_current_timestamp_is_as_good_as_now(blank: Connection) -> None:
    create_reference(blank)
    run(blank, "ALTER TABLE org ALTER updated_at SET DEFAULT CURRENT_TIMESTAMP")
    upgrade(blank, FIRST)


def test_upgrading_again_after_the_version_was_lost_changes_nothing(blank: Connection) -> None:
    """As when the migrations move from a version table of their own to the application's."""
    create_reference(blank, ["usr", "org"], newest=False)
    upgrade(blank, FIRST)
    before = everything(blank)
    run(blank, f"DROP TABLE {VERSION_TABLE}")
    upgrade(blank, FIRST)
    assert everything(blank) == before


def test_a_database_whose_record_was_lost_is_not_downgraded(blank: Connection) -> None:
    upgrade(blank, FIRST)
    run(blank, "COMMENT ON FUNCTION flametrench_tenancy_touch() IS NULL")
    with pytest.raises(Exception, match="does not say what the migrations created"):
        downgrade(blank, "base")
    assert set(tables_of(blank)) > set(TABLES)
