"""The opt-in branch of row-level security: it comes and goes, and the doctor knows how."""

from __future__ import annotations

import io
from typing import Any

import pytest
from alembic import command
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Membership, TenancyRepository
from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.doctor import Severity, diagnose
from flametrench_tenancy_sqlalchemy.doctor.isolation import POLICIES, TABLES
from flametrench_tenancy_sqlalchemy.migrations import alembic_config, downgrade, upgrade
from flametrench_tenancy_sqlalchemy.migrations.grants import FINDERS, grants
from tests.support.raw import join, turn, withdraw
from tests.support.raw import run as run_in
from tests.support.scenes import Scene, stage

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
            "ALTER FUNCTION flametrench_tenancy_keep_duality OWNER TO plain",
            *("isolation_blinds_triggers", "inv, mem, org, tup"),
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
        run(blank, statement)
        (finding,) = [each for each in diagnose(session) if each.check.startswith("isolation")]
    assert (finding.check, ", ".join(finding.examples)) == (check, example)


@pytest.fixture
def forced(blank: Connection) -> Scene:
    """A scene that is forced upon its owner, the landlord, of whose role a tenant is a member."""
    run(blank, ["CREATE ROLE landlord", "CREATE ROLE tenant IN ROLE landlord"])
    run(blank, "GRANT CREATE ON SCHEMA public TO landlord; SET LOCAL ROLE landlord")
    upgrade(blank, branches=RLS)
    run(blank, "SET LOCAL ROLE none")
    (scene,) = stage(blank)
    run(blank, "SET CONSTRAINTS ALL IMMEDIATE")
    run(blank, [f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in TABLES])
    return scene


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(turn("ann@acme", "revoked"), id="one of two owners leaves"),
        pytest.param(turn("eve@acme", "revoked"), id="a member leaves and their tuple does not"),
        pytest.param(withdraw("eve"), id="a tuple goes and its membership does not"),
        pytest.param(join("max"), id="a member joins"),
    ],
)
def test_forced_upon_an_owner_who_is_blind_then_the_triggers_refuse_whatever_it_is(
    blank: Connection, forced: Scene, statement: str
) -> None:
    """Judging by what they see, they would let pass what breaks the rules."""
    run(blank, "SET LOCAL ROLE landlord")
    run_in(blank, forced, "SELECT set_config('tenancy.org', {acme}, true)")
    with pytest.raises(ProgrammingError, match="affected by row-level security"):
        run_in(blank, forced, statement, "SET CONSTRAINTS ALL IMMEDIATE")


def test_the_doctor_tells_of_an_owner_who_is_blind(blank: Connection, forced: Scene) -> None:
    with Session(blank) as session:
        found = {f.check: f.examples for f in diagnose(session) if f.severity is Severity.ERROR}
    assert found == {"isolation_blinds_triggers": ("inv", "mem", "org", "tup")}


def test_forced_upon_an_owner_who_bypasses_it_all_is_well_and_their_members_are_isolated(
    blank: Connection, forced: Scene
) -> None:
    run(blank, ["ALTER ROLE landlord BYPASSRLS", "SET LOCAL ROLE tenant"])
    with Session(blank) as session:
        tenancy = TenancyRepository(session)
        assert session.scalars(select(Membership)).all() == []
        tenancy.self_leave(forced["ann@acme"])
        tenancy.offboard_user(forced["eve"])
        session.flush()
        run(blank, "SET CONSTRAINTS ALL IMMEDIATE")
        run(blank, "SET LOCAL ROLE landlord")
        assert len(session.scalars(select(Membership)).all()) == 8
        assert [f for f in diagnose(session) if f.severity is Severity.ERROR] == []


HIDES_ACME = "CREATE POLICY no_acme ON mem AS RESTRICTIVE FOR SELECT USING (org_id IS NULL)"


@pytest.mark.parametrize(
    "purpose, besides, found",
    [
        ("app", [], {"hidden_rows", "log_unreadable"}),
        ("operator", [], set()),
        ("operator", [HIDES_ACME], {"hidden_rows", "isolation_policy_foreign"}),
    ],
)
def test_the_doctor_knows_whether_its_role_sees_everything(
    blank: Connection, purpose: str, besides: list[str], found: set[str]
) -> None:
    branches = ["audit", "rls"]
    upgrade(blank, branches=branches)
    blank.execute(text("SELECT flametrench_tenancy_add_month(now()::date)"))
    blank.execute(text("SELECT flametrench_tenancy_add_month((now() + interval '1 month')::date)"))
    for statement in ("CREATE ROLE r", *grants("r", purpose, branches=branches), *besides):
        run(blank, statement)
    run(blank, "SET LOCAL ROLE r")
    with Session(blank) as session:
        assert {each.check for each in diagnose(session)} == found


def test_the_command_line_grants_what_each_role_needs(capsys: pytest.CaptureFixture[str]) -> None:
    for purpose, tells in (
        ("app", 'GRANT EXECUTE ON FUNCTION "public".flametrench_tenancy_orgs_of_users(uuid[])'),
        ("operator", 'CREATE POLICY "org_all_for_r" ON "public".org FOR SELECT TO "r" USING'),
        ("worker", 'CREATE POLICY "inv_all_for_update_r" ON "public".inv FOR UPDATE TO "r"'),
    ):
        assert main(["grants", "r", "--as", purpose, "--branch", "rls"]) == 0
        assert tells in capsys.readouterr().out


def test_a_purpose_that_there_is_not_is_refused() -> None:
    with pytest.raises(CommandError, match="'apps' is not a role's purpose; app, operator, worker"):
        list(grants("r", "apps"))


@pytest.mark.parametrize("name", ["r" * 62, "ä" * 31])
def test_long_names_of_roles_have_policies_of_their_own(blank: Connection, name: str) -> None:
    upgrade(blank, branches=["rls"])
    for role in (f"{name}1", f"{name}2"):
        for statement in (f'CREATE ROLE "{role}"', *grants(role, "operator", branches=["rls"])):
            run(blank, statement)
    policies = "SELECT count(*) FROM pg_policy WHERE polname LIKE 'org_all_for_%'"
    assert blank.scalar(text(policies)) == 2
