"""The triggers that keep `updated_at`: the writer's word stands, silence means now."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from .reference import ROWS, run

THEN = "2020-02-02 02:02:02.020202+00"
LATER = "2021-01-01 00:00:00+00"
TABLES = ("usr", "org", "mem")


@pytest.fixture
def connection(session: Session) -> Connection:
    """A connection to a migrated database with rows last changed long ago."""
    connection = session.connection()
    for table in ("usr", "org", "mem", "tup"):
        run(connection, ROWS[table])
    run(connection, ["SET LOCAL session_replication_role = replica"])
    for table in TABLES:
        run(connection, [f"UPDATE {table} SET updated_at = '{THEN}'"])
    run(connection, ["SET LOCAL session_replication_role = origin"])
    return connection


def update(connection: Connection, table: str, assignment: str) -> set[datetime]:
    """Update one row and return the times at which the table's rows say they were changed."""
    one = f"(SELECT max(id::text)::uuid FROM {table})"
    run(connection, [f"UPDATE {table} SET {assignment} WHERE id = {one}"])
    query = f"SELECT updated_at FROM {table} WHERE id = {one}"
    return set(connection.exec_driver_sql(query).scalars())


def transaction_time(connection: Connection) -> datetime:
    now: datetime = connection.exec_driver_sql("SELECT now()").scalar_one()
    return now


# What changes a row of each table and breaks no rule of tenancy.
CHANGE = {
    "usr": "status = 'suspended'",
    "org": "name = 'Acme'",
    "mem": "status = 'suspended'",
}
NO_CHANGE = {"usr": "status = 'active'", "org": "name = NULL", "mem": "role = role"}


@pytest.mark.parametrize("table", TABLES)
def test_a_change_without_a_time_gets_the_time_of_the_transaction(
    connection: Connection, table: str
) -> None:
    assert update(connection, table, CHANGE[table]) == {transaction_time(connection)}


@pytest.mark.parametrize("table", TABLES)
def test_the_time_that_the_writer_gives_stands(connection: Connection, table: str) -> None:
    times = update(connection, table, f"{CHANGE[table]}, updated_at = '{LATER}'")
    assert times == {datetime(2021, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize("table", TABLES)
def test_it_stands_even_if_it_is_the_one_that_was_there(connection: Connection, table: str) -> None:
    times = update(connection, table, f"{CHANGE[table]}, updated_at = '{THEN}'")
    assert times == {datetime(2020, 2, 2, 2, 2, 2, 20202, tzinfo=UTC)}


@pytest.mark.parametrize("table", TABLES)
def test_an_update_that_changes_nothing_does_not_touch(connection: Connection, table: str) -> None:
    times = update(connection, table, NO_CHANGE[table])
    assert times == {datetime(2020, 2, 2, 2, 2, 2, 20202, tzinfo=UTC)}


def test_an_upsert_is_an_update_like_any_other(connection: Connection) -> None:
    upsert = "INSERT INTO usr (id, display_name) SELECT id, 'Ann' FROM usr ON CONFLICT (id) DO"
    run(connection, [f"{upsert} UPDATE SET display_name = 'Ann', updated_at = '{THEN}'"])
    query = "SELECT DISTINCT updated_at FROM usr"
    assert connection.exec_driver_sql(query).scalars().all() == [
        datetime(2020, 2, 2, 2, 2, 2, 20202, tzinfo=UTC)
    ]
    run(connection, [f"{upsert} UPDATE SET display_name = 'Bob'"])
    assert connection.exec_driver_sql(query).scalars().all() == [transaction_time(connection)]


def test_a_column_without_equality_counts_as_well(connection: Connection) -> None:
    run(connection, ["ALTER TABLE org ADD COLUMN settings json DEFAULT '{}'"])
    assert update(connection, "org", "settings = '{}'") == {
        datetime(2020, 2, 2, 2, 2, 2, 20202, tzinfo=UTC)
    }
    assert update(connection, "org", "settings = '[]'") == {transaction_time(connection)}
