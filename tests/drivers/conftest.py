"""A client on each driver, and one that tells what it should have done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.drivers import DRIVERS, Client, Driver

if TYPE_CHECKING:
    from sqlalchemy import Engine


@pytest.fixture(params=DRIVERS, ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    """A driver, and the settings under which it is tried."""
    driver: Driver = request.param
    return driver


@pytest.fixture
def client(driver: Driver, clean_engine: Engine) -> Client:
    """An application on that driver, on a database that is empty afterwards."""
    return driver.client(clean_engine.url)
