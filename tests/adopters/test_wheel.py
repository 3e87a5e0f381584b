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
    from email.message import Message

    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "flametrench_tenancy_sqlalchemy"
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

EXTRAS: Final = {"psycopg", "asyncpg", "fastapi", "flask", "testing", "demo"}
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
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, freshly built."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run(*build, "--outdir", str(folder), str(ROOT))
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="session")
def metadata(wheel: Path) -> Message:
    """What the wheel says of itself."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A clean environment with the wheel and what it depends on, without any extra."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.install(str(wheel))
    return environment


@pytest.fixture(scope="session")
def driver(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A driver beside the environment, which stays clean for the others."""
    folder = tmp_path_factory.mktemp("driver")
    environment.install("--target", str(folder), "psycopg[binary]")
    return folder


def test_it_contains_the_package_its_migrations_and_nothing_else(wheel: Path) -> None:
    sources, migrations = ROOT / "src", ROOT / "alembic"
    expected = {str(file.relative_to(sources)) for file in sources.rglob("*.py")}
    expected |= {f"{PACKAGE}/{file.relative_to(ROOT)}" for file in migrations.rglob("*.py")}
    expected |= {f"{PACKAGE}/py.typed", f"{PACKAGE}/alembic/script.py.mako"}
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    expected |= {f"{PACKAGE}-{PROJECT['version']}.dist-info/{name}" for name in about}

    with ZipFile(wheel) as archive:
        assert set(archive.namelist()) == expected


def test_it_is_for_every_platform(wheel: Path) -> None:
    assert wheel.name == f"{PACKAGE}-{PROJECT['version']}-py3-none-any.whl"


def test_its_metadata_is_complete(metadata: Message) -> None:
    assert metadata["Name"] == PROJECT["name"]
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_all("License-File") == ["LICENSE"]
    for said in ("Summary", "Author", "Keywords"):
        assert metadata[said]
    assert str(metadata.get_payload()).startswith(f"# {PROJECT['name']}\n")


def test_its_links_lead_to_every_place_that_matters(metadata: Message) -> None:
    links = dict(link.split(", ", 1) for link in metadata.get_all("Project-URL", []))
    assert links.keys() == {"Homepage", "Repository", "Issues", "Changelog", "Specification"}
    assert all(link.startswith("https://") for link in links.values())


def test_its_classifiers_say_whom_it_is_for(metadata: Message) -> None:
    classifiers = metadata.get_all("Classifier", [])
    assert {
        "Framework :: FastAPI",
        "Framework :: Flask",
        "Framework :: Pytest",
        "Intended Audience :: Developers",
        "Topic :: Database",
        "Typing :: Typed",
    } <= set(classifiers)
    pythons = [c.rpartition(" ")[2] for c in classifiers if re.search(r":: 3\.\d+$", c)]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_it_has_an_extra(metadata: Message, extra: str) -> None:
    assert extra in metadata.get_all("Provides-Extra", [])
    needed = metadata.get_all("Requires-Dist", [])
    assert [one for one in needed if one.endswith(f"extra == '{extra}'")]


def test_it_brings_no_framework_and_no_driver(environment: Environment) -> None:
    assert environment.distributions() - PERHAPS == WITH_ITS_DEPENDENCIES


def test_it_is_imported_and_works_in_memory_without_any(environment: Environment) -> None:
    printed = environment.run("python", "-W", "error", "-c", IN_MEMORY)

    home, *modules = json.loads(printed)
    assert Path(home).is_relative_to(environment.bin.parent)
    assert not {"asyncpg", "fastapi", "flask", "psycopg", "pytest"} & set(modules)


def test_it_says_its_version(environment: Environment) -> None:
    printed = environment.run("flametrench-tenancy", "--version")
    assert printed == f"flametrench-tenancy {PROJECT['version']}\n"


def test_it_migrates_works_and_examines_a_database(
    environment: Environment, driver: Path, new_database: NewDatabase
) -> None:
    url = new_database().set(drivername="postgresql+psycopg")
    address = url.render_as_string(hide_password=False)

    printed = environment.run("python", "-W", "error", "-c", ON_POSTGRESQL, address, path=driver)
    assert printed.splitlines() == ["owner active", "member revoked", "admin active"]

    environment.run("flametrench-tenancy", "migrate", "upgrade", "--url", address, path=driver)
    examine = ["doctor", "--format", "json", "--url", address]
    report = json.loads(environment.run("flametrench-tenancy", *examine, path=driver))
    assert report == {"healthy": True, "findings": [], "repairs": []}
