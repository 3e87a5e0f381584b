"""The first run, as a newcomer starts it: a process of its own, judged by what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase

ROOT = Path(__file__).parents[2]

NOTHING = "organizations 0, memberships 0, invitations 0, tuples 0, projects 0"

FACTS = {
    "an organization with name and slug": r"'Acme Roofing', slug 'acme', active",
    "its owner": r"Alice as owner, active",
    "an invitation": r"carol@example.com, pending",
    "its acceptance": r"carol@example.com, accepted",
    "a new user": r"Carol as member, active",
    "the pre-tuple": r"Carol is editor of proj_",
    "the membership's tuple": r"Carol is member of org_",
    "the history of a role": (
        r"(?s)Carol as admin, active, replaces (mem_\S+)\n.*\1  Carol as member, revoked"
    ),
    "a refusal": r"SoleOwnerError, code forbidden.sole_owner",
    "what the refusal left": r"(?s)sole_owner\n.*Alice as owner, active\n.*project 'Chapel spire'",
    "a transfer": r"(?s)Alice as member, active\n.*Carol as owner, active",
    "a departure": r"Alice as member, revoked",
    "an open transaction, from inside": r"inside .*organizations 1, memberships 5, .* projects 2\n",
    "and from outside": rf"outside +{NOTHING}\n",
    "its rollback": rf"rolled back +{NOTHING}\n",
    "a commit": r"committed +organizations 1, memberships 1, .* projects 1\n",
}


def run_demo(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demonstration, any warning an error, in an environment that names no database."""
    inherited = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "demo.py"],
        env={**inherited, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def missing_facts(run: subprocess.CompletedProcess[str]) -> list[str]:
    """Return which facts a successful run did not show."""
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return [fact for fact, pattern in FACTS.items() if not re.search(pattern, run.stdout)]


def test_walks_the_main_job_on_a_server_of_its_own() -> None:
    # Its name is short enough for a socket.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # for the server's user
        run = run_demo(TMPDIR=folder)
        left = os.listdir(folder)

    assert missing_facts(run) == []
    assert "embedded server" in run.stdout
    assert left == []


def test_leaves_the_rows_of_a_named_database_alone(new_database: NewDatabase) -> None:
    url = new_database(migrated=True)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE project (name text)"))
        connection.execute(text("INSERT INTO project VALUES ('mine')"))
        schemas = inspect(connection).get_schema_names()
        tables = inspect(connection).get_table_names()
    named = url.set(drivername="postgresql").render_as_string(hide_password=False)

    run = run_demo(DATABASE_URL=named)

    assert missing_facts(run) == []
    assert "DATABASE_URL" in run.stdout
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT name FROM project")).all() == ["mine"]
        assert connection.scalar(text("SELECT count(*) FROM org")) == 0
        assert inspect(connection).get_schema_names() == schemas
        assert inspect(connection).get_table_names() == tables


@pytest.mark.parametrize(
    "url, complaint", [("sqlite://", "No PostgreSQL"), ("postgresql://127.0.0.1:1/no", "refuse")]
)
def test_says_in_a_line_why_a_named_database_does_not_do(url: str, complaint: str) -> None:
    run = run_demo(DATABASE_URL=url)

    assert run.returncode == 1
    assert complaint in run.stderr
    assert "Traceback" not in run.stderr
