"""Running the migrations from Python: on whose connection, in which schema, beside whom."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, text

from flametrench_tenancy_sqlalchemy.migrations import (
    HEAD,
    VERSION_TABLE,
    alembic_config,
    downgrade,
    upgrade,
)

from .reference import ROWS, TABLES, create_reference, run
from .state import everything, functions_of, tables_of, tenancy_schema

SCHEMA = "Ten ancy"


def offline_sql(schema: str | None = None) -> str:
    printed = io.StringIO()
    config = alembic_config(schema=schema)
    config.output_buffer = printed
    command.upgrade(config, HEAD, sql=True)
    return printed.getvalue()


def execute_script(engine: Engine, script: str) -> None:
    """Run a script as it is, as psql would."""
    connection = engine.raw_connection()
    connection.cursor().execute(script)
    connection.close()


# -- on the caller's connection


def test_an_open_transaction_of_the_callers_decides(empty: Engine) -> None:
    with empty.connect() as connection:
        connection.begin()
        upgrade(connection)
        assert set(tables_of(connection)) == {*TABLES, VERSION_TABLE}
        connection.rollback()
    assert everything(empty) == ({}, {}, [])


def test_without_an_open_transaction_the_migration_is_committed(empty: Engine) -> None:
    with empty.connect() as connection:
        upgrade(connection)
        assert not connection.in_transaction()
    assert tenancy_schema(empty)


def test_the_callers_settings_are_as_before(empty: Engine) -> None:
    with empty.begin() as connection:
        run(connection, ["SET LOCAL lock_timeout = '7s'", "SET LOCAL search_path TO public, x"])
        upgrade(connection, schema=SCHEMA)
        downgrade(connection, "base", schema=SCHEMA)
        settings = text("SELECT current_setting('lock_timeout'), current_setting('search_path')")
        assert connection.execute(settings).one() == ("7s", "public, x")


# -- through a driver


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


# -- in a schema of their own


def test_a_schema_of_their_own_is_all_that_is_used(empty: Engine) -> None:
    with empty.begin() as connection:
        # The application's own tables of these names.
        run(connection, ["CREATE TABLE org (id int PRIMARY KEY)", "CREATE TABLE usr (name text)"])
    before = everything(empty)
    upgrade(empty.url, schema=SCHEMA)
    command.check(alembic_config(empty.url, schema=SCHEMA))
    assert everything(empty) == before
    with empty.connect() as connection:
        assert set(tables_of(connection, SCHEMA)) == {*TABLES, VERSION_TABLE}
    downgrade(empty.url, "base", schema=SCHEMA)
    with empty.connect() as connection:
        assert tables_of(connection, SCHEMA) == [VERSION_TABLE]
        assert functions_of(connection, SCHEMA) == []
    assert everything(empty) == before


def test_a_schema_of_their_own_holds_the_same_as_public(empty: Engine) -> None:
    upgrade(empty.url)
    upgrade(empty.url, schema=SCHEMA)
    assert tenancy_schema(empty, SCHEMA) == tenancy_schema(empty)


def test_triggers_work_while_their_schema_is_not_on_the_search_path(empty: Engine) -> None:
    upgrade(empty.url, schema=SCHEMA)
    with empty.begin() as connection:
        run(connection, [f'SET LOCAL search_path TO "{SCHEMA}"', *ROWS["usr"]])
    with empty.begin() as connection:  # another moment
        touched = connection.scalars(
            text(
                f"""
                UPDATE "{SCHEMA}".usr SET status = 'suspended'
                RETURNING updated_at = now() AND updated_at > created_at
                """
            )
        )
        assert touched.all() == [True, True]


def test_tables_in_a_schema_of_their_own_are_adopted(empty: Engine) -> None:
    with empty.begin() as connection:
        run(connection, [f'CREATE SCHEMA "{SCHEMA}"', f'SET LOCAL search_path TO "{SCHEMA}"'])
        create_reference(connection)
    before = everything(empty, SCHEMA)
    upgrade(empty.url)
    upgrade(empty.url, schema=SCHEMA)
    assert tenancy_schema(empty, SCHEMA) == tenancy_schema(empty)
    downgrade(empty.url, "base", schema=SCHEMA)
    with empty.begin() as connection:
        run(connection, [f'DROP TABLE "{SCHEMA}".{VERSION_TABLE}'])
    assert everything(empty, SCHEMA) == before


def test_the_first_schema_of_the_search_path_is_the_one(empty: Engine) -> None:
    """A table of the same name further down the path is neither adopted nor dropped."""
    with empty.begin() as connection:
        run(connection, ["CREATE SCHEMA app", "CREATE TABLE public.mem (id int)"])
    with empty.begin() as connection:
        run(connection, ["SET LOCAL search_path TO app, public"])
        upgrade(connection, "ft0001")
        assert set(tables_of(connection, "app")) == {*TABLES, VERSION_TABLE}
        run(connection, ["DROP TABLE app.mem"])
        downgrade(connection, "base")
        assert tables_of(connection, "public") == ["mem"]


def test_a_translated_schema_is_the_one(empty: Engine) -> None:
    with empty.begin() as connection:
        run(connection, [f'CREATE SCHEMA "{SCHEMA}"', f'SET LOCAL search_path TO "{SCHEMA}"'])
        create_reference(connection, ["usr"])
    with empty.connect() as connection:
        translated = connection.execution_options(schema_translate_map={None: SCHEMA})
        upgrade(translated, "ft0001")
    with empty.connect() as connection:
        assert tables_of(connection) == []
        assert set(tables_of(connection, SCHEMA)) == {*TABLES, VERSION_TABLE}


# -- beside another deployer


def is_waiting_for_the_other(connection: Connection) -> bool:
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'
        """
    return bool(connection.scalar(text(query)))


def test_the_second_deployer_waits_for_the_first_and_finds_it_done(empty: Engine) -> None:
    with ThreadPoolExecutor(1) as pool, empty.connect() as observer:
        with empty.begin() as first:
            upgrade(first)
            second = pool.submit(upgrade, empty.url)
            while not is_waiting_for_the_other(observer):
                observer.rollback()
                assert not second.done()
        second.result(timeout=60)
    with empty.connect() as connection:
        assert connection.scalar(text(f"SELECT count(*) FROM {VERSION_TABLE}")) == 1


def test_deployers_who_start_together_all_succeed(empty: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(upgrade, empty.url) for _ in range(4)]
        for run_ in runs:
            run_.result(timeout=60)
    command.check(alembic_config(empty.url))


# -- as SQL for a DBA


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["public", "own schema"])
def test_offline_sql_builds_the_same_on_an_empty_database(
    empty: Engine, schema: str | None
) -> None:
    execute_script(empty, offline_sql(schema))
    offline = everything(empty, schema or "public")
    downgrade(empty.url, "base", schema=schema)
    upgrade(empty.url, schema=schema)
    assert everything(empty, schema or "public") == offline


def test_offline_sql_does_not_touch_tables_that_are_there(empty: Engine) -> None:
    with empty.begin() as connection:
        create_reference(connection)
    before = everything(empty)
    with pytest.raises(Exception, match="already exists"):
        execute_script(empty, offline_sql())
    assert everything(empty) == before


def test_a_downgrade_cannot_be_written_down_beforehand() -> None:
    config = alembic_config()
    config.output_buffer = io.StringIO()
    with pytest.raises(Exception, match="needs a connection"):
        command.downgrade(config, "ft0001:base", sql=True)
