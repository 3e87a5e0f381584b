"""The indexes of ft0003 and ft0004, built beside the writers of tables that are in use."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, text

from flametrench_tenancy_sqlalchemy.migrations import (
    HEAD,
    SchemaMismatchError,
    alembic_config,
    downgrade,
    upgrade,
)

from .reference import fill, run
from .state import everything, tenancy_schema

SCHEMA = "Ten ancy"
INDEX = "mem_org_page_idx"
SCRIPTS = ScriptDirectory.from_config(alembic_config())
INDEXES = [
    part.name
    for revision in ("ft0003", "ft0004")
    for part in SCRIPTS.get_revision(revision).module.INDEXES
]
SETTINGS = "SELECT current_setting('search_path'), current_setting('lock_timeout')"


def prepare(engine: Engine, schema: str = "public") -> None:
    """Create tables that have rows, and none of these indexes yet."""
    upgrade(engine.url, "ft0002", schema=schema)
    with engine.begin() as connection:
        fill(connection, schema)


@pytest.fixture
def in_use(empty: Engine) -> Engine:
    """An engine on a database that has rows, and none of these indexes yet."""
    prepare(empty)
    return empty


@contextmanager
def watched(connection: Connection, look: Callable[[str, Any], object]) -> Iterator[None]:
    """Show each statement, with its cursor, before it is executed."""

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        look(statement, cursor)

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", note)


def built_by_upgrading(connection: Connection) -> list[str]:
    """Upgrade, and return how each index was built."""
    seen: list[str] = []
    with watched(connection, lambda statement, _: seen.append(statement.strip())):
        upgrade(connection)
    starts = [s.partition(" ON ")[0] for s in seen if s.startswith("CREATE INDEX")]
    return [start for start in starts if start.split()[-1] in INDEXES]


def identity(engine: Engine, index: str) -> tuple[Any, ...]:
    """Return what is new for an index that has been built anew."""
    query = text("SELECT indexrelid, indisvalid FROM pg_index WHERE indexrelid = to_regclass(:i)")
    with engine.connect() as connection:
        return tuple(connection.execute(query, {"i": index}).one())


def test_tables_in_use_are_indexed_concurrently_and_end_as_in_one_transaction(
    in_use: Engine,
) -> None:
    before = everything(in_use)
    with in_use.connect() as connection:
        built = built_by_upgrading(connection)
    assert len(built) == len(INDEXES)
    assert all(start.startswith("CREATE INDEX CONCURRENTLY ") for start in built)
    beside_writers = everything(in_use)
    downgrade(in_use.url, "ft0002")
    assert everything(in_use) == before
    # A transaction of the caller's is not ended.
    with in_use.begin() as connection:
        built = built_by_upgrading(connection)
        assert len(built) == len(INDEXES)
        assert "CONCURRENTLY" not in "".join(built)
        assert everything(connection) == beside_writers
        connection.rollback()
    assert everything(in_use) == before


def test_new_tables_are_indexed_in_the_transaction_that_creates_them(empty: Engine) -> None:
    with empty.connect() as connection:
        built = built_by_upgrading(connection)
    assert len(built) == len(INDEXES)
    assert "CONCURRENTLY" not in "".join(built)


@pytest.mark.parametrize("rows", [True, False])
def test_what_an_interrupted_build_left_is_built_anew(empty: Engine, rows: bool) -> None:
    upgrade(empty.url)
    whole = tenancy_schema(empty)
    with empty.begin() as connection:
        run(connection, "UPDATE flametrench_tenancy_version SET version_num = 'ft0002'")
        run(connection, "DROP INDEX inv_org_page_idx")
        if rows:
            fill(connection)
        half = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('{}')"
        run(connection, [half.format(INDEX)])
    half_built, done = identity(empty, INDEX), identity(empty, "mem_usr_page_idx")
    upgrade(empty.url)
    assert tenancy_schema(empty) == whole
    assert identity(empty, INDEX) != half_built
    assert identity(empty, "mem_usr_page_idx") == done


def test_another_index_of_that_name_is_refused(blank: Connection) -> None:
    upgrade(blank, "ft0002")
    run(blank, f"CREATE INDEX {INDEX} ON mem (role)")
    before = everything(blank)
    with pytest.raises(SchemaMismatchError, match=rf"index {INDEX} of mem: .* \(role\)"):
        upgrade(blank)
    assert everything(blank) == before


def test_a_failure_on_the_way_is_made_good_by_the_next_run(in_use: Engine) -> None:
    def fail(statement: str, _: object) -> None:
        if "inv_org_page_idx" in statement:
            raise RuntimeError("the deployer's machine went away")

    with in_use.connect() as connection:
        with pytest.raises(RuntimeError, match="went away"), watched(connection, fail):
            upgrade(connection)
        done = identity(in_use, INDEX)
        upgrade(connection)
    assert identity(in_use, INDEX) == done
    command.check(alembic_config(in_use.url))


def test_a_schema_of_their_own_is_indexed_and_the_session_left_as_it_was(empty: Engine) -> None:
    prepare(empty, SCHEMA)
    upgrade(empty.url)
    stamped: list[Any] = []

    def note(statement: str, cursor: Any) -> None:
        if statement.startswith("UPDATE") and "version_num" in statement:
            cursor.execute(SETTINGS)
            stamped.append(cursor.fetchone())

    with empty.connect() as connection:
        run(connection, ["SET search_path TO public, pg_catalog", "SET lock_timeout TO '7s'"])
        connection.commit()
        with watched(connection, note):
            upgrade(connection, schema=SCHEMA)
        assert connection.execute(text(SETTINGS)).one() == ("public, pg_catalog", "7s")
        held = "SELECT locktype FROM pg_locks WHERE pid = pg_backend_pid()"
        assert "advisory" not in connection.scalars(text(held)).all()
    # What follows in the same run finds its schema, after the transaction has been ended.
    assert stamped == [(f'"{SCHEMA}"', "5s")] * 2
    assert tenancy_schema(empty, SCHEMA) == tenancy_schema(empty)


@pytest.mark.parametrize("schema", ["public", SCHEMA])
def test_offline_sql_from_an_older_revision_builds_them_concurrently(
    empty: Engine, schema: str
) -> None:
    prepare(empty, schema)
    config = alembic_config(schema=schema)
    config.output_buffer = printed = io.StringIO()
    command.upgrade(config, f"ft0002:{HEAD}", sql=True)
    assert printed.getvalue().count("CREATE INDEX CONCURRENTLY") == len(INDEXES)
    with empty.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # One by one, as psql does.
        run(connection, [part for part in printed.getvalue().split(";") if part.strip()])
        assert connection.scalar(text("SHOW search_path")) == '"$user", public'
    offline = everything(empty, schema)
    downgrade(empty.url, "ft0002", schema=schema)
    upgrade(empty.url, schema=schema)
    assert everything(empty, schema) == offline
