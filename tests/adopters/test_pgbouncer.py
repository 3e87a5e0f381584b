"""Behind PgBouncer in transaction pooling mode, with more clients than connections."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
import pytest
from flametrench_identity.postgres import PostgresIdentityStore
from sqlalchemy import URL, Engine, create_engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import (
    Membership,
    TenancyRepository,
    bind_tenant,
    repository_on,
)
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.migrations.grants import grants
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from tests.support.drivers import BEHIND_A_POOLER, Client, Driver
from tests.support.invariants import breaches
from tests.support.ports import free_port
from tests.support.scenes import Scene, stage
from tests.support.steps import BY_NAME, Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flametrench_tenancy_sqlalchemy.testing.servers import Server

SERVER_CONNECTIONS: Final = 3
CLIENTS: Final = 3 * SERVER_CONNECTIONS
DEADLINE: Final = 15.0
SETTINGS: Final = """
[databases]
* = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
"""
SEQUENCE: Final = [
    BY_NAME[name]
    for name in (
        "update_org",
        "add_member max",
        "change_role eve",
        "reinstate_membership sam",
        "suspend_org",
        "reinstate_org",
        "create_invitation",
        "accept_invitation by a new user",
        "transfer_ownership ann to bob",
    )
]


class Isolated(NamedTuple):
    """Where clients find a scene of which they see no more than they name."""

    url: URL
    scene: Scene


@pytest.fixture(scope="module")
def pooled(database_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """The URL of the worker's database that leads through PgBouncer."""
    with pgbouncer(database_url, tmp_path_factory.mktemp("pgbouncer")) as url:
        yield url


@contextmanager
def pgbouncer(database_url: URL, home: Path) -> Iterator[URL]:
    """Run PgBouncer in front of a database, whose user all of its clients become."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    words = {
        "host": database_url.host,
        "port": database_url.port or 5432,
        "user": database_url.username,
        "password": database_url.password,
    }
    quoted = {name: str(word).replace("'", "''") for name, word in words.items() if word}
    server = " ".join(f"{name}='{word}'" for name, word in quoted.items())
    port = free_port()
    settings, log = home / "pgbouncer.ini", home / "pgbouncer.log"
    settings.write_text(SETTINGS.format(server=server, listen_port=port, size=SERVER_CONNECTIONS))
    # It refuses to serve as root, but reads its settings before it becomes somebody else.
    somebody = ["--user", "nobody"] if os.geteuid() == 0 else []
    with (
        log.open("w") as output,
        subprocess.Popen([program, *somebody, settings], stdout=output, stderr=output) as process,
    ):
        url = database_url.set(host="127.0.0.1", port=port)
        try:
            await_answer(url, process, log)
            yield url
        finally:
            process.terminate()


def await_answer(url: URL, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when it has let the first client through to the server."""
    engine, deadline = create_engine(url, poolclass=NullPool), time.monotonic() + DEADLINE
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-1000:]  # noqa: PT018 - either way the log says why
        else:
            return
        time.sleep(0.05)


def take(step: Step, scene: Scene, tenancy: Any) -> Any:
    return step.call(tenancy, scene)


def play(client: Client, scene: Scene) -> None:
    for step in SEQUENCE:
        client.alone(partial(take, step, scene))


@pytest.mark.parametrize("driver", BEHIND_A_POOLER, ids=str)
def test_many_clients_on_few_connections_leave_what_one_leaves_without_it(
    clean_engine: Engine, pooled: URL, driver: Driver
) -> None:
    with clean_engine.begin() as connection:
        alone, *crowd = stage(connection, 1 + CLIENTS)
    play(driver.client(clean_engine.url), alone)
    client = driver.client(pooled)

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(lambda scene: play(client, scene), crowd))

    with clean_engine.connect() as connection:
        left = [scene.state(connection) for scene in crowd]
        assert left == [alone.state(connection)] * CLIENTS
        assert breaches(connection) == []


