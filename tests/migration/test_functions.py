"""The trigger functions: whose they are, and in which schema, whatever its name."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, create_engine, delete, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    AuditLog,
    PreconditionError,
    Role,
    TenancyRepository,
    TenancyStore,
    Tuple,
)
from flametrench_tenancy_sqlalchemy.audit.retention import (
    add_months,
    drop_months,
    forget_context,
    months,
)
from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.migrations import VERSION_TABLE, downgrade, upgrade
from flametrench_tenancy_sqlalchemy.migrations.grants import grants
from flametrench_tenancy_sqlalchemy.testing.factories import make_user

from .reference import create_reference, run, run_script
from .state import tables_of
from .test_running import offline_sql

NAMES = [
    *("100%", "%s", "%(s)s", 'a"b', "a:b", "Ten ancy's", "a.b,c", "$do$"),
    pytest.param(
        r"a\b",
        marks=pytest.mark.skipif(
            sqlalchemy.__version__.startswith("2.0"),
            reason="without a connection, SQLAlchemy 2.0 doubles the backslashes of a literal",
        ),
    ),
]


def operate(engine: Engine) -> None:
    """Have a member come, change and go, and tuples that nobody may take away."""
    sessions = sessionmaker(engine)
    with sessions.begin() as session:
        ann, bob = make_user(session).id, make_user(session).id
    store = TenancyStore(sessions)
    founded = store.create_org(ann)
    member = store.add_member(founded.org.id, bob, Role.MEMBER)
    store.self_leave(store.change_role(member.id, Role.ADMIN).id)
    with pytest.raises(IntegrityError, match="do not agree"), sessions.begin() as session:
        session.execute(delete(Tuple))


def test_they_act_as_the_owner_of_adopted_tables_not_as_who_migrates(blank: Connection) -> None:
    run(blank, ["CREATE ROLE landlord", "CREATE ROLE deployer IN ROLE landlord"])
    run(blank, "GRANT CREATE ON SCHEMA public TO landlord; SET LOCAL ROLE landlord")
    create_reference(blank)
    run(blank, "SET LOCAL ROLE deployer")
    upgrade(blank)
    owners = "SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE prosecdef"
    assert blank.exec_driver_sql(owners).scalars().all() == ["landlord"]
    upgrade(blank)
    downgrade(blank, "base")


# What fits the types in the queries for the functions better than what the server has.
TRAPS = [
    "CREATE FUNCTION quote_ident(name) RETURNS text {}",
    "CREATE FUNCTION format(text, text, name) RETURNS text {}",
    "CREATE FUNCTION format(text, text, text) RETURNS text {}",
    "CREATE FUNCTION starts_with(name, text) RETURNS boolean {}",
    "CREATE FUNCTION trap(oid, regnamespace) RETURNS boolean {}",
    "CREATE OPERATOR = (FUNCTION = trap, LEFTARG = oid, RIGHTARG = regnamespace)",
    "CREATE FUNCTION trap(oid, regrole) RETURNS boolean {}",
    "CREATE OPERATOR = (FUNCTION = trap, LEFTARG = oid, RIGHTARG = regrole)",
    "CREATE FUNCTION trap(text[], text[]) RETURNS boolean {}",
    "CREATE OPERATOR = (FUNCTION = trap, LEFTARG = text[], RIGHTARG = text[])",
]


def test_nothing_that_others_put_into_the_schema_is_run(blank: Connection) -> None:
    body = "LANGUAGE plpgsql AS $$ BEGIN RAISE 'in the trap'; END $$"
    run(blank, "CREATE SCHEMA cell; SET LOCAL search_path = cell")
    run(blank, [trap.format(body) for trap in TRAPS])
    for named in (None, "cell"):
        upgrade(blank, schema=named, branches=["audit", "rls"])
        run(blank, "ALTER FUNCTION flametrench_tenancy_touch() RESET search_path")
        assert [f.check for f in diagnose(Session(blank))] == ["insecure_function"]


@pytest.mark.parametrize("schema", NAMES)
def test_a_schema_may_have_any_name(empty: Engine, schema: str) -> None:
    target = ("--url", empty.url.render_as_string(hide_password=False), "--schema", schema)
    translated = empty.execution_options(schema_translate_map={None: schema})
    run_script(empty, offline_sql(schema))
    operate(translated)
    downgrade(empty.url, "ft0001", schema=schema)
    assert main(["migrate", "upgrade", *target]) == 0
    operate(translated)
    assert main(["doctor", *target]) == 0
    downgrade(empty.url, "base", schema=schema)
    with empty.connect() as connection:
        assert tables_of(connection, schema) == [VERSION_TABLE]


@pytest.mark.parametrize("driver", ["psycopg", "pg8000", "asyncpg"])
def test_the_opt_in_branches_work_in_a_schema_of_any_name(empty: Engine, driver: str) -> None:
    schema, role, branches = 'Ten :ants, "100%%"', f"app_{driver}", ["audit", "rls", "search"]
    upgrade(empty.url, schema=schema, branches=branches)
    given = grants(role, schema=schema, branches=branches)
    run_script(empty, "; ".join([f"CREATE ROLE {role}", *given, "COMMIT"]))

    def work(session: Session) -> None:
        add_months(session)
        assert forget_context(session, before=datetime.now(UTC)) == 0
        drop_months(session, [month.name for month in months(session) if month.since])
        session.execute(text(f"SET LOCAL ROLE {role}"))
        tenancy, log = TenancyRepository(session), AuditLog(session)
        org = tenancy.create_org(make_user(session).id).org
        log.write("doc.read", ("doc", "1"), scope=("org", org.id))
        assert tenancy.get_org(org.id) is org
        with pytest.raises(PreconditionError, match="list_orgs"):
            tenancy.list_orgs()  # which spans organizations

    async def run_in_async_code() -> None:
        engine = create_async_engine(empty.url.set(drivername=f"postgresql+{driver}"))
        there = engine.execution_options(schema_translate_map={None: schema})
        async with AsyncSession(there) as session:
            await session.run_sync(work)
        await engine.dispose()

    if driver == "asyncpg":
        asyncio.run(run_in_async_code())
        return
    engine = create_engine(empty.url.set(drivername=f"postgresql+{driver}"))
    with Session(engine.execution_options(schema_translate_map={None: schema})) as session:
        work(session)
    engine.dispose()


@pytest.mark.parametrize("renamed", ["tenants", "Ten:ants, 1"])
def test_a_schema_that_was_renamed_refuses_until_an_upgrade_mends_it(
    empty: Engine, renamed: str
) -> None:
    upgrade(empty.url, schema="tenancy")
    with empty.begin() as connection:
        run(connection, f'ALTER SCHEMA tenancy RENAME TO "{renamed}"')
    engine = empty.execution_options(schema_translate_map={None: renamed})
    with pytest.raises(DBAPIError, match="does not exist"):
        operate(engine)
    with Session(engine) as session:
        [finding] = diagnose(session)
    assert finding.check == "insecure_function"
    assert "migrate upgrade" in finding.message

    upgrade(empty.url, schema=renamed)

    operate(engine)
    with Session(engine) as session:
        assert diagnose(session) == []


def test_schemas_that_change_places_are_mended_where_they_are_translated(empty: Engine) -> None:
    blue, green = (
        empty.execution_options(schema_translate_map={None: schema}) for schema in ("blue", "green")
    )
    for schema in ("blue", "green"):
        upgrade(empty.url, schema=schema)
    with empty.begin() as connection:
        for name, other in (("blue", "spare"), ("green", "blue"), ("spare", "green")):
            run(connection, f"ALTER SCHEMA {name} RENAME TO {other}")
    for engine in (blue, green):
        with engine.connect() as connection:
            upgrade(connection)
        operate(engine)
