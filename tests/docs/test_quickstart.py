"""Whoever follows the quickstart gets what it says, with each framework and without."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.support.guides import chapters
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.guides import Block, Reader

FASTAPI, FLASK, PLAIN = chapters("quickstart.md")
SERVE: Final = re.compile("uvicorn|flask")
COUNTED: Final = text(
    """
    SELECT (SELECT count(*) FROM usr), (SELECT count(*) FROM org), (SELECT count(*) FROM project)
    """
)


@contextmanager
def serving(reader: Reader, command: str) -> Iterator[None]:
    """Serve what the reader has written, in the way that they are told, until they are done."""
    port = reader.variables["PORT"] = str(free_port())
    log = reader.folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["bash", "-c", f"exec {command.replace('8000', port)}"],
            cwd=reader.folder,
            env=reader.variables,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            answered, deadline = False, time.monotonic() + 60
            while not answered and process.poll() is None and time.monotonic() < deadline:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/", timeout=60)
                    answered = True
                except httpx.ConnectError:
                    time.sleep(0.05)
            assert answered, log.read_text()
            yield
        finally:
            process.kill()


def counted(reader: Reader) -> list[int]:
    """Count users, organizations and projects."""
    with create_engine(reader.database, poolclass=NullPool).connect() as connection:
        return list(connection.execute(COUNTED).one())


@pytest.mark.parametrize("chapter", [FASTAPI, FLASK], ids=["FastAPI", "Flask"])
def test_an_application_serves_what_it_says(reader: Reader, chapter: list[Block]) -> None:
    [served] = [n for n, block in enumerate(chapter) if SERVE.match(block.code)]
    reader.follow(chapter[:served])
    with serving(reader, chapter[served].code):
        reader.follow(chapter[served + 1 :])
    assert counted(reader) == [2, 2, 2]


def test_a_program_prints_what_it_says(reader: Reader) -> None:
    reader.follow(PLAIN)
    assert counted(reader) == [2, 2, 2]
