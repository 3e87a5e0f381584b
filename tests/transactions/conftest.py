"""A database in which the application has a table of its own beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from tests.support.adopter import AdopterBase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.support.operations import Call, Operation


@pytest.fixture(scope="module")
def adopter_tables(engine: Engine) -> Iterator[None]:
    """The application's own tables, for the time of a module."""
    AdopterBase.metadata.create_all(engine)
    yield
    AdopterBase.metadata.drop_all(engine)


@pytest.fixture
def db(adopter_tables: None, clean_engine: Engine) -> Iterator[Engine]:
    """An engine on a database with our tables and the application's, all empty afterwards."""
    yield clean_engine
    with clean_engine.begin() as connection:
        for table in reversed(AdopterBase.metadata.sorted_tables):
            connection.execute(delete(table))


@pytest.fixture
def call(operation: Operation, db: Engine) -> Call:
    """The operation at hand, its stage set and committed."""
    with Session(db) as session, session.begin():
        return operation.stage(session)
