"""The pytest plugin, as an application's own test suite meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, func, inspect, select, text
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import Role, User
from flametrench_tenancy_sqlalchemy.testing import servers
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES, Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import URL
    from sqlalchemy.orm import Session

    from flametrench_tenancy_sqlalchemy import Membership, Organization
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase

pytest_plugins = ["pytester"]

PLUGIN = "flametrench_tenancy_sqlalchemy.testing.plugin"

# Tables without columns worth naming: these suites are about databases, not about tenancy.
OWN_MIGRATIONS = f"""
import pytest
from sqlalchemy import create_engine, text

@pytest.fixture(scope="session")
def tenancy_migrate(tmp_path_factory):
    def migrate(url):
        engine = create_engine(url)
        with engine.begin() as connection:
            for table in {TABLES!r}:
                connection.execute(text(f"CREATE TABLE {{table}} (id uuid)"))
        engine.dispose()
        print("migrated")
    return migrate

ADD = text("INSERT INTO usr VALUES (gen_random_uuid())")
COUNT = text("SELECT count(*) FROM usr")
"""


@pytest.fixture
def suite(
    pytester: pytest.Pytester,
    server: Server,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., pytest.RunResult]:
    """Runs an application's tests in a process of their own, on the server that we run on."""
    monkeypatch.setenv(servers.URL_VARIABLE, server.address)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    source = pytestconfig.rootpath / "src"
    monkeypatch.setenv("PYTHONPATH", str(source))
    pytester.makeini("[pytest]\nfilterwarnings = error\n")

    def run(tests: str, *options: str) -> pytest.RunResult:
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(OWN_MIGRATIONS + tests)
        return pytester.runpytest_subprocess("-s", *options)

    return run


# In a checkout that has not been installed there is no entry point to load the plugin by.
CONFTEST = f"""
from importlib import import_module

def pytest_configure(config):
    plugin = import_module({PLUGIN!r})
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin)
"""


def databases_of_runs(server: Server) -> set[str]:
    """The databases of all test runs on a server, ours among them."""
    engine = create_engine(server.url, poolclass=NullPool)
    with engine.connect() as connection:
        names = text("SELECT datname FROM pg_database WHERE starts_with(datname, 'tenancy_test_')")
        return set(connection.scalars(names))


def foreign_databases(server: Server, path: Path) -> set[str]:
    """Those of the databases that the inner run, which wrote its prefix to a file, left behind."""
    prefix = path.read_text()
    return {name for name in databases_of_runs(server) if name.startswith(prefix)}


