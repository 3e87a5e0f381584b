"""The indexes for pages (ft0003), built beside the writers of tables that are in use."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, event, text

from flametrench_tenancy_sqlalchemy.migrations import (
    HEAD,
    SchemaMismatchError,
    alembic_config,
    downgrade,
    upgrade,
)

from .reference import ROWS, TABLES, run
from .state import everything, tenancy_schema

SCHEMA = "Ten ancy"
INDEX = "mem_org_page_idx"


@pytest.fixture
def in_use(empty: Engine) -> Engine:
    """An engine on a database that has rows, and no indexes for pages yet."""
    upgrade(empty.url, "ft0002")
    fill(empty)
    return empty


def fill(engine: Engine, schema: str = "public") -> None:
    with engine.begin() as connection:
        run(connection, [f'SET LOCAL search_path TO "{schema}"'])
        run(connection, [row for table in TABLES for row in ROWS[table]])


@contextmanager
def statements_of(connection: Connection) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    yield seen
    event.remove(connection, "before_cursor_execute", note)


def identity(engine: Engine, index: str) -> tuple[Any, ...]:
    """Return what is new for an index that has been built anew."""
    query = text("SELECT indexrelid, indisvalid FROM pg_index WHERE indexrelid = to_regclass(:i)")
    with engine.connect() as connection:
        return tuple(connection.execute(query, {"i": index}).one())


def interrupt(engine: Engine, index: str) -> None:
    """Leave an index as an interrupted build does."""
    query = text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(:i)")
    with engine.begin() as connection:
        connection.execute(query, {"i": index})


def test_tables_in_use_are_indexed_concurrently(in_use: Engine) -> None:
    with in_use.connect() as connection, statements_of(connection) as seen:
        upgrade(connection)
    built = [statement for statement in seen if "CREATE INDEX" in statement]
    assert len(built) == 7
    assert all(statement.startswith("CREATE INDEX CONCURRENTLY ") for statement in built)


def test_however_the_indexes_are_built_they_are_the_same(in_use: Engine) -> None:
    upgrade(in_use.url)
    beside_writers = everything(in_use)
    downgrade(in_use.url, "ft0002")
    with in_use.begin() as connection:
        upgrade(connection)
    assert everything(in_use) == beside_writers


def test_new_tables_are_indexed_in_the_transaction_that_creates_them(empty: Engine) -> None:
    with empty.connect() as connection, statements_of(connection) as seen:
        upgrade(connection)
    assert not any("CONCURRENTLY" in statement for statement in seen)


def test_a_transaction_of_the_callers_is_not_ended(in_use: Engine) -> None:
    before = everything(in_use)
    with in_use.begin() as connection, statements_of(connection) as seen:
        upgrade(connection)
        assert any(INDEX in statement for statement in seen)
        assert not any("CONCURRENTLY" in statement for statement in seen)
        connection.rollback()
    assert everything(in_use) == before


@pytest.mark.parametrize("rows", [True, False])
def test_what_an_interrupted_build_left_is_built_anew(empty: Engine, rows: bool) -> None:
    upgrade(empty.url)
    whole = tenancy_schema(empty)
    with empty.begin() as connection:
        run(connection, ["UPDATE flametrench_tenancy_version SET version_num = 'ft0002'"])
        run(connection, ["DROP INDEX inv_org_page_idx"])
    if rows:
        fill(empty)
    interrupt(empty, INDEX)
    half, done = identity(empty, INDEX), identity(empty, "mem_usr_page_idx")
    upgrade(empty.url)
    assert tenancy_schema(empty) == whole
    assert identity(empty, INDEX) != half
    assert identity(empty, "mem_usr_page_idx") == done


def test_another_index_of_that_name_is_refused(in_use: Engine) -> None:
    with in_use.begin() as connection:
        run(connection, [f"CREATE INDEX {INDEX} ON mem (role)"])
    before = everything(in_use)
    with pytest.raises(SchemaMismatchError, match=rf"index {INDEX} of mem: .* \(role\)"):
        upgrade(in_use.url)
    assert everything(in_use) == before


def test_a_failure_on_the_way_is_made_good_by_the_next_run(in_use: Engine) -> None:
    def fail(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "inv_org_page_idx" in statement:
            raise RuntimeError("the deployer's machine went away")

    with in_use.connect() as connection:
        event.listen(connection, "before_cursor_execute", fail)
        with pytest.raises(RuntimeError, match="went away"):
            upgrade(connection)
        event.remove(connection, "before_cursor_execute", fail)
        done = identity(in_use, INDEX)
        upgrade(connection)
    assert identity(in_use, INDEX) == done
    command.check(alembic_config(in_use.url))


def test_a_schema_of_their_own_is_indexed_and_the_session_left_as_it_was(empty: Engine) -> None:
    upgrade(empty.url, "ft0002", schema=SCHEMA)
    fill(empty, SCHEMA)
    upgrade(empty.url)
    with empty.connect() as connection:
        run(connection, ["SET search_path TO public, pg_catalog", "SET lock_timeout TO '7s'"])
        connection.commit()
        upgrade(connection, schema=SCHEMA)
        settings = text("SELECT current_setting('search_path'), current_setting('lock_timeout')")
        assert connection.execute(settings).one() == ("public, pg_catalog", "7s")
        held = "SELECT locktype FROM pg_locks WHERE pid = pg_backend_pid()"
        assert "advisory" not in connection.scalars(text(held)).all()
    assert tenancy_schema(empty, SCHEMA) == tenancy_schema(empty)


def test_what_follows_in_the_same_run_finds_its_schema(empty: Engine) -> None:
    """The settings of the migration's transaction hold after it has been ended and begun anew."""
    upgrade(empty.url, "ft0002", schema=SCHEMA)
    fill(empty, SCHEMA)
    seen: list[Any] = []

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE") and "version_num" in statement:
            cursor.execute("SELECT current_setting('search_path'), current_setting('lock_timeout')")
            seen.append(cursor.fetchone())

    with empty.connect() as connection:
        event.listen(connection, "before_cursor_execute", note)
        upgrade(connection, schema=SCHEMA)
    assert seen == [(f'"{SCHEMA}"', "5s")]


@pytest.mark.parametrize("schema", ["public", SCHEMA])
def test_offline_sql_from_an_older_revision_builds_them_concurrently(
    empty: Engine, schema: str
) -> None:
    upgrade(empty.url, "ft0002", schema=schema)
    fill(empty, schema)
    printed = io.StringIO()
    config = alembic_config(schema=schema)
    config.output_buffer = printed
    command.upgrade(config, f"ft0002:{HEAD}", sql=True)
    assert printed.getvalue().count("CREATE INDEX CONCURRENTLY") == 7
    with empty.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # One by one, as psql does.
        run(connection, [part for part in printed.getvalue().split(";") if part.strip()])
        assert connection.scalar(text("SHOW search_path")) == '"$user", public'
    offline = everything(empty, schema)
    downgrade(empty.url, "ft0002", schema=schema)
    upgrade(empty.url, schema=schema)
    assert everything(empty, schema) == offline


def test_the_indexes_come_and_go_with_rows(in_use: Engine) -> None:
    before = everything(in_use)
    upgrade(in_use.url)
    downgrade(in_use.url, "ft0002")
    assert everything(in_use) == before