def test_so_do_neighbours_on_connections_of_their_own(clean_engine: Engine, pooled: URL) -> None:
    address = pooled.set(drivername="postgresql").render_as_string(hide_password=False)

    def work(name: str) -> str | None:
        with psycopg.connect(address, autocommit=True, prepare_threshold=None) as connection:
            tenancy = repository_on(connection)
            with connection.transaction():
                ann = PostgresIdentityStore(connection).create_user()
                org = tenancy.create_org(ann.id).org
            for step in range(10):
                tenancy.update_org(org.id, name=f"{name} {step}")
            return tenancy.get_org(org.id).name

    with ThreadPoolExecutor(CLIENTS) as threads:
        names = list(threads.map(work, map(str, range(CLIENTS))))

    assert names == [f"{client} 9" for client in range(CLIENTS)]


def test_its_clients_share_connections(pooled: URL) -> None:
    engine = create_engine(pooled, pool_size=CLIENTS, connect_args={"prepare_threshold": None})
    with ExitStack() as connected:
        clients = [connected.enter_context(engine.connect()) for _ in range(CLIENTS)]
        served_by = set()
        for client in clients:
            served_by.add(client.scalar(text("SELECT pg_backend_pid()")))
            client.commit()
    engine.dispose()
    assert len(served_by) <= SERVER_CONNECTIONS


@pytest.fixture(scope="module")
def isolated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Isolated]:
    """A scene behind PgBouncer, to whose clients row-level security shows one tenant."""
    databases, role = Databases(server), f"pooled_{secrets.token_hex(4)}"
    template = databases.ensure_template("rls", lambda url: upgrade(url, branches=["rls"]))
    owner = create_engine(databases.create(role, template=template), poolclass=NullPool)
    with owner.begin() as connection:
        (scene,) = stage(connection)
        for statement in (
            f"CREATE ROLE {role} LOGIN PASSWORD '{role}'",
            *grants(role, branches=["rls"]),
        ):
            connection.execute(text(statement))
    url = owner.url.set(username=role, password=role)
    try:
        with pgbouncer(url, tmp_path_factory.mktemp("isolated")) as pooled:
            yield Isolated(pooled, scene)
    finally:
        with owner.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}; DROP ROLE {role}"))
        databases.drop(role)


@pytest.mark.parametrize("driver", BEHIND_A_POOLER, ids=str)
def test_each_client_sees_its_own_tenant_whoever_had_the_connection_before(
    isolated: Isolated, driver: Driver
) -> None:
    scene, served_by = isolated.scene, set()
    ends = (Session.commit, Session.rollback, Session.close)

    def members(session: Session) -> int:
        served_by.add(session.scalar(text("SELECT pg_backend_pid()")))
        return len(session.scalars(select(Membership.id)).all())

    def bound(session: Session, org: str, number: int) -> None:
        bind_tenant(session, org_id=scene[org])
        for end in ends:
            assert members(session) == number
            with session.begin_nested() as savepoint:
                assert members(session) == number
                savepoint.rollback()
            assert members(session) == number
            end(session)

    def acting(session: Session) -> None:
        acting = TenancyRepository(session).acting_as(scene["ann"])
        for end in ends:
            with session.begin_nested() as savepoint:
                acting.require_role(scene["acme"])
                assert members(session) == 6
                savepoint.rollback()
            assert members(session) == 0
            acting.require_role(scene["acme"])
            assert members(session) == 6
            end(session)

    def anonymous(session: Session) -> None:
        for end in ends:
            assert members(session) == 0
            end(session)

    crowd = [
        *(partial(bound, org="acme", number=6), partial(bound, org="bolt", number=2)),
        *(acting, anonymous),
    ]
    client = driver.client(isolated.url)
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(client.visit, 2 * crowd))
    assert len(served_by) <= SERVER_CONNECTIONS
