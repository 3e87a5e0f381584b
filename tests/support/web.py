"""An application that mounts tenancy, and who calls it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread
from typing import Any, Final, TypeAlias

import httpx
import pytest
import uvicorn
from anyio.from_thread import BlockingPortal
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from starlette.types import ASGIApp

from flametrench_tenancy_sqlalchemy import PreTuple, Role, TenancyRepository
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user

IDENTIFIER: Final = "newbie@example.com"
PROJECT: Final = str(new_uuid())
TOMORROW: Final = datetime.now(UTC) + timedelta(days=1)

# Who may do what is one copy of the logic, and so need not be asked on both kinds.
one_kind_of_session = pytest.mark.parametrize("get_session", ["asynchronous"], indirect=True)

SessionDependency: TypeAlias = Callable[[], Iterator[Session] | AsyncIterator[AsyncSession]]


def sessions(engine: Engine) -> Callable[[], Iterator[Session]]:
    """Return a dependency that commits a request's Session, or rolls it back on an error."""

    def get_session() -> Iterator[Session]:
        with Session(engine) as session, session.begin():
            yield session

    return get_session


def async_sessions(engine: AsyncEngine) -> Callable[[], AsyncIterator[AsyncSession]]:
    """Return the same for asynchronous Sessions."""

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session, session.begin():
            yield session

    return get_session


@dataclass
class Cast:
    """Two organizations and everybody around them, by name.

    acme    is owned by ``owner``; ``admin``, ``member``, ``guest``, ``viewer`` belong to it, and
            ``suspended`` did
    bolt    is owned by ``rival``
    invitee is asked to join acme as a member; ``stranger`` is known to nobody
    """

    session: Session
    users: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tenancy = TenancyRepository(self.session)
        names = ("owner", "admin", "member", "guest", "viewer", "suspended", "rival")
        people = {name: make_user(self.session) for name in (*names, "invitee", "stranger")}
        self.users = {name: user.id for name, user in people.items()}
        acme = make_org(self.session, owner=people["owner"], name="Acme", slug="acme")
        bolt = make_org(self.session, owner=people["rival"], name="Bolt", slug="bolt")
        self.ids = {"acme": acme.id, "bolt": bolt.id}
        self.ids |= {f"usr:{name}": id_ for name, id_ in self.users.items()}
        for name, org in (("owner", acme), ("rival", bolt)):
            self.ids[f"mem:{name}"] = tenancy.list_members(org.id).data[0].id
        for name in ("admin", "member", "guest", "viewer", "suspended"):
            role = Role.MEMBER if name == "suspended" else Role(name)
            joined = make_member(self.session, acme, user=people[name], role=role)
            self.ids[f"mem:{name}"] = joined.id
        tenancy.suspend_membership(self.ids["mem:suspended"])
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
        """Return a path with the names in it, as in ``/orgs/{acme}``, replaced by their ids."""
        for name, id_ in self.ids.items():
            template = template.replace(f"{{{name}}}", id_)
        return template

    def headers(self, name: str) -> dict[str, str]:
        """Return what tells the application who is calling."""
        proven = {"X-Identifier": IDENTIFIER} if name == "invitee" else {}
        return {"X-User": self.users[name], **proven}


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application on a port of its own, and yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class AppClient:
    """Sends requests to an ASGI application, which runs in a thread of its own."""

    def __init__(self, app: ASGIApp, portal: BlockingPortal) -> None:
        self._app = app
        self._portal = portal

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and return the response; what the application raises is raised here."""
        return self._portal.call(partial(self._send, method, path, **options))

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.request(method, path, **options)


class As:
    """Somebody who calls the application."""

    def __init__(self, client: AppClient, cast: Cast, name: str) -> None:
        self._client = client
        self._cast = cast
        self._headers = cast.headers(name)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a request; names in the path and in the body's texts stand for ids."""
        if isinstance(body, dict):
            body = {
                key: self._cast.fill(value) if isinstance(value, str) else value
                for key, value in body.items()
            }
        options.setdefault("headers", {}).update(self._headers)
        if body is not None:
            options["json"] = body
        return self._client.request(method, self._cast.fill(path), **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a POST."""
        return self.call("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a PUT."""
        return self.call("PUT", path, body, **options)


def assert_refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Expect an error in its one form, and return its details."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body.get("code")) == (status, code), body
    assert body.keys() == {"code", "message", "details"}
    assert isinstance(body["message"], str)
    details: dict[str, Any] = body["details"]
    return details
