"""A database in which the application has tables of its own beside ours, and ways to write."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, delete, event
from sqlalchemy.orm import Session, sessionmaker

from tests.support.adopter import AdopterBase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL, Engine

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
def observer(database_url: URL) -> Iterator[Engine]:
    """Another engine on the same database, for those who look on and interfere."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["by statement", "by flush"])
def sessions(request: pytest.FixtureRequest, db: Engine) -> sessionmaker[Session]:
    """What makes Sessions in which operations write by one statement, or by flush."""
    factory = sessionmaker(db)
    if request.param == "by flush":
        event.listen(factory, "before_flush", lambda *_: None)
    return factory


@pytest.fixture
def call(operation: Operation, db: Engine, observer: Engine) -> Call:
    """The operation at hand, its stage set and committed.

    Over another connection: where psycopg has prepared statements, it has a word with the server
    of its own after a rollback.
    """
    with Session(observer) as session, session.begin():
        return operation.stage(session)


@pytest.fixture
def endings(db: Engine) -> Iterator[Counter[str]]:
    """How the transactions ended, and how many connections came and went."""
    seen: Counter[str] = Counter()
    listeners: list[tuple[Any, str, Callable[..., None]]] = [
        (target, name, lambda *_, name=name: seen.update([name]))
        for target, name in [
            *((db, name) for name in ("begin", "commit", "rollback")),
            *((db.pool, name) for name in ("checkout", "checkin")),
        ]
    ]
    for listener in listeners:
        event.listen(*listener)
    yield seen
    for listener in listeners:
        event.remove(*listener)
