"""The guide to drivers says what is tested, and its code works."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from tests.support.drivers import BEHIND_A_POOLER, DRIVERS
from tests.support.guides import DOCS, chapters

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.support.guides import Reader

ROWS = {
    name: cells.split("|")
    for name, cells in re.findall(
        r"^\| `postgresql\+(\w+)` \|(.+)\|$", (DOCS / "drivers.md").read_text(), re.MULTILINE
    )
}


def test_its_table_names_the_drivers_that_are_tested() -> None:
    promised = {
        (name, asynchronous)
        for name, (_, *doors, _) in ROWS.items()
        for asynchronous, door in zip((False, True), doors, strict=True)
        if "yes" in door
    }
    assert promised == {(driver.name, driver.asynchronous) for driver in DRIVERS}


def test_its_settings_for_pgbouncer_are_those_that_are_tested() -> None:
    named = {name: set(re.findall(r"`(\w+=\w+)`", cells[-1])) for name, cells in ROWS.items()}
    assert {name: settings for name, settings in named.items() if settings} == {
        driver.name: {f"{name}={value}" for name, value in driver.connect_args.items()}
        for driver in BEHIND_A_POOLER
    }


def test_everything_in_it_works(reader: Reader) -> None:
    upgrade(reader.database)
    [guide] = chapters("drivers.md")

    reader.follow(guide)

    assert reader.here["expired"] == [0, 0]
    with create_engine(reader.database, poolclass=NullPool).connect() as connection:
        for table, rows in (("usr", 1), ("org", 0)):
            counted = connection.exec_driver_sql(f"SELECT count(*) FROM {table}")
            assert counted.scalar() == rows
    reader.here["engine"].dispose()


@pytest.mark.parametrize("driver", sorted({d.name for d in DRIVERS if not d.asynchronous}))
def test_the_state_of_an_error_is_where_it_says(clean_engine: Engine, driver: str) -> None:
    written = re.findall(r"`(exc\.orig[^`]+)` on\s+([\w ]+)", (DOCS / "drivers.md").read_text())
    [expression] = [expression for expression, drivers in written if driver in drivers.split()]
    url = clean_engine.url.set(drivername=f"postgresql+{driver}")

    with (
        create_engine(url, poolclass=NullPool).connect() as connection,
        pytest.raises(DBAPIError) as failure,
    ):
        connection.exec_driver_sql("DO $$ BEGIN RAISE 'no' USING ERRCODE = '40001'; END $$")

    assert eval(expression, {"exc": failure.value}) == "40001"
