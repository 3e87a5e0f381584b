"""The server that the pytest plugin finds, starts and shares among processes."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from multiprocessing.connection import Client
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.testing import containers, embedded, servers
from flametrench_tenancy_sqlalchemy.testing.containers import ContainerError
from flametrench_tenancy_sqlalchemy.testing.handover import ServerGuest, ServerOwner
from flametrench_tenancy_sqlalchemy.testing.servers import NoServerError, Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_container() -> Iterator[tuple[str, str]]:
    """What Docker does where it cannot fetch the image."""
    raise ContainerError("no such image\nand a long story")
    yield


class TestTheServer:
    """Which server a run gets."""

    @pytest.fixture(autouse=True)
    def nothing_at_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(servers.URL_VARIABLE, raising=False)
        monkeypatch.setattr(containers, "engine_answers", lambda: False)
        monkeypatch.setattr(embedded, "is_installed", lambda: False)

    @pytest.fixture
    def docker(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextmanager
        def container() -> Iterator[tuple[str, str]]:
            yield server.address, "postgres:test"

        monkeypatch.setattr(containers, "engine_answers", lambda: True)
        monkeypatch.setattr(containers, "running_container", container)

    @pytest.fixture
    def wheel(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextmanager
        def embedded_server() -> Iterator[str]:
            yield server.address

        monkeypatch.setattr(embedded, "is_installed", lambda: True)
        monkeypatch.setattr(embedded, "running_embedded_server", embedded_server)

    @pytest.mark.usefixtures("docker", "wheel")
    def test_is_first_of_all_the_one_that_is_named(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(servers.URL_VARIABLE, server.address)

        with running_server() as found:
            assert (found.source, found.disposable) == ("TENANCY_TEST_DATABASE_URL", False)

    @pytest.mark.usefixtures("docker", "wheel")
    def test_is_a_container_where_docker_answers(self) -> None:
        with running_server() as found:
            assert str(found).startswith("Docker image postgres:test, PostgreSQL ")

    @pytest.mark.usefixtures("wheel")
    def test_is_the_embedded_one_otherwise(self, server: Server) -> None:
        with running_server() as found:
            assert str(found).startswith(f"embedded PostgreSQL {server.version} (")
            assert found.disposable

    @pytest.mark.usefixtures("docker", "wheel")
    def test_is_the_embedded_one_where_docker_has_no_image(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(containers, "running_container", no_container)
        monkeypatch.delenv(containers.IMAGE_VARIABLE, raising=False)

        with running_server() as found:
            assert str(found).endswith("); no such image")

    @pytest.mark.usefixtures("docker", "wheel")
    def test_is_nothing_else_where_an_image_was_asked_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(containers, "running_container", no_container)
        monkeypatch.setenv(containers.IMAGE_VARIABLE, "postgres:0")

        with pytest.raises(ContainerError):
            running_server().__enter__()

    def test_is_missed_with_a_hint(self) -> None:
        with pytest.raises(NoServerError, match="set TENANCY_TEST_DATABASE_URL, start Docker, or"):
            running_server().__enter__()

    def test_never_shows_its_password(self) -> None:
        server = Server(
            "postgres://me:secret@db:5433/app", "named", disposable=False, version="18.0"
        )

        assert str(server) == "named PostgreSQL 18.0 (db:5433)"
        assert server.database_url("other").password == "secret"


class TestDocker:
    """An engine counts only when it answers."""

    def test_without_an_engine_says_no_at_once(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")

        assert not containers.engine_answers()

    def test_an_engine_that_keeps_silent_counts_as_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(containers, "_PING_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{silent.getsockname()[1]}")

            assert not containers.engine_answers()


class TestTheEmbeddedServer:
    """PostgreSQL out of a wheel."""

    def test_listens_on_tcp_and_goes_away(self) -> None:
        with embedded.running_embedded_server() as address:
            described = Server(address, "embedded", disposable=True)
            engine = create_engine(described.url, poolclass=NullPool)
            with engine.connect() as connection:
                settings = {
                    name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
                    for name in embedded.SETTINGS
                }
                data = Path(connection.exec_driver_sql("SHOW data_directory").scalar_one())
            assert settings == embedded.SETTINGS

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

    def test_all_guests_get_the_owners_server(self, owner: ServerOwner) -> None:
        invitation = owner.invite()
        found: list[Server] = []
        guests = [
            threading.Thread(target=lambda: found.append(ServerGuest(invitation).get()))
            for _ in range(8)
        ]

        for guest in guests:
            guest.start()
        for guest in guests:
            guest.join()

        assert found == [owner.server] * 8

    def test_a_stranger_does_not_shut_the_door(self, owner: ServerOwner) -> None:
        host, port, _ = invitation = owner.invite()

        with pytest.raises(Exception, match="digest"):
            Client((host, port), authkey=b"guessed")
        with socket.create_connection((host, port)):
            pass  # one that hangs up without a word

        assert ServerGuest(invitation).get() == owner.get()

    def test_a_server_that_does_not_start_is_the_guests_error_too(
        self, owner: ServerOwner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> None:
            raise NoServerError("nothing here")

        monkeypatch.setattr(servers, "running_server", fail)

        with pytest.raises(RuntimeError, match="NoServerError: nothing here"):
            ServerGuest(owner.invite()).get()
