"""FastAPI's threads and its event loop: Sessions that one would lose, or the other wait for."""

# FastAPI reads the annotations, which name what is local to a function: they must be evaluated.

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final

import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from starlette.concurrency import run_in_threadpool
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from flametrench_tenancy_sqlalchemy import Membership, TenancyRepository
from flametrench_tenancy_sqlalchemy.contrib.fastapi import (
    async_repository,
    install_error_handlers,
    repository,
    require_role,
    tenancy_router,
)
from tests.support.web import Ask, Cast, asgi, get_caller, operator_only, served, sessions

REGISTRIES: Final = ["scoped_session", "async_scoped_session"]


@pytest.fixture
def cast(clean_engine: Engine) -> Cast:
    with Session(clean_engine) as session:
        return Cast(session)


@pytest.fixture
def pooled(clean_engine: Engine) -> Iterator[Engine]:
    """An engine with as many connections as an application has that does not think about it."""
    engine = create_engine(clean_engine.url, pool_timeout=20)
    yield engine
    engine.dispose()


def application(get_session: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(tenancy_router(session=get_session, caller=get_caller, gate=operator_only))

    @app.get("/repository/{org_id}")
    def ask_repository(
        org_id: str, tenancy: Annotated[TenancyRepository, Depends(repository(get_session))]
    ) -> str | None:
        return tenancy.get_org(org_id).name

    @app.get("/awaited/{org_id}")
    async def await_repository(
        org_id: str, tenancy: Annotated[Any, Depends(async_repository(get_session))]
    ) -> None:
        await tenancy.get_org(org_id)

    @app.get("/guard/{org_id}")
    def guard(
        membership: Annotated[
            Membership, Depends(require_role(session=get_session, caller=get_caller))
        ],
    ) -> str:
        return membership.role

    @app.get("/blocking/{org_id}")
    async def block(
        org_id: str, tenancy: Annotated[TenancyRepository, Depends(repository(get_session))]
    ) -> str | None:
        return tenancy.get_org(org_id).name

    @app.get("/threaded/{org_id}")
    async def go_into_a_thread(
        org_id: str, tenancy: Annotated[TenancyRepository, Depends(repository(get_session))]
    ) -> str | None:
        org = await run_in_threadpool(tenancy.get_org, org_id)
        return org.name

    async def resolve(
        org_id: str, tenancy: Annotated[TenancyRepository, Depends(repository(get_session))]
    ) -> str | None:
        return tenancy.get_org(org_id).name

    @app.get("/blocked-before/{org_id}")
    def take(name: Annotated[str | None, Depends(resolve)]) -> str | None:
        return name

    return app


@pytest.mark.parametrize(
    "request_, kind",
    [
        *((request_, kind) for request_ in ("PUT /orgs", "GET /guard") for kind in REGISTRIES),
        *(("GET /repository", kind) for kind in ("AsyncSession", *REGISTRIES)),
        *(("GET /awaited", kind) for kind in ("Session", *REGISTRIES)),
    ],
)
def test_only_a_session_of_the_requests_own_is_taken(
    clean_engine: Engine, cast: Cast, request_: str, kind: str
) -> None:
    doors: dict[str, Any] = {
        "Session": lambda: Session(clean_engine),
        "AsyncSession": AsyncSession,
        "scoped_session": lambda: scoped_session(sessionmaker(clean_engine)),
        "async_scoped_session": lambda: async_scoped_session(
            async_sessionmaker(), asyncio.current_task
        ),
    }

    async def get_session() -> AsyncIterator[Any]:
        yield doors[kind]()

    with (
        asgi(application(get_session)) as send,
        pytest.raises(TypeError, match=f"request's (Async)?Session, not {kind}$"),
    ):
        Ask(send, cast)(f"owner {request_}/{{acme}}", {"name": "New"})


def answers(app: FastAPI, cast: Cast, path: str, count: int) -> list[httpx.Response]:
    """Return what a server answers to requests that come at the same time."""

    async def ask(address: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            headers = cast.headers("owner")
            return await asyncio.gather(
                *(client.get(cast.fill(path), headers=headers) for _ in range(count))
            )

    with served(app) as address:
        return asyncio.run(ask(address))


@pytest.mark.parametrize("kind", ["orgs", "repository", "guard", "threaded"])
def test_more_requests_than_connections_wait_their_turn(
    pooled: Engine, cast: Cast, kind: str
) -> None:
    app = application(sessions(pooled))
    assert {a.status_code for a in answers(app, cast, f"/{kind}/{{acme}}", 30)} == {200}


@pytest.mark.parametrize("kind", ["blocking", "blocked-before"])
def test_a_synchronous_repository_is_refused_to_the_event_loop(
    pooled: Engine, cast: Cast, kind: str
) -> None:
    app, path = application(sessions(pooled)), f"/{kind}/{{acme}}"
    assert {a.status_code for a in answers(app, cast, path, 30)} == {500}
    with asgi(app) as send, pytest.raises(RuntimeError, match="would block the event loop"):
        Ask(send, cast)(f"owner GET {path}")


def test_a_route_that_names_no_organization_says_so(clean_engine: Engine, cast: Cast) -> None:
    app, get_session = FastAPI(), sessions(clean_engine)
    guard = require_role(session=get_session, caller=get_caller)
    app.get("/roles", dependencies=[Depends(guard)])(lambda: None)
    with asgi(app) as send, pytest.raises(LookupError, match="has no parameter 'org_id'"):
        Ask(send, cast)("owner GET /roles")


def test_a_role_is_required_of_websockets(clean_engine: Engine, cast: Cast) -> None:
    get_session, app = sessions(clean_engine), FastAPI()
    install_error_handlers(app)
    managers = require_role("owner", "admin", session=get_session, caller=get_caller)

    @app.websocket("/{org_id}/news")
    async def news(
        org_id: str,
        websocket: WebSocket,
        manager: Annotated[Membership, Depends(managers)],
        tenancy: Annotated[TenancyRepository, Depends(repository(get_session))],
    ) -> None:
        await websocket.accept()
        await websocket.send_text(manager.role)
        await run_in_threadpool(tenancy.get_org_by_slug, "nowhere")

    with served(app) as address:
        url = f"{address}/acme/news".replace("http", "ws", 1)
        with connect(url, additional_headers=cast.headers("admin")) as client:
            assert client.recv() == "admin"
            with pytest.raises(ConnectionClosedError) as closed:
                client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "not_found")
        for name in ("guest", "stranger"):
            with (
                pytest.raises(InvalidStatus) as refused,
                connect(url, additional_headers=cast.headers(name)),
            ):
                pass
            assert refused.value.response.status_code == 403