class TestASuite:
    """What a suite gets from the fixtures, and what it costs."""

    def test_that_uses_no_fixture_starts_nothing(
        self, suite: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(servers.URL_VARIABLE, "postgresql://nobody@127.0.0.1:1/nowhere")

        result = suite("def test_nothing(): pass")

        result.assert_outcomes(passed=1)
        result.stdout.no_fnmatch_line("tenancy database:*")

    def test_finds_no_trace_of_the_test_before(
        self, suite: Callable[..., pytest.RunResult], server: Server
    ) -> None:
        result = suite("""
@pytest.mark.parametrize("attempt", range(2))
def test_session(tenancy_session, attempt):
    assert tenancy_session.scalar(COUNT) == 0
    tenancy_session.execute(ADD)
    tenancy_session.commit()
    tenancy_session.execute(ADD)

@pytest.mark.parametrize("attempt", range(2))
def test_clean_engine(tenancy_clean_engine, attempt):
    with tenancy_clean_engine.begin() as connection:
        assert connection.scalar(COUNT) == 0
        connection.execute(ADD)
""")

        result.assert_outcomes(passed=4)
        result.stdout.fnmatch_lines([f"tenancy database: * PostgreSQL {server.version} (*)"])

    @pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "workers"])
    def test_leaves_no_database_behind_even_when_it_fails(
        self,
        suite: Callable[..., pytest.RunResult],
        server: Server,
        pytester: pytest.Pytester,
        options: tuple[str, ...],
    ) -> None:
        result = suite(
            """
@pytest.mark.parametrize("attempt", range(4))
def test_that_fails(tenancy_session, tenancy_server, tenancy_new_database, attempt):
    with open("prefix", "w") as file:
        file.write(tenancy_server.prefix)
    tenancy_new_database()
    assert False
""",
            *options,
        )

        result.assert_outcomes(failed=4)
        assert foreign_databases(server, pytester.path / "prefix") == set()

    def test_migrates_once_and_gives_each_worker_its_own_copy(
        self, suite: Callable[..., pytest.RunResult], pytester: pytest.Pytester
    ) -> None:
        result = suite(
            """
import pathlib, uuid

@pytest.fixture(scope="session")
def tenancy_migrate(tenancy_migrate):
    def migrate(url):
        pathlib.Path(f"migrated-{uuid.uuid4()}").touch()
        tenancy_migrate(url)
    return migrate

@pytest.mark.parametrize("attempt", range(6))
def test_worker(tenancy_engine, worker_id, attempt):
    with tenancy_engine.begin() as connection:
        connection.execute(ADD)
    pathlib.Path(f"{worker_id}-{tenancy_engine.url.database}").touch()
""",
            *("-n", "2", "--dist", "each"),
        )

        result.assert_outcomes(passed=12)
        names = [path.name for path in pytester.path.iterdir()]
        assert sum(name.startswith("migrated-") for name in names) == 1
        assert sum(name.startswith("gw0-tenancy_test_") for name in names) == 1
        assert sum(name.startswith("gw1-tenancy_test_") for name in names) == 1

    def test_learns_in_every_worker_why_there_is_no_server(
        self, suite: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(servers.URL_VARIABLE, "postgresql://nobody@127.0.0.1:1/nowhere")

        result = suite("def test_session(tenancy_session): pass", "-n", "1")

        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*OperationalError*connection*refused*"])


class TestDatabases:
    """Throw-away databases and the template."""

    def test_a_new_database_is_empty_or_migrated(self, new_database: NewDatabase) -> None:
        assert table_names(new_database()) == set()
        assert set(TABLES) <= table_names(new_database(migrated=True))

    def test_a_failed_migration_leaves_no_template(self, server: Server) -> None:
        databases = Databases(server)

        def fail(url: URL) -> None:
            raise LookupError(url.database)

        with pytest.raises(LookupError) as failure:
            databases.ensure_template("never", fail)

        assert f"{server.prefix}_never" not in databases_of_runs(server)
        databases.drop(str(failure.value).removeprefix(f"{server.prefix}_"))

    def test_the_driver_can_be_chosen(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(servers.DRIVER_VARIABLE, "pg8000")

        assert server.database_url("some").drivername == "postgresql+pg8000"
        assert server.url.drivername == "postgresql+psycopg"


def table_names(url: URL) -> set[str]:
    """The tables of a database."""
    engine = create_engine(url, poolclass=NullPool)
    return set(inspect(engine).get_table_names())


class TestFactories:
    """Users, organizations and members for an application's tests."""

    def test_make_an_organization_with_its_owner(
        self,
        session: Session,
        make_user: Callable[..., User],
        make_org: Callable[..., Organization],
    ) -> None:
        owner = make_user(display_name="Ada")

        org = make_org(owner=owner, name="Engines", slug="engines")

        assert (org.name, org.slug) == ("Engines", "engines")
        assert session.scalar(select(func.count()).select_from(User)) == 1

    def test_make_members_with_a_role(
        self,
        make_org: Callable[..., Organization],
        make_member: Callable[..., Membership],
    ) -> None:
        org = make_org()

        admin = make_member(org, role="admin")

        assert (admin.org_id, admin.role) == (org.id, Role.ADMIN)
