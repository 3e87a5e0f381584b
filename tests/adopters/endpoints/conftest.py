"""The tenancy endpoints in applications on FastAPI and on Flask."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.endpoints import FRAMEWORKS, Application, AskWith
from tests.support.web import Ask, Cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine


@pytest.fixture(scope="module")
def stage(engine: Engine) -> Iterator[tuple[Connection, Cast]]:
    """Everybody, on a connection whose work is gone in the end."""
    with engine.connect() as connection:
        undone = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            cast = Cast(session)
        yield connection, cast
        undone.rollback()


@pytest.fixture(scope="module")
def cast(stage: tuple[Connection, Cast]) -> Cast:
    return stage[1]


@pytest.fixture
def connection(stage: tuple[Connection, Cast]) -> Iterator[Connection]:
    """The same connection, on which a test's work is gone after it."""
    connection = stage[0]
    undone = connection.begin_nested()
    yield connection
    undone.rollback()


@pytest.fixture
def tenancy(connection: Connection) -> Iterator[TenancyRepository]:
    """What the application does besides."""
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        yield TenancyRepository(session)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    """Each of the frameworks."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def application(framework: str, stage: tuple[Connection, Cast]) -> Application:
    """An application on each of the frameworks."""
    return Application.on(framework, stage[0])


@pytest.fixture(scope="module")
def asked(application: Application, cast: Cast) -> Iterator[Ask]:
    with application.asked(cast) as ask:
        yield ask


@pytest.fixture
def ask(asked: Ask, connection: Connection) -> Ask:
    """Sends requests to the application."""
    return asked


@pytest.fixture
def ask_each(stage: tuple[Connection, Cast], connection: Connection) -> Iterator[list[Ask]]:
    """Sends requests to one application on every framework."""
    with ExitStack() as stack:
        applications = [Application.on(name, connection) for name in FRAMEWORKS]
        yield [stack.enter_context(app.asked(stage[1])) for app in applications]


@pytest.fixture
def ask_with(framework: str, cast: Cast, connection: Connection) -> Iterator[AskWith]:
    """Sends requests to an application with a clock or a policy of its own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            Application.on(framework, connection, **options).asked(cast)
        )


@pytest.fixture(scope="module")
def address(application: Application) -> Iterator[str]:
    """Where the application is served."""
    with application.served() as address:
        yield address


@pytest.fixture(scope="module")
def document(stage: tuple[Connection, Cast]) -> dict[str, Any]:
    """What FastAPI says of the endpoints, on whatever framework they are."""
    app = Application.on("FastAPI", stage[0]).app
    assert isinstance(app, FastAPI)
    return app.openapi()
