"""PgBouncer in transaction pooling mode, in front of the server of the test run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.support.ports import free_port

SERVER_CONNECTIONS: Final = 3
"""How many there are for all clients together: so few that they have to share."""

_DEADLINE: Final = 15.0
_SETTINGS: Final = """
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


@contextmanager
def running_pgbouncer(database: URL, home: Path) -> Iterator[URL]:
    """Run a PgBouncer in front of a database, and yield the URL that leads through it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    settings, listen_port = home / "pgbouncer.ini", free_port()
    settings.write_text(
        _SETTINGS.format(
            server=_server(database),
            listen_port=listen_port,
            size=SERVER_CONNECTIONS,
        )
    )
    # It refuses to serve as root, but reads its settings before it becomes somebody else.
    somebody = ["--user", "nobody"] if os.geteuid() == 0 else []
    log = home / "pgbouncer.log"
    with (
        log.open("w") as output,
        subprocess.Popen([program, *somebody, settings], stdout=output, stderr=output) as process,
    ):
        try:
            url = database.set(host="127.0.0.1", port=listen_port)
            _await_answer(url, process, log)
            yield url
        finally:
            process.terminate()


def _server(database: URL) -> str:
    words = {"host": database.host, "port": database.port or 5432, "user": database.username}
    if database.password:
        words["password"] = database.password
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in words.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _await_answer(url: URL, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when it has let the first client through to the server."""
    engine = create_engine(url, poolclass=NullPool)
    deadline = time.monotonic() + _DEADLINE
    while True:
        try:
            with engine.connect():
                return
        except OperationalError as exc:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"PgBouncer does not answer:\n{log.read_text()[-1000:]}"
                ) from exc
        time.sleep(0.05)
