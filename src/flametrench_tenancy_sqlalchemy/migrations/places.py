"""Where the migrations are."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from alembic.util import CommandError

BRANCHES: Final = ("audit", "rls", "search")
"""The opt-in branches: each a folder, and the end of the branch label ``flametrench_tenancy_…``."""

_PACKAGE: Final = Path(__file__).resolve().parents[1]


def script_location() -> Path:
    """Return the folder of ``env.py``: inside the installed package, or beside ``src/``."""
    installed = _PACKAGE / "alembic"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "alembic"


def version_location() -> Path:
    """Return the folder of the revision files, for another environment's ``version_locations``."""
    return script_location() / "versions"


def branch_location(branch: str) -> Path:
    """Return the folder of an opt-in branch's revision files, another version location.

    Args:
        branch: its name, such as ``search``.

    Raises:
        CommandError: there is no such branch.
    """
    if branch not in BRANCHES:
        raise CommandError(f"{branch!r} is not an opt-in branch; {', '.join(BRANCHES)} are")
    return script_location() / branch


def version_locations(branches: Collection[str]) -> list[Path]:
    """Return the folders of all revision files, those of some opt-in branches included.

    Raises:
        CommandError: there is no such branch.
    """
    return [version_location(), *map(branch_location, sorted(set(branches)))]
