"""Somebody who does what a guide says: types its code, writes its files, runs its commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PACKAGE: Final = "flametrench_tenancy_sqlalchemy"

# Here somebody starts again, with an empty folder and another database.
_ANEW: Final = "<!-- anew -->\n"
_BLOCK: Final = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)

# The commands that an installation puts on the path, whether the package is installed or not.
_COMMANDS: Final = {
    "alembic": "-m alembic",
    "flask": "-m flask",
    "flametrench-tenancy": f"-c 'import sys; from {PACKAGE}.cli import main; sys.exit(main())'",
    "python": "",
    "uvicorn": "-m uvicorn",
    "curl": str(ROOT / "tests" / "support" / "curl.py"),
}

# Those that a guide speaks of, whatever else is installed here.
_OWN_PLUGINS: Final = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": f"{PACKAGE}.testing.plugin,xdist.plugin,anyio.pytest_plugin",
}


@dataclass(frozen=True)
class Block:
    """A block of code in a guide."""

    language: str
    title: str | None
    """The file that it is, if it is one."""
    code: str
    line: int
    """How many lines of the guide there are above it."""


def chapters(name: str) -> list[list[Block]]:
    """Return a guide's blocks, in one list for each time that somebody starts again."""
    written = (DOCS / name).read_text(encoding="utf-8")
    begun = 0
    found = []
    for chapter in written.split(_ANEW):
        found.append(
            [
                Block(m["language"], m["title"], m["code"], written.count("\n", 0, begun + at))
                for m in _BLOCK.finditer(chapter)
                for at in [m.start("code")]
            ]
        )
        begun += len(chapter) + len(_ANEW)
    return found


def install(folder: Path) -> Path:
    """Lay the package out as its wheel does, in a folder to import it from; return the folder."""
    shutil.copytree(ROOT / "src" / PACKAGE, folder / PACKAGE)
    shutil.copytree(ROOT / "alembic", folder / PACKAGE / "alembic")
    return folder


@dataclass
class Reader:
    """Somebody with a folder, a database and the package installed."""

    folder: Path
    database: URL
    site: Path
    """Where the package is installed."""
    variables: dict[str, str] = field(default_factory=dict)
    here: dict[str, Any] = field(default_factory=lambda: {"__name__": "guide"})
    """What the code of the guide has defined."""
    said: str = ""
    """What the last command printed."""

    def __post_init__(self) -> None:
        commands = self.folder / ".bin"
        commands.mkdir()
        for name, arguments in _COMMANDS.items():
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
            script.chmod(0o755)
        self.variables = {
            **{key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"},
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.site),
            **_OWN_PLUGINS,
            "DATABASE_URL": self.database.render_as_string(hide_password=False),
            **self.variables,
        }

    def follow(self, chapter: list[Block]) -> None:
        """Do what a chapter says, from top to bottom."""
        for block, after in zip(chapter, [*chapter[1:], None], strict=True):
            if block.title is not None:
                self.write(block.title, block.code)
            elif block.language == "python":
                # With lines above it, a traceback shows the guide's own.
                code = compile("\n" * block.line + block.code, "guide", "exec", dont_inherit=True)
                exec(code, self.here)
            elif block.language == "sql":
                self.execute(block.code)
            elif block.language == "sh" and not block.code.startswith("pip install"):
                # What the guide says it prints may well be a refusal.
                shown = after is not None and after.language == "text"
                self.run(block.code, must_succeed=not shown)
            elif block.language == "text":
                assert self.said == block.code, self.said

    def write(self, name: str, content: str) -> None:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def write_files(self, chapter: list[Block]) -> None:
        """Write the files of a chapter, and do nothing else of it."""
        for block in chapter:
            if block.title is not None:
                self.write(block.title, block.code)

    def execute(self, sql: str) -> None:
        """Run SQL on the database, as an administrator does."""
        engine = create_engine(self.database, poolclass=NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(sql.replace("%", "%%"))

    def run(self, commands: str, *, must_succeed: bool = True) -> str:
        """Run commands in the project's folder, and return what they print."""
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not must_succeed, done.stdout
        self.said = done.stdout
        return self.said
