"""The wheel, as an adopter gets it: what is in it, what it says, and that it works on its own."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zipfile import ZipFile

import pytest

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "flametrench_tenancy_sqlalchemy"
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

EXTRAS: Final = {"psycopg", "asyncpg", "fastapi", "flask", "testing", "demo"}
LINKS: Final = {"Homepage", "Documentation", "Repository", "Issues", "Changelog", "Specification"}
SAID: Final = {
    "Name": PROJECT["name"],
    "Version": PROJECT["version"],
    "License-Expression": "Apache-2.0",
    "License-File": "LICENSE",
    "Requires-Python": ">=3.11",
    "Description-Content-Type": "text/markdown",
}
WITH_ITS_DEPENDENCIES: Final = {
    *("alembic", "mako", "markupsafe"),
    *("sqlalchemy", "typing-extensions"),
    *("stamina", "tenacity"),
    *("flametrench-ids", "uuid7"),
    "flametrench-tenancy-sqlalchemy",
}
# SQLAlchemy 2.0 brings the one on most machines, and Python from 3.14 on can do without the other.
PERHAPS: Final = {"greenlet", "uuid-utils"}

IN_MEMORY: Final = f"""
import json, sys
import {PACKAGE} as ft
from {PACKAGE} import cli, doctor, migrations

store = ft.InMemoryTenancyStore()
org = store.create_org(ft.new_id("usr"), slug="acme").org
assert [member.role for member in store.list_members(org.id).data] == ["owner"]
print(json.dumps([ft.__file__, *sys.modules]))
"""

ON_POSTGRESQL: Final = f"""
import sys
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker
from {PACKAGE} import Role, TenancyStore, User, migrations, new_id

migrations.upgrade(sys.argv[1])
engine = create_engine(sys.argv[1])
ann, bob = new_id("usr"), new_id("usr")
with Session(engine) as session, session.begin():
    session.add_all([User(id=ann), User(id=bob)])
store = TenancyStore(sessionmaker(engine))
org = store.create_org(ann, name="Acme").org
store.change_role(store.add_member(org.id, bob, Role.MEMBER).id, Role.ADMIN)
for member in store.list_members(org.id).data:
    print(member.role, member.status)
engine.dispose()
"""


class Environment:
    """A virtual environment of its own."""

    def __init__(self, home: Path) -> None:
        venv.create(home, symlinks=True)
        self.bin = home / "bin"

    def install(self, *what: str) -> None:
        """Install something with the pip that runs the tests: none has to be installed first."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"]
        run(*pip, "--quiet", "--no-compile", "--disable-pip-version-check", *what)

    def run(self, command: str, *arguments: str, path: Path | None = None) -> str:
        """Run a command, which sees nothing but the environment and a folder of modules."""
        variables = {"PYTHONPATH": str(path)} if path else {}
        return run(str(self.bin / command), *arguments, variables=variables)

    def distributions(self) -> set[str]:
        """Return what is installed."""
        code = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
        return {
            re.sub(r"[-_.]+", "-", name).lower() for name in self.run("python", "-c", code).split()
        }


def run(*command: str, variables: dict[str, str] | None = None) -> str:
    """Run a command to its good end, and return what it prints."""
    done = subprocess.run(
        command, env=variables, cwd=ROOT.anchor, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is published, freshly built: the sources, and a wheel made of them."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return folder


@pytest.fixture(scope="session")
def wheel(published: Path) -> Path:
    """The wheel."""
    (built,) = published.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A clean environment with the wheel and what it depends on, without any extra."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.install(str(wheel))
    return environment


def test_it_contains_the_package_its_migrations_and_nothing_else(wheel: Path) -> None:
    sources, migrations = ROOT / "src", ROOT / "alembic"
    expected = {
        str(file.relative_to(sources))
        for file in (sources / PACKAGE).rglob("*")
        if file.is_file() and file.parent.name != "__pycache__"
    }
    expected |= {f"{PACKAGE}/{file.relative_to(ROOT)}" for file in migrations.rglob("*.py")}
    expected |= {f"{PACKAGE}/alembic/script.py.mako"}
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    expected |= {f"{PACKAGE}-{PROJECT['version']}.dist-info/{name}" for name in about}

    with ZipFile(wheel) as archive:
        assert set(archive.namelist()) == expected


def test_its_name_and_metadata_say_what_it_is(wheel: Path) -> None:
    assert wheel.name == f"{PACKAGE}-{PROJECT['version']}-py3-none-any.whl"
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
        entry_points = archive.read(name.replace("METADATA", "entry_points.txt")).decode()

    assert f"[pytest11]\nflametrench_tenancy = {PACKAGE}.testing.plugin" in entry_points
    assert {name: metadata[name] for name in SAID} == SAID
    for said in ("Summary", "Author", "Keywords"):
        assert metadata[said]
    assert str(metadata.get_payload()).startswith(f"# {PROJECT['name']}\n")
    links = dict(link.split(", ", 1) for link in metadata.get_all("Project-URL", []))
    assert links.keys() == LINKS
    assert all(link.startswith("https://") for link in links.values())
    classifiers = set(metadata.get_all("Classifier", []))
    assert classifiers >= {
        *(f"Framework :: {name}" for name in ("FastAPI", "Flask", "Pytest")),
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)),
        "Typing :: Typed",
    }
    needed = metadata.get_all("Requires-Dist", [])
    brought = {extra for extra in EXTRAS for one in needed if one.endswith(f"extra == '{extra}'")}
    assert brought == EXTRAS <= set(metadata.get_all("Provides-Extra", []))


def test_the_package_index_takes_it_with_its_sources(published: Path) -> None:
    files = sorted(published.iterdir())
    named = f"{PACKAGE}-{PROJECT['version']}"
    assert [file.name for file in files] == [f"{named}-py3-none-any.whl", f"{named}.tar.gz"]
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, files))


def test_it_works_in_memory_without_framework_and_driver(environment: Environment) -> None:
    assert environment.distributions() - PERHAPS == WITH_ITS_DEPENDENCIES

    printed = environment.run("python", "-W", "error", "-c", IN_MEMORY)
    home, *modules = json.loads(printed)
    assert Path(home).is_relative_to(environment.bin.parent)
    assert not {"asyncpg", "fastapi", "flask", "psycopg", "pytest"} & set(modules)
    printed = environment.run("flametrench-tenancy", "--version")
    assert printed == f"flametrench-tenancy {PROJECT['version']}\n"


def test_it_migrates_works_and_examines_a_database(
    environment: Environment, tmp_path: Path, new_database: NewDatabase
) -> None:
    # The driver lies beside the environment, which stays clean.
    environment.install("--target", str(tmp_path), "psycopg[binary]")
    url = new_database().set(drivername="postgresql+psycopg")
    address = url.render_as_string(hide_password=False)

    printed = environment.run("python", "-W", "error", "-c", ON_POSTGRESQL, address, path=tmp_path)
    assert printed.splitlines() == ["owner active", "member revoked", "admin active"]

    environment.run("flametrench-tenancy", "migrate", "upgrade", "--url", address, path=tmp_path)
    examine = ["doctor", "--format", "json", "--url", address]
    report = json.loads(environment.run("flametrench-tenancy", *examine, path=tmp_path))
    assert report == {"healthy": True, "findings": [], "repairs": []}
