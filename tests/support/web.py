"""Who calls an application that uses tenancy, and how."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread
from typing import Annotated, Any, Final, TypeAlias

import httpx
import uvicorn
from anyio.from_thread import start_blocking_portal
from fastapi import Header, HTTPException
from flask import Flask, abort, request
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session
from starlette.types import ASGIApp
from werkzeug.serving import make_server

from flametrench_tenancy_sqlalchemy import PreTuple, Role, TenancyRepository
from flametrench_tenancy_sqlalchemy.contrib.fastapi import Caller
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user

IDENTIFIER: Final = "newbie@example.com"
PROJECT: Final = str(new_uuid())
TOMORROW: Final = datetime.now(UTC) + timedelta(days=1)

Send: TypeAlias = Callable[..., httpx.Response]


def sessions(bind: Engine | Connection) -> Callable[[], Iterator[Session]]:
    """Return a dependency that commits a request's Session, or rolls it back on an error."""

    def get_session() -> Iterator[Session]:
        with Session(bind, join_transaction_mode="create_savepoint") as session, session.begin():
            yield session

    return get_session


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


def calling() -> Caller:
    """Do the same in Flask."""
    return Caller(request.headers.get("X-User") or abort(401), request.headers.get("X-Identifier"))


def only_operators() -> None:
    """Do the same in Flask."""
    if "X-Operator" not in request.headers:
        abort(403)


@dataclass
class Cast:
    """Two organizations and everybody around them, by name.

    acme    is owned by ``owner``; ``admin``, ``member``, ``guest``, ``viewer``, ``editor`` belong
            to it, and ``suspended`` and ``removed`` did
    bolt    is owned by ``rival``
    invitee is asked to join acme as a member; ``stranger`` is known to nobody
    """

    session: Session
    users: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tenancy = TenancyRepository(self.session)
        joining = ("admin", "member", "guest", "viewer", "editor", "suspended", "removed")
        others = ("owner", "rival", "invitee", "stranger")
        people = {name: make_user(self.session) for name in (*joining, *others)}
        self.users = {name: user.id for name, user in people.items()}
        acme = make_org(self.session, owner=people["owner"], name="Acme", slug="acme")
        bolt = make_org(self.session, owner=people["rival"], name="Bolt", slug="bolt")
        self.ids = {"acme": acme.id, "bolt": bolt.id}
        self.ids |= {f"usr:{name}": id_ for name, id_ in self.users.items()}
        for name, org in (("owner", acme), ("rival", bolt)):
            self.ids[f"mem:{name}"] = tenancy.list_members(org.id).data[0].id
        for name in joining:
            role = Role(name) if name in set(Role) else Role.MEMBER
            joined = make_member(self.session, acme, user=people[name], role=role)
            self.ids[f"mem:{name}"] = joined.id
        tenancy.suspend_membership(self.ids["mem:suspended"])
        tenancy.admin_remove(self.ids["mem:removed"], self.users["owner"])
        for org, owner in ((acme, "owner"), (bolt, "rival")):
            self.ids[f"inv:{org.slug}"] = tenancy.create_invitation(
                org.id,
                IDENTIFIER,
                Role.MEMBER,
                self.users[owner],
                TOMORROW,
                pre_tuples=[PreTuple("editor", "proj", PROJECT)],
            ).id
        self.session.commit()

    def fill(self, template: str) -> str:
        """Return a text with the names in it, as in ``/orgs/{acme}``, replaced by their ids."""
        for name, id_ in self.ids.items():
            template = template.replace(f"{{{name}}}", id_)
        return template

    def headers(self, name: str) -> dict[str, str]:
        """Return what tells the application who is calling; ``nobody`` says nothing."""
        proven = {"X-Identifier": IDENTIFIER} if name == "invitee" else {}
        return {"X-User": self.users[name], **proven} if name != "nobody" else {}


class Ask:
    """Sends requests in somebody's name, as in ``ask("owner PUT /orgs/{acme}", {"slug": None})``.

    Names in the path and in the body stand for ids.
    """

    def __init__(self, send: Send, cast: Cast) -> None:
        self._send = send
        self._cast = cast

    def __call__(self, request: str, body: Any = None, **options: Any) -> httpx.Response:
        caller, method, path = request.split(" ")
        headers = self._cast.headers(caller) | options.pop("headers", {})
        if body is not None:
            options["content"] = self._cast.fill(json.dumps(body)).encode()
        if "content" in options:
            headers.setdefault("Content-Type", "application/json")
        return self._send(method, self._cast.fill(path), headers=headers, **options)


@contextmanager
def asgi(app: ASGIApp, at_end: Callable[[], Awaitable[None]] | None = None) -> Iterator[Send]:
    """Run an ASGI application; what it raises is raised by whoever sends the request."""

    async def send(method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.request(method, path, **options)

    with start_blocking_portal() as portal:
        yield lambda method, path, **options: portal.call(partial(send, method, path, **options))
        if at_end is not None:
            portal.call(at_end)


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application by a server of its own, and return its address."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def served_wsgi(app: Flask) -> Iterator[str]:
    """Serve a WSGI application in the same way, one request after the other."""
    server = make_server("127.0.0.1", 0, app)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def wsgi(app: Flask) -> Iterator[Send]:
    """Serve a WSGI application, and send requests to it, however busy the machine is."""
    with served_wsgi(app) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client.request


def wrong_bodies(*names: str) -> Iterator[bytes]:
    """Yield what is no JSON object that has some text of each name and nothing else."""
    yield from (b"", b"{", b"null", b"[]", b'"text"', b"7", b"{}", b"\xff", b"[" * 100_000)
    yield b"1" * 5_000
    right = dict.fromkeys(names, "text")
    yield json.dumps(right | {"unknown": "text"}).encode()
    for name in names:
        yield json.dumps({other: "text" for other in names if other != name}).encode()
        for value in (7, True, None, ["text"], {"text": "text"}):
            yield json.dumps(right | {name: value}).encode()


def assert_refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Expect an error in its one form, and return its details."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body.get("code")) == (status, code), body
    assert body.keys() == {"code", "message", "details"}
    assert isinstance(body["message"], str)
    details: dict[str, Any] = body["details"]
    return details
