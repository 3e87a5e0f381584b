"""PostgreSQL in a container, through testcontainers, where a Docker engine answers."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .embedded import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE_VARIABLE = "TENANCY_TEST_POSTGRES_IMAGE"
DEFAULT_IMAGE = "postgres:18-alpine"

_PING_SECONDS = 3


class ContainerError(RuntimeError):
    """The Docker engine answers but could not start PostgreSQL, say for want of the image."""


def chosen_image() -> str | None:
    """Return the image that somebody asked for, if anybody did."""
    return os.environ.get(IMAGE_VARIABLE) or None


def engine_answers() -> bool:
    """Tell whether a Docker engine answers at once; the command line tool alone is not one."""
    if find_spec("testcontainers") is None:
        return False
    # Heavy, and only there with the extra.
    from docker.errors import DockerException  # noqa: PLC0415
    from testcontainers.core.docker_client import DockerClient, get_docker_host  # noqa: PLC0415

    if not _socket_answers(get_docker_host() or "unix:///var/run/docker.sock"):
        return False
    try:
        client = DockerClient(timeout=_PING_SECONDS).client
    except (DockerException, OSError):
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


def _socket_answers(host: str) -> bool:
    """Tell whether somebody listens on a unix socket; of other addresses, say that it may be.

    Docker's client finds out as well, but leaves its socket open when nobody is there.
    """
    scheme, _, path = host.partition("://")
    if scheme not in {"unix", "http+unix"}:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PING_SECONDS)
        return probe.connect_ex(path) == 0


@contextmanager
def running_container() -> Iterator[tuple[str, str]]:
    """Run a container for as long as the tests need it and yield its URL and image.

    Raises:
        ContainerError: the engine could not start it.
    """
    # Heavy, and only there with the extra.
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

    image = chosen_image() or DEFAULT_IMAGE
    settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    container = PostgresContainer(image, driver=None, password=secrets.token_hex(16))
    container = container.with_command(f"postgres {settings}")
    try:
        container.start()
    except Exception as exc:
        container.stop()
        raise ContainerError(f"Docker could not run {image}: {exc}") from exc
    try:
        yield container.get_connection_url(), image
    finally:
        container.stop()
