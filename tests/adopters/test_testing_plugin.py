"""The pytest plugin, as an application's own test suite meets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import URL, create_engine, func, inspect, select, text
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import Role, User
from flametrench_tenancy_sqlalchemy.testing import servers
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES, Databases

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from flametrench_tenancy_sqlalchemy import Membership, Organization
    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
    from flametrench_tenancy_sqlalchemy.testing.servers import Server

pytest_plugins = ["pytester"]

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"

# In a checkout that has not been installed there is no entry point to load the plugin by.
CONFTEST = 'pytest_plugins = ["flametrench_tenancy_sqlalchemy.testing.plugin"]\n'

# Tables without columns worth naming: these suites are about databases, not about tenancy.
OWN_MIGRATIONS = f"""
import pathlib, uuid
import pytest
from sqlalchemy import create_engine, text

@pytest.fixture(scope="session")
def tenancy_migrate():
    def migrate(url):
        pathlib.Path(f"migrated-{{uuid.uuid4()}}").touch()
        engine = create_engine(url)
        with engine.begin() as connection:
            for table in {TABLES!r}:
                connection.execute(text(f"CREATE TABLE {{table}} (id uuid)"))
        engine.dispose()
    return migrate

ADD = text("INSERT INTO usr VALUES (gen_random_uuid())")
COUNT = text("SELECT count(*) FROM usr")
"""

Suite = Callable[..., pytest.RunResult]


@pytest.fixture
def suite(
    pytester: pytest.Pytester,
    pytestconfig: pytest.Config,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Suite:
    """Runs an application's tests in a process of their own, on the server that we run on."""
    monkeypatch.setenv(servers.URL_VARIABLE, server.address)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    # What else is installed here takes seconds to load.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath / "src"))
    pytester.makeini("[pytest]\nfilterwarnings = error\n")

    def run(tests: str, *options: str) -> pytest.RunResult:
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(OWN_MIGRATIONS + tests)
        return pytester.runpytest_subprocess("-s", "-p", "xdist.plugin", *options)

    return run


def databases_of_runs(server: Server) -> set[str]:
    """The databases of all test runs on a server, ours among them."""
    engine = create_engine(server.url, poolclass=NullPool)
    with engine.connect() as connection:
        names = text("SELECT datname FROM pg_database WHERE starts_with(datname, 'tenancy_test_')")
        return set(connection.scalars(names))


def left_behind(server: Server, prefix: str) -> set[str]:
    return {name for name in databases_of_runs(server) if name.startswith(prefix)}


class TestASuite:
    """What a suite gets from the fixtures, and what it costs."""

    def test_that_uses_no_fixture_starts_nothing(
        self, suite: Suite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(servers.URL_VARIABLE, NOWHERE)

        result = suite("def test_nothing(): pass")

        result.assert_outcomes(passed=1)
        result.stdout.no_fnmatch_line("tenancy database:*")

    def test_finds_no_trace_of_the_test_before_and_leaves_none(
        self, suite: Suite, server: Server, pytester: pytest.Pytester
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

def test_that_fails(tenancy_server, tenancy_new_database):
    pathlib.Path("prefix").write_text(tenancy_server.prefix)
    tenancy_new_database()
    assert False
""")

        result.assert_outcomes(passed=4, failed=1)
        result.stdout.fnmatch_lines([f"tenancy database: * PostgreSQL {server.version} (*)"])
        assert left_behind(server, (pytester.path / "prefix").read_text()) == set()

    def test_migrates_once_and_gives_each_worker_a_copy_that_is_gone_in_the_end(
        self, suite: Suite, server: Server, pytester: pytest.Pytester
    ) -> None:
        result = suite(
            """
@pytest.mark.parametrize("attempt", range(2))
def test_worker(tenancy_engine, worker_id, attempt, tenancy_new_database, tenancy_server):
    with tenancy_engine.begin() as connection:
        connection.execute(ADD)
    pathlib.Path(f"{worker_id}-{tenancy_engine.url.database}").touch()
    tenancy_new_database()
    pathlib.Path("prefix").write_text(tenancy_server.prefix)
    assert False
""",
            *("-n", "2", "--dist", "each"),
        )

        result.assert_outcomes(failed=4)
        names = [path.name for path in pytester.path.iterdir()]
        for start in ("migrated-", "gw0-tenancy_test_", "gw1-tenancy_test_"):
            assert sum(name.startswith(start) for name in names) == 1
        assert left_behind(server, (pytester.path / "prefix").read_text()) == set()

    def test_learns_in_every_worker_why_there_is_no_server(
        self, suite: Suite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(servers.URL_VARIABLE, NOWHERE)

        result = suite("def test_session(tenancy_session): pass", "-n", "1")

        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*OperationalError*connection*refused*"])


def table_names(url: URL) -> set[str]:
    """The tables of a database."""
    engine = create_engine(url, poolclass=NullPool)
    return set(inspect(engine).get_table_names())


def test_a_new_database_is_empty_or_migrated(new_database: NewDatabase) -> None:
    assert table_names(new_database()) == set()
    assert set(TABLES) <= table_names(new_database(migrated=True))


def test_a_failed_migration_leaves_no_template(server: Server) -> None:
    databases = Databases(server)

    def fail(url: URL) -> None:
        raise LookupError(url.database)

    with pytest.raises(LookupError) as failure:
        databases.ensure_template("never", fail)

    assert f"{server.prefix}_never" not in databases_of_runs(server)
    databases.drop(str(failure.value).removeprefix(f"{server.prefix}_"))


def test_a_migration_may_leave_its_connection_in_a_pool(server: Server) -> None:
    databases, kept = Databases(server), []

    def migrate(url: URL) -> None:
        kept.append(create_engine(url))
        kept[0].connect().close()

    databases.create("copy", template=databases.ensure_template("pooled", migrate))

    kept[0].dispose()
    for name in ("copy", "pooled"):
        databases.drop(name)


def test_factories_make_what_they_are_told_and_no_more(
    session: Session,
    make_user: Callable[..., User],
    make_org: Callable[..., Organization],
    make_member: Callable[..., Membership],
) -> None:
    org = make_org(owner=make_user(display_name="Ada"), name="Engines", slug="engines")
    assert (org.name, org.slug) == ("Engines", "engines")
    assert session.scalar(select(func.count()).select_from(User)) == 1

    admin = make_member(org, role="admin")
    assert (admin.org_id, admin.role) == (org.id, Role.ADMIN)
