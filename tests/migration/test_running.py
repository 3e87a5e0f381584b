"""Running the migrations from Python: on whose connection, in which schema, beside whom."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from flametrench_tenancy_sqlalchemy.migrations import (
    HEAD,
    VERSION_TABLE,
    AdvisoryLockTimeoutError,
    alembic_config,
    downgrade,
    upgrade,
)

from .reference import ROWS, TABLES, create_reference, run, run_script
from .state import everything, functions_of, tables_of, tenancy_schema

SCHEMA = "Ten ancy"
OURS = {*TABLES, VERSION_TABLE}


def offline_sql(schema: str | None = None) -> str:
    config = alembic_config(schema=schema)
    config.output_buffer = printed = io.StringIO()
    command.upgrade(config, HEAD, sql=True)
    return printed.getvalue()


# -- on the caller's connection


def test_an_open_transaction_of_the_callers_decides_or_else_it_is_committed(empty: Engine) -> None:
    with empty.connect() as connection:
        connection.begin()
        upgrade(connection)
        assert set(tables_of(connection)) == OURS
        connection.rollback()
        assert everything(empty) == ({}, {}, [])
        connection.rollback()
        upgrade(connection)
        assert not connection.in_transaction()
    assert tenancy_schema(empty)


def test_the_callers_settings_are_as_before(blank: Connection) -> None:
    run(blank, ["SET LOCAL lock_timeout = '7s'", "SET LOCAL search_path TO public, x"])
    upgrade(blank, schema=SCHEMA)
    downgrade(blank, "base", schema=SCHEMA)
    settings = text("SELECT current_setting('lock_timeout'), current_setting('search_path')")
    assert blank.execute(settings).one() == ("7s", "public, x")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000", "asyncpg"])
def test_every_driver_migrates(empty: Engine, driver: str) -> None:
    pytest.importorskip(driver)
    url = empty.url.set(drivername=f"postgresql+{driver}")
    upgrade(url)
    built = tenancy_schema(empty)
    downgrade(url, "base")
    with empty.begin() as connection:
        create_reference(connection, newest=False)
    upgrade(url)
    assert tenancy_schema(empty) == built


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_within_a_running_event_loop_as_well(empty: Engine, driver: str) -> None:
    url = empty.url.set(drivername=f"postgresql+{driver}")

    async def start() -> None:
        upgrade(url, "ft0001")
        engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(upgrade)

    asyncio.run(start())
    command.check(alembic_config(empty.url))


# -- in a schema of their own


def test_a_schema_of_their_own_is_all_that_is_used(empty: Engine) -> None:
    with empty.begin() as connection:
        # The application's own tables of these names.
        run(connection, ["CREATE TABLE org (id int PRIMARY KEY)", "CREATE TABLE usr (name text)"])
    before = everything(empty)
    upgrade(empty.url, schema=SCHEMA)
    command.check(alembic_config(empty.url, schema=SCHEMA))
    assert everything(empty) == before
    with empty.begin() as connection:
        assert set(tables_of(connection, SCHEMA)) == OURS
        run(connection, [f'SET LOCAL search_path TO "{SCHEMA}"', ROWS["usr"]])
    with empty.begin() as connection:  # another moment, while it is not on the search path
        touch = f"""
            UPDATE "{SCHEMA}".usr SET status = 'suspended'
            RETURNING updated_at = now() AND updated_at > created_at
            """
        assert connection.scalars(text(touch)).all() == [True, True]
    downgrade(empty.url, "base", schema=SCHEMA)
    with empty.connect() as connection:
        assert tables_of(connection, SCHEMA) == [VERSION_TABLE]
        assert functions_of(connection, SCHEMA) == []
    assert everything(empty) == before


def test_tables_in_a_schema_of_their_own_are_adopted_and_become_the_same_as_public(
    blank: Connection,
) -> None:
    run(blank, [f'CREATE SCHEMA "{SCHEMA}"', f'SET LOCAL search_path TO "{SCHEMA}"'])
    create_reference(blank)
    run(blank, "SET LOCAL search_path TO DEFAULT")
    before = everything(blank, SCHEMA)
    upgrade(blank)
    upgrade(blank, schema=SCHEMA)
    assert tenancy_schema(blank, SCHEMA) == tenancy_schema(blank)
    downgrade(blank, "base", schema=SCHEMA)
    run(blank, f'DROP TABLE "{SCHEMA}".{VERSION_TABLE}')
    assert everything(blank, SCHEMA) == before


def test_the_first_schema_of_the_search_path_is_the_one(blank: Connection) -> None:
    """A table of the same name further down the path is neither adopted nor dropped."""
    run(blank, ["CREATE SCHEMA app", "CREATE TABLE public.mem (id int)"])
    run(blank, "SET LOCAL search_path TO app, public")
    upgrade(blank, "ft0001")
    assert set(tables_of(blank, "app")) == OURS
    run(blank, "DROP TABLE app.mem")
    downgrade(blank, "base")
    assert tables_of(blank, "public") == ["mem"]


def test_a_translated_schema_is_the_one(empty: Engine) -> None:
    with empty.begin() as connection:
        run(connection, [f'CREATE SCHEMA "{SCHEMA}"', f'SET LOCAL search_path TO "{SCHEMA}"'])
        create_reference(connection, ["usr"])
    with empty.connect() as connection:
        translated = connection.execution_options(schema_translate_map={None: SCHEMA})
        upgrade(translated, "ft0001")
    with empty.connect() as connection:
        assert tables_of(connection) == []
        assert set(tables_of(connection, SCHEMA)) == OURS


# -- beside another deployer


def test_the_second_deployer_waits_for_the_first_and_finds_it_done(empty: Engine) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    with ThreadPoolExecutor(1) as pool, empty.connect() as observer:
        with empty.begin() as first:
            upgrade(first)
            second = pool.submit(upgrade, empty.url)
            while not observer.scalar(waiting):
                observer.rollback()
                assert not second.done()
        second.result(timeout=60)
    with empty.connect() as connection:
        assert connection.scalar(text(f"SELECT count(*) FROM {VERSION_TABLE}")) == 1


def test_deployers_who_start_together_all_succeed(empty: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(upgrade, empty.url) for _ in range(4)]:
            done.result(timeout=60)
    command.check(alembic_config(empty.url))


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000", "asyncpg"])
def test_a_deployer_who_waits_too_long_is_told_who_holds_the_lock(
    empty: Engine, driver: str
) -> None:
    named = empty.url.update_query_dict({"application_name": "the other deployer"})
    with create_engine(named, poolclass=NullPool).begin() as first:
        upgrade(first)
        holder = first.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
        for target in (empty.url.set(drivername=f"postgresql+{driver}"), empty.connect()):
            if isinstance(target, Connection):
                target.begin()
            with pytest.raises(AdvisoryLockTimeoutError) as caught:
                upgrade(target, advisory_lock_timeout="20ms")
            [told] = caught.value.holders
            assert told.startswith(
                f"pid {holder}, user {empty.url.username}, application the other deployer, "
            )
            assert f"did so for 20ms: {told}" in str(caught.value)
            assert ", connected since 2" in told
        assert isinstance(target, Connection)
        first.commit()
        upgrade(target, advisory_lock_timeout="0s")  # its transaction has been spared
        target.close()


# -- as SQL for a DBA


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["public", "own schema"])
def test_offline_sql_builds_the_same_on_an_empty_database(
    empty: Engine, schema: str | None
) -> None:
    run_script(empty, offline_sql(schema))
    offline = everything(empty, schema or "public")
    downgrade(empty.url, "base", schema=schema)
    upgrade(empty.url, schema=schema)
    assert everything(empty, schema or "public") == offline


def test_offline_sql_does_not_touch_tables_that_are_there(empty: Engine) -> None:
    with empty.begin() as connection:
        create_reference(connection)
    before = everything(empty)
    with pytest.raises(Exception, match="already exists"):
        run_script(empty, offline_sql())
    assert everything(empty) == before


def test_a_downgrade_cannot_be_written_down_beforehand() -> None:
    config = alembic_config()
    config.output_buffer = io.StringIO()
    with pytest.raises(Exception, match="needs a connection"):
        command.downgrade(config, "ft0001:base", sql=True)
