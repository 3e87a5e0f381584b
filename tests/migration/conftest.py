"""Databases to migrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase


@pytest.fixture
def empty(new_database: NewDatabase) -> Engine:
    """An engine on an empty database, through psycopg whatever driver the other tests use."""
    url = new_database().set(drivername="postgresql+psycopg")
    return create_engine(url, poolclass=NullPool)
