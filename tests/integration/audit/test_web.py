"""A request's id, address and user agent reach the log, through threads and tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from flametrench_tenancy_sqlalchemy.contrib.fastapi import (
    AuditContextMiddleware,
    Caller,
    tenancy_router,
)
from flametrench_tenancy_sqlalchemy.contrib.flask import install_audit_context
from tests.support.log import events_since, mark
from tests.support.scenes import Scene, stage
from tests.support.web import sessions

HEADERS: Final = {"X-Request-ID": "r-1", "User-Agent": "curl/8" + "x" * 600}


@pytest.fixture
def scene(clean_engine: Engine) -> Scene:
    with clean_engine.begin() as connection:
        (scene,) = stage(connection)
    return scene


@pytest.fixture
def last(clean_engine: Engine, scene: Scene) -> Callable[[], list[Any]]:
    """Returns what has been recorded since the scene was set."""
    with clean_engine.connect() as connection:
        position = mark(connection)

    def events() -> list[Any]:
        with clean_engine.connect() as connection:
            return events_since(connection, position)

    return events


def test_fastapi_tells_it_to_endpoints_in_threads_and_the_router_who_signed_in(
    clean_engine: Engine, scene: Scene, last: Callable[[], list[Any]]
) -> None:
    app = FastAPI()
    app.add_middleware(AuditContextMiddleware)
    auth, on_behalf = {"kind": "session", "session_id": "ses_1"}, {"agent_id": "a-7"}
    app.include_router(
        tenancy_router(
            session=sessions(clean_engine),
            caller=lambda: Caller(scene["ann"], auth=auth, on_behalf=on_behalf),
            gate=lambda: None,
        )
    )

    @app.post("/away/{mem_id}")
    def away(mem_id: str) -> None:  # in a thread
        with Session(clean_engine) as session, session.begin():
            TenancyRepository(session).suspend_membership(mem_id)

    (path,) = (
        path for path in app.openapi()["paths"] if path.endswith("/suspend") and "mem" in path
    )

    async def call() -> None:
        transport = httpx.ASGITransport(app, client=("192.0.2.1", 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            for where in (
                f"/away/{scene['eve@acme']}",
                path.format(mem_id=scene["dan@acme"], org_id=scene["acme"]),
            ):
                (await client.post(where, headers=HEADERS)).raise_for_status()

    asyncio.run(call())
    context = {"request_id": "r-1", "ip": "192.0.2.1", "user_agent": HEADERS["User-Agent"][:512]}
    by_hand, by_router = last()
    assert by_hand.context == by_router.context == context
    assert (by_hand.auth, by_router.auth, by_router.on_behalf) == (None, auth, on_behalf)


def test_flask_tells_it_and_forgets_it_after_the_request(
    clean_engine: Engine, scene: Scene, last: Callable[[], list[Any]]
) -> None:
    app = Flask(__name__)
    install_audit_context(app)

    def suspend(mem_id: str) -> str:
        with Session(clean_engine) as session, session.begin():
            TenancyRepository(session).suspend_membership(mem_id)
        return ""

    app.add_url_rule("/away/<mem_id>", view_func=suspend, methods=["POST"])
    client = app.test_client()
    assert client.post(f"/away/{scene['eve@acme']}", headers=HEADERS).status_code == 200
    assert client.post("/away/nobody", headers=HEADERS).status_code == 500
    suspend(scene["dan@acme"])
    during, afterwards = last()
    assert during.context["request_id"] == "r-1"
    assert during.context["ip"] == "127.0.0.1"
    assert afterwards.context is None
