"""The triggers that keep `updated_at`: the writer's word stands, silence means now."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from .reference import ROWS, run

THEN = datetime(2020, 2, 2, 2, 2, 2, 20202, tzinfo=UTC)
LATER = datetime(2021, 1, 1, tzinfo=UTC)


@pytest.fixture
def connection(session: Session) -> Connection:
    """A connection to a migrated database with rows last changed long ago."""
    connection = session.connection()
    run(connection, [ROWS[table] for table in ("usr", "org", "mem", "tup")])
    run(connection, "SET LOCAL session_replication_role = replica")
    run(
        connection, [f"UPDATE {table} SET updated_at = '{THEN}'" for table in ("usr", "org", "mem")]
    )
    run(connection, "SET LOCAL session_replication_role = origin")
    return connection


def update(connection: Connection, table: str, assignment: str) -> object:
    """Update one row and return the time at which it says it was changed."""
    one = f"(SELECT max(id::text)::uuid FROM {table})"
    run(connection, f"UPDATE {table} SET {assignment} WHERE id = {one}")
    return connection.exec_driver_sql(f"SELECT updated_at FROM {table} WHERE id = {one}").scalar()


def transaction_time(connection: Connection) -> object:
    return connection.exec_driver_sql("SELECT now()").scalar_one()


@pytest.mark.parametrize(
    "table, no_change, change",
    [
        ("usr", "status = 'active'", "status = 'suspended'"),
        ("org", "name = NULL", "name = 'Acme'"),
        ("mem", "role = role", "status = 'suspended'"),
    ],
)
def test_the_writers_time_stands_and_a_change_without_one_gets_that_of_the_transaction(
    connection: Connection, table: str, no_change: str, change: str
) -> None:
    assert update(connection, table, no_change) == THEN
    with connection.begin_nested() as savepoint:
        assert update(connection, table, change) == transaction_time(connection)
        savepoint.rollback()
    # The writer's stands even if it is the one that was there.
    assert update(connection, table, f"{change}, updated_at = '{THEN}'") == THEN
    assert update(connection, table, f"updated_at = '{LATER}'") == LATER


def test_an_upsert_is_an_update_like_any_other(connection: Connection) -> None:
    upsert = "INSERT INTO usr (id, display_name) SELECT id, 'Ann' FROM usr ON CONFLICT (id) DO"
    query = "SELECT DISTINCT updated_at FROM usr"
    run(connection, f"{upsert} UPDATE SET display_name = 'Ann', updated_at = '{THEN}'")
    assert connection.exec_driver_sql(query).scalars().all() == [THEN]
    run(connection, f"{upsert} UPDATE SET display_name = 'Bob'")
    assert connection.exec_driver_sql(query).scalars().all() == [transaction_time(connection)]


def test_a_column_without_equality_counts_as_well(connection: Connection) -> None:
    run(connection, "ALTER TABLE org ADD COLUMN settings json DEFAULT '{}'")
    assert update(connection, "org", "settings = '{}'") == THEN
    assert update(connection, "org", "settings = '[]'") == transaction_time(connection)
