"""Alembic's own command line, in a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL, Engine

from .reference import create_reference, run
from .state import everything, tenancy_schema

ROOT = Path(__file__).parents[2]


def alembic(*arguments: str, url: URL | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    if url is not None:
        environment["DATABASE_URL"] = url.render_as_string(hide_password=False)
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_names_the_database(empty: Engine) -> None:
    url = empty.url.set(drivername="postgres")
    done = alembic("upgrade", "head", url=url)
    assert done.returncode == 0, done.stderr
    assert "Running upgrade  -> ft0001" in done.stderr
    assert alembic("check", url=url).returncode == 0
    assert alembic("downgrade", "base", url=url).returncode == 0
    assert tenancy_schema(empty) == {}


def test_arguments_name_database_and_schema(empty: Engine) -> None:
    url = empty.url.render_as_string(hide_password=False)
    done = alembic("-x", f"url={url}", "-x", "schema=tenancy", "upgrade", "head")
    assert done.returncode == 0, done.stderr
    assert tenancy_schema(empty) == {}
    assert tenancy_schema(empty, "tenancy")


def test_without_a_database_it_asks_for_one() -> None:
    done = alembic("upgrade", "head")
    assert done.returncode != 0
    assert "set DATABASE_URL" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_refusal_is_a_message_not_a_traceback(empty: Engine) -> None:
    with empty.begin() as connection:
        run(connection, ["CREATE TABLE org (id int PRIMARY KEY)"])
    done = alembic("upgrade", "head", url=empty.url)
    assert done.returncode != 0
    assert "column id of org: expected uuid NOT NULL, found integer NOT NULL" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_busy_table_is_not_waited_for_longer_than_asked(empty: Engine) -> None:
    with empty.begin() as connection:
        create_reference(connection)
    before = everything(empty)
    with empty.begin() as writer:
        run(writer, ["LOCK TABLE mem IN ROW EXCLUSIVE MODE"])
        done = alembic("-x", "lock_timeout=10ms", "upgrade", "head", url=empty.url)
    assert done.returncode != 0
    assert "lock timeout" in done.stderr
    assert everything(empty) == before
