"""Whoever may create things in the schema gains nothing by preparing them for a migration."""

from __future__ import annotations

import json
import secrets

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from flametrench_tenancy_sqlalchemy.migrations import (
    VERSION_TABLE,
    SchemaMismatchError,
    alembic_config,
    downgrade,
    upgrade,
)

from .reference import create_reference, fill, run
from .state import everything, tables_of

# What somebody prepares, and what it is called.
PREPARED = {
    "a table": ("CREATE TABLE usr (id uuid)", "table public.usr"),
    "a view": ("CREATE VIEW org AS SELECT 1 AS id", "table public.org"),
    "a month of the log": ("CREATE TABLE aud_2030_01 ()", "table public.aud_2030_01"),
    "the version": (
        f"CREATE TABLE {VERSION_TABLE} (version_num text); "
        f"INSERT INTO {VERSION_TABLE} VALUES ('ft0004')",
        f"table public.{VERSION_TABLE}",
    ),
    "a trigger's function": (
        "CREATE FUNCTION flametrench_tenancy_touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
        "END'; COMMENT ON FUNCTION flametrench_tenancy_touch() IS "
        """'{"created": [["table", "x", "x; DROP TABLE y"]], "replaced": ["DROP TABLE z"]}'""",
        "function public.flametrench_tenancy_touch()",
    ),
    "the reference's function": (
        "CREATE FUNCTION flametrench_touch_updated_at() RETURNS trigger "
        "LANGUAGE plpgsql AS 'BEGIN END'",
        "function public.flametrench_touch_updated_at()",
    ),
    "a function that fits better than the built-in": (
        "CREATE FUNCTION quote_ident(name) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$",
        "function public.quote_ident(name)",
    ),
    "an operator that fits better": (
        "CREATE FUNCTION alike(name, varchar) RETURNS bool LANGUAGE sql AS 'SELECT true'; "
        "CREATE OPERATOR = (FUNCTION = alike, LEFTARG = name, RIGHTARG = varchar)",
        "operator public.=(name,character varying)",
    ),
}


@pytest.fixture
def mallory(blank: Connection) -> str:
    """A role that may create things in the schema; like all in the test, it is rolled back."""
    return new_role(blank)


def new_role(connection: Connection) -> str:
    name = f"role_{secrets.token_hex(4)}"
    run(connection, f"CREATE ROLE {name}; GRANT CREATE ON SCHEMA public TO {name}")
    return name


def run_as(connection: Connection, role: str, statements: str) -> None:
    run(connection, f"SET LOCAL ROLE {role}; {statements}; RESET ROLE")


@pytest.mark.parametrize("superuser", [True, False])
@pytest.mark.parametrize("statements, name", list(PREPARED.values()), ids=PREPARED)
def test_what_somebody_else_has_prepared_is_refused(
    blank: Connection, mallory: str, statements: str, name: str, superuser: bool
) -> None:
    run_as(blank, mallory, statements)
    before = everything(blank)
    if not superuser:
        run(blank, f"SET LOCAL ROLE {new_role(blank)}")
    for move in (upgrade, downgrade):
        with pytest.raises(SchemaMismatchError) as caught:
            move(blank, "ft0001")
        assert caught.value.differences == (f"{name} belongs to {mallory}",)
    run(blank, "RESET ROLE")
    assert everything(blank) == before


def test_what_is_added_between_two_revisions_is_refused(blank: Connection, mallory: str) -> None:
    upgrade(blank, "ft0001")
    run_as(
        blank,
        mallory,
        "CREATE FUNCTION differ(org, org) RETURNS bool LANGUAGE sql AS 'SELECT true'; "
        "CREATE OPERATOR = (FUNCTION = differ, LEFTARG = org, RIGHTARG = org)",
    )
    with pytest.raises(
        SchemaMismatchError, match=rf"=\(public.org,public.org\) belongs to {mallory}"
    ):
        upgrade(blank)


def test_no_operator_of_somebody_else_answers_for_what_a_trigger_asks(
    blank: Connection, mallory: str
) -> None:
    upgrade(blank)
    fill(blank)
    for sign in ("=", "<>", "*=", "*<>"):
        run_as(
            blank,
            mallory,
            "CREATE OR REPLACE FUNCTION answer(org, org) RETURNS bool LANGUAGE plpgsql AS $$ "
            "BEGIN RAISE 'answered for the server'; END $$; "
            f"CREATE OPERATOR {sign} (FUNCTION = answer, LEFTARG = org, RIGHTARG = org)",
        )
    run(blank, "UPDATE org SET name = 'Acme'; UPDATE org SET status = 'revoked'")


def test_whatever_environment_runs_a_revision_it_looks_itself(
    blank: Connection, mallory: str
) -> None:
    statements, name = PREPARED["a trigger's function"]
    run_as(blank, mallory, statements)
    revision = ScriptDirectory.from_config(alembic_config()).get_revision("ft0001")
    context = Operations.context(MigrationContext.configure(blank))
    with context, pytest.raises(SchemaMismatchError) as caught:
        revision.module.upgrade()
    assert caught.value.differences == (f"{name} belongs to {mallory}",)


def test_a_member_of_the_owning_role_migrates_as_the_owner_does(blank: Connection) -> None:
    owner, deployer, previous = (new_role(blank) for _ in range(3))
    run_as(blank, previous, "CREATE FUNCTION shout() RETURNS text LANGUAGE sql AS 'SELECT 1::text'")
    run(blank, f"GRANT {owner} TO {deployer}; SET LOCAL ROLE {owner}")
    create_reference(blank)
    before = everything(blank)
    run(blank, f"SET LOCAL ROLE {deployer}")
    upgrade(blank)
    downgrade(blank, "base")
    run(blank, f"DROP TABLE {VERSION_TABLE}")
    assert everything(blank) == before


def test_no_word_of_the_record_is_executed(blank: Connection) -> None:
    upgrade(blank, "ft0001")
    record = {
        "created": [["table", "secret", "secret"], ["trigger", "org", "x ON org; DROP TABLE tup"]],
        "replaced": [["trigger", "usr", "usr_touch; DROP TABLE inv"]],
    }
    run(blank, "CREATE TABLE secret ()")
    run(blank, "DROP TRIGGER usr_touch ON usr; DROP TRIGGER org_touch ON org")
    run(blank, "DROP TRIGGER mem_touch ON mem; DROP TRIGGER usr_stamp ON usr")
    run(blank, "DROP TRIGGER org_stamp ON org; DROP TRIGGER mem_stamp ON mem")
    run(blank, f"COMMENT ON FUNCTION flametrench_tenancy_touch() IS '{json.dumps(record)}'")
    before = set(tables_of(blank))
    downgrade(blank, "base")
    assert set(tables_of(blank)) == before


def test_a_function_that_nobody_has_recorded_is_not_replaced(blank: Connection) -> None:
    name = "flametrench_tenancy_touch()"
    run(blank, f"CREATE FUNCTION {name} RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'")
    with pytest.raises(DBAPIError, match="already exists"):
        upgrade(blank)
    source = text("SELECT prosrc FROM pg_proc WHERE proname = 'flametrench_tenancy_touch'")
    assert blank.scalars(source).all() == ["BEGIN END"]
