"""The server that the pytest plugin finds, starts and shares among processes."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from multiprocessing.connection import Client
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.testing import containers, embedded, servers
from flametrench_tenancy_sqlalchemy.testing.containers import ContainerError
from flametrench_tenancy_sqlalchemy.testing.handover import ServerGuest, ServerOwner
from flametrench_tenancy_sqlalchemy.testing.servers import NoServerError, Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestTheServer:
    """Which server a run gets."""

    @pytest.fixture(autouse=True)
    def docker_and_wheel(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything but a named server is at hand."""

        @contextmanager
        def container() -> Iterator[tuple[str, str]]:
            yield server.address, "postgres:test"

        @contextmanager
        def embedded_server() -> Iterator[str]:
            yield server.address

        monkeypatch.delenv(servers.URL_VARIABLE, raising=False)
        monkeypatch.delenv(containers.IMAGE_VARIABLE, raising=False)
        monkeypatch.setattr(containers, "engine_answers", lambda: True)
        monkeypatch.setattr(containers, "running_container", container)
        monkeypatch.setattr(embedded, "is_installed", lambda: True)
        monkeypatch.setattr(embedded, "running_embedded_server", embedded_server)

    @pytest.fixture
    def no_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Docker cannot fetch the image."""

        @contextmanager
        def no_container() -> Iterator[tuple[str, str]]:
            raise ContainerError("no such image\nand a long story")
            yield

        monkeypatch.setattr(containers, "running_container", no_container)

    def test_is_the_named_one_or_a_container_or_the_embedded_one(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch, running_server() as found:
            assert str(found).startswith("Docker image postgres:test, PostgreSQL ")
            patch.setenv(servers.URL_VARIABLE, server.address)
            with running_server() as named:
                assert (named.source, named.disposable) == (servers.URL_VARIABLE, False)
        monkeypatch.setattr(containers, "engine_answers", lambda: False)
        with running_server() as found:
            assert str(found).startswith(f"embedded PostgreSQL {server.version} (")
            assert found.disposable
        monkeypatch.setattr(embedded, "is_installed", lambda: False)
        with pytest.raises(NoServerError, match="set TENANCY_TEST_DATABASE_URL, start Docker, or"):
            running_server().__enter__()

    @pytest.mark.usefixtures("no_image")
    def test_is_the_embedded_one_where_docker_has_no_image_that_was_asked_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with running_server() as found:
            assert str(found).endswith("); no such image")
        monkeypatch.setenv(containers.IMAGE_VARIABLE, "postgres:0")
        with pytest.raises(ContainerError):
            running_server().__enter__()


def test_a_server_shows_no_password_and_takes_another_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server("postgres://me:secret@db:5433/app", "named", disposable=False, version="18.0")
    assert str(server) == "named PostgreSQL 18.0 (db:5433)"
    assert server.database_url("other").password == "secret"

    monkeypatch.setenv(servers.DRIVER_VARIABLE, "pg8000")
    assert server.database_url("some").drivername == "postgresql+pg8000"
    assert server.url.drivername == "postgresql+psycopg"


def test_a_docker_engine_that_is_absent_or_silent_counts_as_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(containers, "_PING_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for host in (f"unix://{tmp_path}/nobody.sock", "tcp://{}:{}".format(*silent.getsockname())):
            monkeypatch.setenv("DOCKER_HOST", host)
            assert not containers.engine_answers()


def test_the_embedded_server_listens_on_tcp_asks_for_its_password_and_goes_away() -> None:
    with embedded.running_embedded_server() as address:
        described = Server(address, "embedded", disposable=True)
        engine = create_engine(described.url, poolclass=NullPool)
        with engine.connect() as connection:
            settings = {
                name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
                for name in embedded.SETTINGS
            }
            data = Path(connection.exec_driver_sql("SHOW data_directory").scalar_one())
            sockets = connection.exec_driver_sql("SHOW unix_socket_directories").scalar_one()
        assert settings == embedded.SETTINGS
        for host, password in product(("127.0.0.1", sockets), (None, "postgres")):
            url = URL.create("postgresql+psycopg", "postgres", password, host, described.url.port)
            with pytest.raises(OperationalError, match="password"):
                create_engine(url, poolclass=NullPool).connect()

    assert not data.parent.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", described.url.port or 0)) != 0


class TestHandover:
    """One process owns the server; the others ask it."""

    @pytest.fixture
    def owner(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerOwner]:
        monkeypatch.setenv(servers.URL_VARIABLE, server.address)
        owner = ServerOwner()
        yield owner
        owner.close()

    def test_all_guests_get_the_owners_server_and_strangers_nothing(
        self, owner: ServerOwner
    ) -> None:
        host, port, _ = invitation = owner.invite()
        with pytest.raises(Exception, match="digest"):
            Client((host, port), authkey=b"guessed")
        with socket.create_connection((host, port)):
            pass  # one that hangs up without a word

        with ThreadPoolExecutor(8) as guests:
            found = list(guests.map(lambda _: ServerGuest(invitation).get(), range(8)))

        assert found == [owner.server] * 8
        assert found[0] is not None

    def test_a_server_that_does_not_start_is_the_guests_error_too(
        self, owner: ServerOwner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> None:
            raise NoServerError("nothing here")

        monkeypatch.setattr(servers, "running_server", fail)

        with pytest.raises(RuntimeError, match="NoServerError: nothing here"):
            ServerGuest(owner.invite()).get()
