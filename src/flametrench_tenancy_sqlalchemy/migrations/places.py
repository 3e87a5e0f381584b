"""Where the migrations are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[1]


def script_location() -> Path:
    """Return the folder of ``env.py``: inside the installed package, or beside ``src/``."""
    installed = _PACKAGE / "alembic"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "alembic"


def version_location() -> Path:
    """Return the folder of the revision files, for another environment's ``version_locations``."""
    return script_location() / "versions"


def search_location() -> Path:
    """Return the folder of the opt-in branch for `list_orgs`, another version location."""
    return script_location() / "search"
