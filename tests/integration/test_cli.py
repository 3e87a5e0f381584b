"""The command line: what it prints, what it does, and how it ends."""

from __future__ import annotations

import json
import re
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, create_engine, inspect, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.doctor.findings import HELP
from flametrench_tenancy_sqlalchemy.migrations import VERSION_TABLE, alembic_config, upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES
from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
from tests.support.breaches import BREACHES
from tests.support.cluster import ASYNC_DRIVERS, on_one_server
from tests.support.rows import committed_rows
from tests.support.stage import Stage

HEALTHY, UNHEALTHY, FAILED = 0, 1, 2
USAGE = "usage: flametrench-tenancy"
WELL = "Healthy: nothing is wrong.\n"
Capture = pytest.CaptureFixture[str]


def named(url: URL) -> str:
    """Return a database's URL as an operator writes it."""
    return url.render_as_string(hide_password=False)


@pytest.fixture
def url(clean_engine: Engine) -> str:
    """A migrated database."""
    return named(clean_engine.url)


@pytest.fixture
def break_it(clean_engine: Engine) -> Callable[[str], str]:
    """Seeds a breach, commits it, and returns the id of what is wrong."""

    def seed(name: str) -> str:
        with Session(clean_engine) as session, session.begin():
            return BREACHES[name](Stage(session))[name.partition(":")[0]][0]

    return seed


@pytest.fixture
def empty(new_database: NewDatabase) -> Engine:
    """An engine on a database without tables."""
    return create_engine(new_database(), poolclass=NullPool)


def run(*arguments: str) -> int:
    return main(arguments)


