"""An application that mounts tenancy, on synchronous and asynchronous Sessions, and its callers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol

import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI, Header, HTTPException
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import PreTuple
from flametrench_tenancy_sqlalchemy.contrib.fastapi import Caller, tenancy_router
from tests.support.web import (
    PROJECT,
    AppClient,
    As,
    Cast,
    SessionDependency,
    async_sessions,
    sessions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


class Acting(Protocol):
    """Returns somebody who calls the application, by name."""

    def __call__(self, name: str) -> As: ...


def get_caller(
    x_user: Annotated[str | None, Header()] = None,
    x_identifier: Annotated[str | None, Header()] = None,
) -> Caller:
    """Believe the headers, as no application should."""
    if x_user is None:
        raise HTTPException(401)
    return Caller(x_user, x_identifier)


def operator_only(x_operator: Annotated[str | None, Header()] = None) -> None:
    """Let the operator pass."""
    if x_operator is None:
        raise HTTPException(403)


def may_grant(caller: Caller, org_id: str, grant: PreTuple) -> bool:
    """Let everybody share the one project that there is."""
    return grant == PreTuple("editor", "proj", PROJECT)


@pytest.fixture(params=["synchronous", "asynchronous"])
def get_session(request: pytest.FixtureRequest, clean_engine: Engine) -> SessionDependency:
    """The application's dependency that yields a request's Session, of one kind and the other."""
    if request.param == "synchronous":
        return sessions(clean_engine)
    url = clean_engine.url.set(drivername="postgresql+psycopg")
    return async_sessions(create_async_engine(url, poolclass=NullPool))


@pytest.fixture
def app(get_session: SessionDependency) -> FastAPI:
    """An application with the tenancy endpoints and none else."""
    app = FastAPI()
    app.include_router(
        tenancy_router(
            session=get_session, caller=get_caller, gate=operator_only, may_grant=may_grant
        )
    )
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[AppClient]:
    """Sends requests to the application."""
    with start_blocking_portal() as portal:
        yield AppClient(app, portal)


@pytest.fixture
def cast(clean_engine: Engine) -> Cast:
    """Two organizations and everybody around them."""
    with Session(clean_engine) as session:
        return Cast(session)


@pytest.fixture
def acting(client: AppClient, cast: Cast) -> Acting:
    """Calls the application in somebody's name."""
    return lambda name: As(client, cast, name)
