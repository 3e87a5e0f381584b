"""The example worker loses nothing when it is killed, and writes nothing down twice."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from socketserver import StreamRequestHandler, TCPServer, ThreadingTCPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import AuditLog, TenancyRepository
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.examples import DEADLINE, ROOT
from tests.support.settling import settle

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase

FOLDER: Final = ROOT / "examples" / "webhooks"
KILLS: Final = int(os.environ.get("SOAK_KILLS", "10"))
WIRE_ID: Final = "'aud_' || replace(CAST({} AS text), '-', '')"
SECRET: Final = "whsec_of_acme"


class Receiver(BaseHTTPRequestHandler):
    """An endpoint that remembers what it got, and whether that was genuine."""

    got: ClassVar[list[tuple[bool, dict[str, Any]]]] = []
    answer = 204

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        genuine = signature().is_genuine(SECRET, dict(self.headers), body)
        self.got.append((genuine, json.loads(body)))
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class MailServer(StreamRequestHandler):
    """As much of SMTP as smtplib speaks."""

    got: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                for part in iter(self.rfile.readline, b".\r\n"):
                    if part.startswith(b"Message-ID"):
                        self.got.append(part.decode().strip())
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 fine\r\n")


def signature() -> Any:
    return importlib.import_module("signature")


@pytest.fixture(autouse=True)
def _in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    Receiver.got.clear()
    MailServer.got.clear()


@contextmanager
def serving(server: TCPServer) -> Iterator[str]:
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def endpoint() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Receiver)) as address:
        yield f"http://{address}/"


@pytest.fixture
def mail_server() -> Iterator[str]:
    with serving(ThreadingTCPServer(("127.0.0.1", 0), MailServer)) as address:
        yield address


@pytest.fixture
def engine(new_database: NewDatabase) -> Iterator[Engine]:
    engine = create_engine(new_database(), poolclass=NullPool)
    upgrade(engine.url, branches=["audit"])
    importlib.import_module("models").Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def org_id(engine: Engine, endpoint: str) -> str:
    """The organization whose endpoint it is."""
    with Session(engine) as session, session.begin():
        org = TenancyRepository(session).create_org(make_user(session).id).org
        told = importlib.import_module("models").Endpoint
        session.add(told(org_id=org.id, url=endpoint, secret=SECRET))
        return org.id


def happen(engine: Engine, org_id: str, times: int) -> None:
    """Let things happen, of which invitations are mailed."""
    for n in range(times):
        with Session(engine) as session, session.begin():
            AuditLog(session).write("proj.open", ("proj", str(n)), scope=("org", org_id))
            if n % 5 == 0:
                tenancy = TenancyRepository(session)
                [owner] = tenancy.list_members(org_id)
                tomorrow = datetime.now(UTC) + timedelta(days=1)
                tenancy.create_invitation(org_id, "a@example.com", "guest", owner.usr_id, tomorrow)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "nothing happens any more"
        time.sleep(0.01)


def wait_while_less_is_left(left: Callable[[], Any]) -> None:
    """Wait until nothing is left: for as long as that takes, but not where nothing happens."""
    while rest := left():
        wait_until(lambda rest=rest: left() != rest)


def test_killed_at_any_point_it_loses_nothing_and_takes_nothing_twice(
    engine: Engine, org_id: str, mail_server: str
) -> None:
    environment = os.environ | {
        "DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "MAIL_SERVER": mail_server,
        "LEASE": "0.5",
        "PYTHONPATH": str(ROOT / "src"),
    }
    with engine.begin() as connection:  # what would hide that something is taken twice
        for table, columns in (("delivery", "endpoint_id_event_id"), ("mail", "event_id")):
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {table}_{columns}_key"))
    random = Random(0)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, FOLDER / "worker.py"], env=environment)

    for _ in range(KILLS):
        before = len(Receiver.got)
        worker = start()
        happen(engine, org_id, 10)
        wait_until(lambda before=before: len(Receiver.got) > before)
        time.sleep(random.random() / 20)
        worker.kill()
        assert worker.wait() == -9
    worker = start()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        left = text(
            "SELECT (SELECT count(*) FROM aud WHERE (xid, pos) > "
            "(SELECT xid, pos FROM aud_consumer)) + (SELECT count(*) FROM delivery WHERE "
            "due_at IS NOT NULL) + (SELECT count(*) FROM mail WHERE due_at IS NOT NULL)"
        )
        wait_while_less_is_left(lambda: connection.scalar(left))
        worker.kill()
        worker.wait()
        there = connection.execute(
            text(f"SELECT {WIRE_ID.format('id')} AS id, action FROM aud")
        ).all()
        taken, mails = (
            Counter(connection.scalars(text(f"SELECT {WIRE_ID.format('event_id')} FROM {table}")))
            for table in ("delivery", "mail")
        )
    assert taken == Counter(row.id for row in there)
    assert {document["id"] for _, document in Receiver.got} == set(taken)
    assert all(genuine for genuine, _ in Receiver.got)
    invited = [row.id for row in there if row.action == "tenancy.invitation_created"]
    assert mails == Counter(invited)
    assert {line.partition("<")[2].partition("@")[0] for line in MailServer.got} == set(invited)


def test_what_fails_is_tried_again_later_and_given_up_in_the_end(
    engine: Engine, org_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, models = importlib.import_module("worker"), importlib.import_module("models")
    sessions = sessionmaker(engine, expire_on_commit=False)
    monkeypatch.setattr(worker, "WAITS", [timedelta(0), timedelta(0), timedelta(days=1)])
    monkeypatch.setattr(Receiver, "answer", 500)
    settle(engine)
    with sessions.begin() as session:
        assert worker.take(session) == 2

    def outcomes() -> list[tuple[Any, ...]]:
        query = text("SELECT DISTINCT attempts, due_at > now(), error FROM delivery")
        with sessions.begin() as session:
            return [tuple(row) for row in session.execute(query)]

    for _ in range(6):
        assert worker.send_next(sessions, models.Delivery, worker.post)
    assert not worker.send_next(sessions, models.Delivery, worker.post)
    assert outcomes() == [(3, True, "HTTP Error 500: Internal Server Error")]
    assert len(Receiver.got) == 6
    monkeypatch.setattr(Receiver, "answer", 204)
    with sessions.begin() as session:
        session.execute(text("UPDATE delivery SET due_at = now()"))
    while worker.send_next(sessions, models.Delivery, worker.post):
        pass
    assert outcomes() == [(4, None, None)]


def test_a_request_is_genuine_by_its_secret_its_content_and_its_age() -> None:
    sign, genuine = signature().signed, signature().is_genuine
    headers = sign(SECRET, "aud_1", b"{}")
    assert genuine(SECRET, headers, b"{}")
    old = {**headers, "Webhook-Signature": f"v1,another {headers['Webhook-Signature']}"}
    assert genuine(SECRET, old, b"{}")
    for secret, given, body in (
        ("another", headers, b"{}"),
        (SECRET, headers, b"[]"),
        (SECRET, {**headers, "Webhook-Id": "aud_2"}, b"{}"),
        (SECRET, sign(SECRET, "aud_1", b"{}", at=time.time() - 1000), b"{}"),
        (SECRET, {}, b"{}"),
    ):
        assert not genuine(secret, given, body)