def report(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_healthy_database_ends_with_zero(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert run("doctor", "--url", url) == HEALTHY
    assert capsys.readouterr() == (WELL, "")
    monkeypatch.setenv("DATABASE_URL", url)
    assert run("doctor", "--format", "json") == HEALTHY
    assert report(capsys) == {"healthy": True, "repairs": [], "findings": []}


def test_a_table_for_people(
    url: str, break_it: Callable[[str], str], capsys: Capture, clean_engine: Engine
) -> None:
    org_id = break_it("ownerless_organization")
    tup_ids = sorted(break_it("orphan_tuple: of a suspended member") for _ in range(6))
    before = committed_rows(clean_engine)
    assert run("doctor", "--url", url) == UNHEALTHY
    indent = " " * 41
    told = capsys.readouterr()
    assert told.err == f"What helps: {HELP}\n"
    assert told.out.splitlines() == [
        "CHECK                   SEVERITY  COUNT  EXAMPLES",
        "----------------------  --------  -----  ------------------------------------",
        f"orphan_tuple            error     6      {tup_ids[0]}",
        *(f"{indent}{tup_id}" for tup_id in tup_ids[1:5]),
        f"{indent}and 1 more",
        "  tuples that grant a role in an organization without an active membership",
        f"ownerless_organization  error     1      {org_id}",
        "  organizations with active members and no active owner",
        "",
        "2 of the checks found something wrong; --repair sets 1 of them right.",
    ]
    assert committed_rows(clean_engine) == before


def test_json_for_machines(url: str, break_it: Callable[[str], str], capsys: Capture) -> None:
    tup_id, org_id = break_it("tuple_in_revoked_org"), break_it("ownerless_organization")
    options = ("doctor", "--url", url, "--format", "json")
    assert run(*options) == UNHEALTHY
    told = report(capsys)
    assert (told["healthy"], told["repairs"]) == (False, [])
    assert {
        "check": "tuple_in_revoked_org",
        "severity": "error",
        "count": 1,
        "examples": [tup_id],
        "message": "tuples, other than those of roles, about a revoked organization",
        "repairable": True,
    } in told["findings"]
    # What remains after a repair is still wrong.
    assert run(*options, "--repair") == UNHEALTHY
    told = report(capsys)
    assert [finding["examples"] for finding in told["findings"]] == [[org_id]]
    [done] = told["repairs"]
    assert done.keys() == {"check", "id", "message"}
    assert (done["check"], done["id"]) == ("tuple_in_revoked_org", tup_id)


@on_one_server("asyncpg has another way to name a search path")
def test_a_repair_is_listed_and_committed(
    url: str, break_it: Callable[[str], str], capsys: Capture
) -> None:
    mem_id = break_it("membership_without_tuple")
    # An asynchronous driver will do.
    target = re.sub(r"^postgresql\+\w+", "postgresql+asyncpg", url)
    assert run("doctor", "--url", target, "--repair") == HEALTHY
    header, rule, repaired, *rest = capsys.readouterr().out.splitlines()
    assert header.split() == ["REPAIRED", "ID", "WHAT", "WAS", "DONE"]
    assert set(rule) == {"-", " "}
    done = rf"membership_without_tuple  {mem_id}  tuple added: usr_\w+ member org_"
    assert re.match(done, repaired)
    assert rest == ["", WELL.strip()]
    assert run("doctor", "--url", url) == HEALTHY


@on_one_server("a cell's name needs no quotes")
def test_an_option_or_the_search_path_names_the_schema(empty: Engine, capsys: Capture) -> None:
    """In the search path's schema there are tables too, and something is wrong with them."""
    target = named(empty.url)
    upgrade(empty.url)
    upgrade(empty.url, schema="Cell 1")
    with Session(empty) as session, session.begin():
        BREACHES["membership_without_tuple"](Stage(session))
    options = ("doctor", "--url", target, "--schema", "Cell 1")
    assert run(*options) == HEALTHY
    with empty.begin() as connection:
        connection.execute(text('SET LOCAL search_path TO "Cell 1"'))
        with Session(connection) as session:
            [inv_id] = BREACHES["overdue_invitation"](Stage(session))["overdue_invitation"]
            session.commit()
        connection.execute(text("DROP INDEX mem_org_idx"))
        connection.execute(text("CREATE SCHEMA other"))
    capsys.readouterr()
    assert run(*options, "--repair", "--format", "json") == UNHEALTHY
    told = report(capsys)
    assert [done["id"] for done in told["repairs"]] == [inv_id]
    missing = [["index mem_org_idx of mem"]]
    assert [finding["examples"] for finding in told["findings"]] == missing
    path = empty.url.update_query_dict({"options": '-csearch_path=other,"Cell\\ 1"'})
    assert run("doctor", "--url", named(path), "--format", "json") == UNHEALTHY
    assert [finding["examples"] for finding in report(capsys)["findings"]] == missing
    assert run("doctor", "--url", target, "--format", "json") == UNHEALTHY
    assert [f["check"] for f in report(capsys)["findings"]] == ["membership_without_tuple"]


def test_a_database_without_tables_lacks_them(empty: Engine, capsys: Capture) -> None:
    assert run("doctor", "--url", named(empty.url), "--repair", "--format", "json") == UNHEALTHY
    [finding] = report(capsys)["findings"]
    assert finding["check"] == "missing_table"
    assert finding["examples"] == sorted(f"table {table}" for table in TABLES)


@pytest.mark.parametrize("command", [("doctor",), ("migrate", "upgrade"), ("migrate", "current")])
@pytest.mark.parametrize(
    "target, reason",
    [
        ("postgresql+nodriver://u:secret@localhost/x", "nodriver"),
        ("postgresql+psycopg2cffi://u:secret@localhost/x", "psycopg2cffi"),
        ("sqlite://", "PostgreSQL is needed, not sqlite"),
        ("no url with a secret", "the database's URL cannot be understood"),
        ("postgresql://u:secret@localhost:port/x", "the database's URL cannot be understood"),
        (None, "DATABASE_URL"),
    ],
)
def test_a_database_that_cannot_be_named_ends_with_two_and_one_line(
    command: tuple[str, ...],
    target: str | None,
    reason: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert reason in refusal(capsys, *command, *(("--url", target) if target else ()))


@pytest.mark.parametrize("drivername", ["postgresql", "postgresql+psycopg"])
def test_a_driver_that_cannot_be_loaded_is_told_with_what_it_needs(
    drivername: str, database_url: URL, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for driver in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, driver, None)
    target = named(database_url.set(drivername=drivername))
    assert "'psycopg[binary]'" in refusal(capsys, "doctor", "--url", target)


def refusal(capsys: Capture, *arguments: str) -> str:
    """Return what is said of a database that cannot be reached: one line, without a secret."""
    assert run(*arguments) == FAILED
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("flametrench-tenancy: ")
    assert err.count("\n") == 1
    assert "secret" not in err
    return err


@pytest.fixture
def web_server() -> Iterator[int]:
    """The port of a server that does not speak PostgreSQL's protocol."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield listening.server_address[1]
        listening.shutdown()


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000", *ASYNC_DRIVERS])
def test_a_database_that_cannot_be_reached_ends_with_two_and_one_line(
    database_url: URL, web_server: int, driver: str, capsys: Capture
) -> None:
    pytest.importorskip(driver)
    there = database_url.set(drivername=f"postgresql+{driver}", password="secret")
    unreachable = {
        "unknown option": there.update_query_dict({"fancy": "1"}),
        "nobody listens": there.set(port=1),
        "no such host": there.set(host="no.such.host.invalid"),
        "no such user": there.set(username="nobody"),
        "no such database": there.set(database="nowhere"),
        "another protocol": there.set(port=web_server),
    }
    for url in unreachable.values():
        for command in (["doctor"], ["migrate", "upgrade"]):
            said = refusal(capsys, *command, "--url", named(url))
            assert said.startswith(f"flametrench-tenancy: no connection by postgresql+{driver}: ")
            assert "{" not in said
    if driver in ("asyncpg", "pg8000"):  # which know it by another name, or not at all
        url = there.update_query_dict({"sslmode": "require"})
        said = refusal(capsys, "doctor", "--url", named(url)).rstrip()
        assert said.endswith(
            "'sslmode'; asyncpg has ssl instead" if driver == "asyncpg" else "'sslmode'"
        )


@on_one_server("the URL's only option is another one")
def test_a_repair_that_waits_too_long_ends_with_two_and_one_line(
    clean_engine: Engine, break_it: Callable[[str], str], capsys: Capture
) -> None:
    break_it("membership_without_tuple")
    impatient = clean_engine.url.update_query_dict({"options": "-clock_timeout=20ms"})
    with clean_engine.begin() as other:
        other.execute(text("SELECT FROM org FOR UPDATE"))
        assert run("doctor", "--url", named(impatient), "--repair") == FAILED
    assert re.fullmatch("flametrench-tenancy: .* lock_timeout .*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments",
    [[], ["heal"], ["migrate"], ["doctor", "--format", "xml"], ["orgs", "list", "--limit", "0"]],
)
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: Capture) -> None:
    assert run(*arguments) == FAILED
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(USAGE)


def test_the_version_is_told(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--version")
    assert caught.value.code == HEALTHY
    told = capsys.readouterr().out
    assert re.fullmatch(r"flametrench-tenancy (\d+\.\d+\S*|of a checkout)\n", told)


@pytest.mark.parametrize("schema", [[], ["--schema", "cell"]], ids=["public", "own schema"])
def test_it_migrates_to_and_fro_and_tells_where_the_database_is(
    empty: Engine, capsys: Capture, schema: list[str]
) -> None:
    target = ["--url", named(empty.url), *schema]

    def told(*arguments: str) -> str:
        assert run("migrate", *arguments, *target) == HEALTHY
        return capsys.readouterr().out

    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert told("current") == "base\n"
    assert told("upgrade", "ft0001") == told("current") == "ft0001\n"
    assert told("upgrade") == told("current") == f"{newest}\n"
    assert run("doctor", *target) == HEALTHY
    capsys.readouterr()
    assert told("downgrade", "flametrench_tenancy@base") == told("current") == "base\n"
    assert inspect(empty).get_table_names(schema[1] if schema else None) == [VERSION_TABLE]
    assert run("migrate", "upgrade", "nowhere", *target) == FAILED
    assert "nowhere" in capsys.readouterr().err


def test_a_branch_that_is_there_and_not_named_is_named_by_the_refusal(
    empty: Engine, capsys: Capture
) -> None:
    upgrade(empty.url, branches=["search"])
    for words in (["upgrade"], ["upgrade", "--branch", "audit"], ["downgrade", "ft0001"]):
        assert run("migrate", *words, "--url", named(empty.url)) == FAILED
        assert "--branch search, or branches=" in capsys.readouterr().err
    words = ["upgrade", "ft_search_0099", "--branch", "search"]
    assert run("migrate", *words, "--url", named(empty.url)) == FAILED
    assert "--branch" not in capsys.readouterr().err


@on_one_server("other drivers have another way to name a search path")
@pytest.mark.parametrize("driver", ["psycopg", "pg8000", "asyncpg"])
def test_what_has_not_been_migrated_is_said_with_how_to(
    empty: Engine, capsys: Capture, driver: str
) -> None:
    pytest.importorskip(driver)
    target = ("--url", named(empty.url.set(drivername=f"postgresql+{driver}")))
    for words in (["orgs", "list"], ["retention", "make"], ["log", "org_" + "1" * 32]):
        assert run(*words, *target) == FAILED
        assert "`flametrench-tenancy migrate upgrade`" in capsys.readouterr().err


def test_where_alembic_of_the_application_has_migrated_it_says_so(
    empty: Engine, capsys: Capture
) -> None:
    upgrade(empty.url)
    with empty.begin() as connection:
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    for words, code, theirs in (
        (["current"], HEALTHY, "`alembic current`"),
        (["upgrade"], FAILED, "`alembic upgrade heads`"),
    ):
        assert run("migrate", *words, "--url", named(empty.url)) == code
        assert theirs in capsys.readouterr().err


def test_where_there_is_no_log_the_months_say_how_it_comes(empty: Engine, capsys: Capture) -> None:
    assert run("retention", "months", "--url", named(empty.url)) == HEALTHY
    assert "migrate upgrade --branch audit" in capsys.readouterr().err


def test_a_word_that_is_none_is_told_those_that_are(capsys: Capture) -> None:
    assert run("members", "add", "acme", "usr_", "boss") == FAILED
    told = capsys.readouterr().err
    assert "Role." not in told
    assert "editor" in told


@on_one_server("there is no log")
def test_where_no_month_is_old_enough_nobody_is_asked(empty: Engine, capsys: Capture) -> None:
    upgrade(empty.url, branches=["audit"])
    words = ("retention", "drop", "--before", "2020-01-01T00:00Z", "--url", named(empty.url))
    assert run(*words) == HEALTHY
    assert capsys.readouterr() == ("", "no months\n")
    assert run(*words[:3], "2999-01-01T00:00Z", *words[4:]) == FAILED
    assert "--yes" in capsys.readouterr().err


def test_it_does_not_wait_for_a_busy_table_longer_than_asked(
    empty: Engine, capsys: Capture
) -> None:
    target = ("--url", named(empty.url))
    assert run("migrate", "upgrade", *target, "ft0001") == HEALTHY
    with empty.begin() as writer:
        writer.execute(text("LOCK TABLE mem IN ROW EXCLUSIVE MODE"))
        assert run("migrate", "upgrade", *target, "--lock-timeout", "10ms") == FAILED
    assert "lock timeout" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("a:b:c",), "a range of revisions has one colon"),
        (("--schema", "\udc80"), "not text in UTF-8"),
    ],
)
def test_what_is_no_range_or_no_text_is_said_to_be_none(
    capsys: Capture, arguments: tuple[str, ...], said: str
) -> None:
    assert run("migrate", "sql", *arguments) == FAILED
    assert said in capsys.readouterr().err


@on_one_server("it makes a schema of its own")
def test_it_prints_the_sql_without_a_database(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, empty: Engine
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert run("migrate", "sql", "--schema", "cell") == HEALTHY
    script = capsys.readouterr().out
    with empty.connect() as connection:
        psycopg: Any = connection.connection.dbapi_connection
        psycopg.autocommit = True
        psycopg.execute(script)
    assert run("doctor", "--url", named(empty.url), "--schema", "cell") == HEALTHY
