"""The example applications as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import httpx
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

ROOT: Final = Path(__file__).parents[2]
DEADLINE: Final = 120.0
COUNTED: Final = text(
    """
    SELECT count(DISTINCT org.id), count(DISTINCT mem.id), count(DISTINCT tup.id),
        count(DISTINCT project.id)
    FROM org LEFT JOIN mem ON mem.org_id = org.id LEFT JOIN tup ON tup.object_id = org.id
        LEFT JOIN project ON project.org_id = org.id
    WHERE slug = :slug
    """
)


@dataclass
class Application:
    """A running example: its process, its address and its database."""

    process: subprocess.Popen[bytes]
    address: str
    engine: Engine | None

    def client(self, token: str = "nobody") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=DEADLINE)

    def account(self) -> httpx.Client:
        """Return somebody who has signed up."""
        email = f"{uuid4()}@example.com"
        with self.client() as client:
            assert client.post("/accounts", json={"email": email}).status_code == 201
        return self.client(email)

    def counted(self, slug: str) -> list[int]:
        """Count organizations, memberships, tuples and projects."""
        assert self.engine is not None
        with self.engine.connect() as connection:
            return list(connection.execute(COUNTED, {"slug": slug}).one())


@contextmanager
def running(name: str, folder: Path, database: URL | None) -> Iterator[Application]:
    """Start an example, and return it when it answers."""
    port, log = free_port(), folder / "log"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}  # installed or not
    environment.pop("DATABASE_URL", None)
    if database is not None:
        environment["DATABASE_URL"] = database.render_as_string(hide_password=False)
    command = [sys.executable, str(ROOT / "examples" / name / "run.py"), str(port)]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + DEADLINE
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    httpx.get(f"{address}/nowhere/projects", timeout=DEADLINE)
                except httpx.ConnectError:
                    time.sleep(0.05)
                else:
                    break
            assert process.poll() is None, log.read_text()
            yield Application(
                process, address, create_engine(database, poolclass=NullPool) if database else None
            )
            process.terminate()
            process.wait(30)
        finally:
            process.kill()
