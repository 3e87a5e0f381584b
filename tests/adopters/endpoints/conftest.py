"""The tenancy endpoints in applications on FastAPI and on Flask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from flask import Flask
from sqlalchemy import literal, select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flametrench_tenancy_sqlalchemy import PreTuple, TenancyRepository
from flametrench_tenancy_sqlalchemy.contrib.fastapi import Caller, tenancy_router
from flametrench_tenancy_sqlalchemy.contrib.flask import Tenancy
from tests.support.web import (
    PROJECT,
    Ask,
    Cast,
    asgi,
    calling,
    get_caller,
    only_operators,
    operator_only,
    served,
    served_wsgi,
    sessions,
)

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


def may_grant(session: Session, caller: Caller, org_id: str, grant: PreTuple) -> bool:
    """Let everybody share the one project that there is, as the database finds it."""
    found = session.scalar(select(literal(UUID(grant.object_id))))
    return (grant.relation, str(found)) == ("editor", PROJECT)


def on_fastapi(connection: Connection) -> FastAPI:
    app = FastAPI()
    app.include_router(
        tenancy_router(
            session=sessions(connection), caller=get_caller, gate=operator_only, may_grant=may_grant
        )
    )
    return app


def on_flask(connection: Connection) -> Flask:
    app = Flask(__name__)
    session = scoped_session(sessionmaker(connection, join_transaction_mode="create_savepoint"))
    app.teardown_appcontext(lambda _: session.remove())
    endpoints = Tenancy(session).blueprint(caller=calling, gate=only_operators, may_grant=may_grant)
    app.register_blueprint(endpoints)
    return app


@pytest.fixture(scope="module")
def document(stage: tuple[Connection, Cast]) -> dict[str, Any]:
    """What FastAPI says of the endpoints, on whatever framework they are."""
    return on_fastapi(stage[0]).openapi()


@pytest.fixture(scope="module", params=["FastAPI", "Flask"])
def app(request: pytest.FixtureRequest, stage: tuple[Connection, Cast]) -> FastAPI | Flask:
    """An application with the tenancy endpoints and none else."""
    return on_fastapi(stage[0]) if request.param == "FastAPI" else on_flask(stage[0])


@pytest.fixture(scope="module")
def asked(app: FastAPI | Flask, cast: Cast) -> Iterator[Ask]:
    if isinstance(app, Flask):
        app.testing = True
        transport = httpx.WSGITransport(app)
        with httpx.Client(transport=transport, base_url="http://app") as client:
            yield Ask(client.request, cast)
    else:
        with asgi(app) as send:
            yield Ask(send, cast)


@pytest.fixture
def ask(asked: Ask, connection: Connection) -> Ask:
    """Sends requests to the application."""
    return asked


@pytest.fixture(scope="module")
def address(app: FastAPI | Flask) -> Iterator[str]:
    """Where the application is served."""
    with served_wsgi(app) if isinstance(app, Flask) else served(app) as address:
        yield address
