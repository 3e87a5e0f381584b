"""The opt-in branch of row-level security: it comes and goes, and the doctor knows how."""

from __future__ import annotations

import io
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.doctor.isolation import POLICIES, TABLES
from flametrench_tenancy_sqlalchemy.migrations import alembic_config, downgrade, upgrade
from flametrench_tenancy_sqlalchemy.migrations.grants import FINDERS, grants

from .reference import fill, run, run_script
from .state import everything, functions_of

RLS = ["rls"]
STATE = text(
    """
    SELECT relname::text, relrowsecurity, polname::text,
        polcmd::text || coalesce(pg_get_expr(polqual, polrelid), '-')
            || coalesce(pg_get_expr(polwithcheck, polrelid), '-')
    FROM pg_class LEFT JOIN pg_policy ON polrelid = pg_class.oid
    WHERE relname IN ('org', 'mem', 'inv', 'tup') AND relkind = 'r'
        AND relnamespace = quote_ident(current_schema())::regnamespace ORDER BY 1, 3
    """
)


def isolation_of(connection: Connection) -> list[Any]:
    """Return the policies, and which tables they are in force on."""
    return list(connection.execute(STATE))


def test_it_comes_and_goes_and_leaves_nothing_behind(empty: Engine) -> None:
    upgrade(empty.url)
    with empty.begin() as connection:
        fill(connection)
    with empty.connect() as connection:
        functions, none = functions_of(connection), isolation_of(connection)
    before = everything(empty)
    upgrade(empty.url, branches=RLS)
    with empty.begin() as connection:
        came = isolation_of(connection)
        assert {policy for _, _, policy, _ in came} == POLICIES
        assert {table for table, enabled, *_ in came if enabled} == {*TABLES}
        named = {name.partition("(")[0] for name in FINDERS}
        assert {name for name, *_ in functions_of(connection)} - {f[0] for f in functions} == named
        role = empty.url.database
        for statement in (f'CREATE ROLE "{role}"', *grants(str(role), "operator", branches=RLS)):
            run(connection, statement)
    downgrade(empty.url, "flametrench_tenancy_rls@base", branches=RLS)
    with empty.begin() as connection:
        assert (functions_of(connection), isolation_of(connection)) == (functions, none)
        run(connection, [f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"'])
    assert everything(empty) == before


def test_it_lives_in_any_schema_and_offline_sql_builds_the_same(empty: Engine) -> None:
    with empty.begin() as connection:
        upgrade(connection, schema="Ten ancy", branches=["rls", "audit"])
        connection.execute(text('DROP SCHEMA "Ten ancy" CASCADE'))
    config = alembic_config(branches=RLS)
    config.output_buffer = printed = io.StringIO()
    command.upgrade(config, "heads", sql=True)
    run_script(empty, printed.getvalue())
    with empty.connect() as connection:
        offline = isolation_of(connection)
    downgrade(empty.url, "base", branches=RLS)
    upgrade(empty.url, branches=RLS)
    with empty.connect() as connection:
        assert isolation_of(connection) == offline


@pytest.mark.parametrize(
    "statement, check, example",
    [
        ("ALTER TABLE mem DISABLE ROW LEVEL SECURITY", "isolation_off", "mem"),
        (
            *("DROP POLICY mem_in_context_update ON mem", "isolation_policy_missing"),
            "mem_in_context_update",
        ),
        (
            *("CREATE POLICY mem_own ON mem USING (true)", "isolation_policy_foreign"),
            "mem_own on mem",
        ),
        (
            "ALTER TABLE tup OWNER TO plain; ALTER TABLE tup FORCE ROW LEVEL SECURITY",
            *("isolation_blinds_triggers", "tup"),
        ),
    ],
)
def test_the_doctor_sees_what_is_wrong_with_it(
    blank: Connection, statement: str, check: str, example: str
) -> None:
    upgrade(blank, branches=RLS)
    run(blank, "CREATE ROLE plain")
    with Session(blank) as session:
        assert diagnose(session) == []
        run(blank, statement.split("; "))
        (finding,) = [each for each in diagnose(session) if each.check.startswith("isolation")]
    assert (finding.check, finding.examples) == (check, (example,))


def test_forced_for_an_owner_who_bypasses_it_all_is_well(blank: Connection) -> None:
    upgrade(blank, branches=RLS)
    run(blank, [f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in TABLES])
    with Session(blank) as session:
        assert diagnose(session) == []


def test_the_doctor_of_a_request_knows_that_it_does_not_see_everything(blank: Connection) -> None:
    upgrade(blank, branches=RLS)
    for statement in ("CREATE ROLE request", *grants("request", branches=RLS)):
        run(blank, statement)
    run(blank, "SET LOCAL ROLE request")
    with Session(blank) as session:
        found = {each.check for each in diagnose(session)}
    assert found == {"hidden_rows"}


def test_the_command_line_grants_what_each_role_needs(capsys: pytest.CaptureFixture[str]) -> None:
    for purpose, tells in (
        ("app", 'GRANT EXECUTE ON FUNCTION "public".flametrench_tenancy_orgs_of_users(uuid[])'),
        ("operator", 'CREATE POLICY "org_all_for_r" ON "public".org FOR SELECT TO "r" USING'),
        ("worker", 'CREATE POLICY "inv_all_for_update_r" ON "public".inv FOR UPDATE TO "r"'),
    ):
        assert main(["grants", "r", "--as", purpose, "--branch", "rls"]) == 0
        assert tells in capsys.readouterr().out
