"""An application may relate its tables to our models, and add columns to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.calls import CALLS

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("lazy", ["select", "joined", "selectin", "subquery"])
def test_every_operation_works_with_what_is_added(new_database: NewDatabase, lazy: str) -> None:
    url = new_database(migrated=True).set(drivername="postgresql+psycopg")

    run = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "tests.support.extended"),
            url.render_as_string(hide_password=False),
            lazy,
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},  # installed or not
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout == f"{len(CALLS)} operations\n"
