"""Taking over a database in which another SDK already created some or all of the tables."""

from __future__ import annotations

from itertools import combinations

import pytest
from sqlalchemy import Engine, text

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


@pytest.fixture
def built(empty: Engine) -> dict[Part, str]:
    """The schema as the first revision builds it from nothing."""
    upgrade(empty.url, FIRST)
    schema = tenancy_schema(empty)
    downgrade(empty.url, "base")
    with empty.begin() as connection:
        run(connection, [f"DROP TABLE {VERSION_TABLE}"])
    return schema


def columns(engine: Engine, table: str) -> str:
    return ", ".join(
        part.name
        for part in tenancy_schema(engine)
        if part.kind == "column" and part.table == table
    )


@pytest.mark.parametrize(
    "subset, newest",
    [*((subset, False) for subset in SUBSETS), (TABLES, True)],
    ids=[*map("-".join, SUBSETS), "newest form"],
)
def test_each_set_of_tables_is_completed_and_given_back(
    empty: Engine, built: dict[Part, str], subset: tuple[str, ...], newest: bool
) -> None:
    with empty.begin() as connection:
        create_reference(connection, subset, newest=newest)
    before = everything(empty)
    names = {table: columns(empty, table) for table in subset}
    with empty.connect() as connection:
        rows = {table: rows_of(connection, table, names[table]) for table in subset}

    upgrade(empty.url, FIRST)

    assert tenancy_schema(empty) == built
    with empty.begin() as connection:
        assert {table: rows_of(connection, table, names[table]) for table in subset} == rows
        # The new tables work beside the old ones.
        for table in TABLES:
            if table not in subset:
                run(connection, ROWS[table])

    downgrade(empty.url, "base")

    with empty.begin() as connection:
        run(connection, [f"DROP TABLE {VERSION_TABLE}"])
        if "tup" in subset and not newest:
            # Tuples of other subjects may have been written meanwhile: this check stays wide.
            run(
                connection,
                [
                    "ALTER TABLE tup DROP CONSTRAINT tup_subject_type_check, "
                    "ADD CONSTRAINT tup_subject_type_check CHECK (subject_type IN ('usr'))"
                ],
            )
    assert everything(empty) == before


def test_everything_up_to_the_newest_revision_comes_and_goes_on_adopted_tables(
    empty: Engine,
) -> None:
    with empty.begin() as connection:
        create_reference(connection)
    before = everything(empty)
    upgrade(empty.url)
    downgrade(empty.url, "base")
    with empty.begin() as connection:
        run(connection, [f"DROP TABLE {VERSION_TABLE}"])
    assert everything(empty) == before


def test_tables_without_their_guards_get_them(empty: Engine, built: dict[Part, str]) -> None:
    with empty.begin() as connection:
        create_reference(connection)
        guards = [part for part in built if part.kind in {"constraint", "index", "trigger"}]
        for part in guards:
            if part.kind == "index":
                run(connection, [f"DROP INDEX {part.name}"])
            elif part.kind == "trigger":
                run(connection, [f"DROP TRIGGER IF EXISTS {part.name} ON {part.table}"])
            elif not part.name.endswith("_pkey"):
                run(connection, [f"ALTER TABLE {part.table} DROP CONSTRAINT {part.name}"])
    before = everything(empty)
    upgrade(empty.url, FIRST)
    assert tenancy_schema(empty) == built
    downgrade(empty.url, "base")
    with empty.begin() as connection:
        run(connection, [f"DROP TABLE {VERSION_TABLE}"])
    assert everything(empty) == before


def test_what_the_application_added_stays(empty: Engine, built: dict[Part, str]) -> None:
    with empty.begin() as connection:
        create_reference(connection)
        run(
            connection,
            [
                "ALTER TABLE org ADD COLUMN plan jsonb DEFAULT '{}', ADD COLUMN seal json",
                "ALTER TABLE org ADD COLUMN shout text GENERATED ALWAYS AS (upper(name)) STORED",
                "ALTER TABLE org ADD CONSTRAINT org_plan_check CHECK (plan <> '[]')",
                "CREATE INDEX org_plan_idx ON org (plan)",
                "CREATE TABLE project (id int PRIMARY KEY, org_id uuid REFERENCES org)",
                "INSERT INTO project SELECT 1, id FROM org",
                "CREATE TRIGGER org_quiet BEFORE UPDATE ON org "
                "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
                "CREATE VIEW owners AS SELECT * FROM mem WHERE role = 'owner'",
            ],
        )
    before = tenancy_schema(empty)
    upgrade(empty.url, FIRST)
    after = tenancy_schema(empty)
    extra = before.keys() - built.keys()
    assert {part.name for part in extra if part.kind != "column"} == {
        "org_plan_check",
        "org_plan_idx",
        "org_quiet",
    }
    assert {part: after[part] for part in extra} == {part: before[part] for part in extra}
    with empty.begin() as connection:
        assert rows_of(connection, "project", "id") == [{"id": 1}]
        # Columns of types without equality are no obstacle to our trigger.
        run(connection, ["UPDATE org SET seal = '{}'"])


def test_the_touch_function_of_other_tables_stays_as_it_is(empty: Engine) -> None:
    with empty.begin() as connection:
        create_reference(connection)
        theirs = functions_of(connection)
        run(
            connection,
            ["INSERT INTO cred (id, usr_id, updated_at) SELECT id, id, '2020-01-01' FROM usr"],
        )
    upgrade(empty.url, FIRST)
    with empty.begin() as connection:
        assert set(theirs) < set(functions_of(connection))
        touched = text("UPDATE cred SET id = id RETURNING updated_at = now()")
        assert connection.scalars(touched).all() == [True, True]


def test_the_older_check_of_subject_types_is_widened(empty: Engine) -> None:
    with empty.begin() as connection:
        create_reference(connection, newest=False)
    upgrade(empty.url, FIRST)
    with empty.begin() as connection:
        run(connection, ["UPDATE tup SET subject_type = 'pat'"])
    downgrade(empty.url, "base")
    with empty.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM tup WHERE subject_type = 'pat'")) == 3


def test_current_timestamp_is_as_good_as_now(empty: Engine) -> None:
    with empty.begin() as connection:
        create_reference(connection)
        run(connection, ["ALTER TABLE org ALTER updated_at SET DEFAULT CURRENT_TIMESTAMP"])
    upgrade(empty.url, FIRST)


def test_upgrading_again_after_the_version_was_lost_changes_nothing(empty: Engine) -> None:
    """As when the migrations move from a version table of their own to the application's."""
    with empty.begin() as connection:
        create_reference(connection, ["usr", "org"], newest=False)
    upgrade(empty.url, FIRST)
    before = everything(empty)
    with empty.begin() as connection:
        run(connection, [f"DROP TABLE {VERSION_TABLE}"])
    upgrade(empty.url, FIRST)
    assert everything(empty) == before


def test_a_database_whose_record_was_lost_is_not_downgraded(empty: Engine) -> None:
    upgrade(empty.url, FIRST)
    with empty.begin() as connection:
        run(connection, ["COMMENT ON FUNCTION flametrench_tenancy_touch() IS NULL"])
    with pytest.raises(Exception, match="does not say what the migrations created"):
        downgrade(empty.url, "base")
    with empty.connect() as connection:
        assert set(tables_of(connection)) > set(TABLES)
