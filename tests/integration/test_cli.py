"""The command line: what it prints, what it does, and how it ends."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, create_engine, inspect, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.migrations import VERSION_TABLE, alembic_config, upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES
from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
from tests.support.breaches import BREACHES
from tests.support.rows import committed_rows
from tests.support.seeding import Expected
from tests.support.stage import Stage

HEALTHY, UNHEALTHY, FAILED = 0, 1, 2


@pytest.fixture
def url(clean_engine: Engine) -> str:
    """The database, as an operator names it."""
    return clean_engine.url.render_as_string(hide_password=False)


@pytest.fixture
def break_it(clean_engine: Engine) -> Callable[[str], Expected]:
    """Seeds a breach and commits it."""

    def seed(name: str) -> Expected:
        with Session(clean_engine) as session, session.begin():
            return BREACHES[name](Stage(session))

    return seed


@pytest.fixture
def empty(new_database: NewDatabase) -> URL:
    """A database without tables."""
    return new_database()


def run(*arguments: str) -> int:
    return main(arguments)


def test_a_healthy_database_ends_with_zero(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--url", url) == HEALTHY

    assert capsys.readouterr() == ("Healthy: nothing is wrong.\n", "")


def test_the_environment_names_the_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert run("doctor") == HEALTHY


def test_a_table_for_people(
    url: str, break_it: Callable[[str], Expected], capsys: pytest.CaptureFixture[str]
) -> None:
    [org_id] = break_it("ownerless_organization")["ownerless_organization"]
    tup_ids = sorted(
        break_it("orphan_tuple: of a suspended member")["orphan_tuple"][0] for _ in range(6)
    )

    assert run("doctor", "--url", url) == UNHEALTHY

    indent = " " * 41
    assert capsys.readouterr().out.splitlines() == [
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


def test_json_for_machines(
    url: str, break_it: Callable[[str], Expected], capsys: pytest.CaptureFixture[str]
) -> None:
    [tup_id] = break_it("tuple_in_revoked_org")["tuple_in_revoked_org"]

    assert run("doctor", "--url", url, "--format", "json") == UNHEALTHY

    assert json.loads(capsys.readouterr().out) == {
        "healthy": False,
        "repairs": [],
        "findings": [
            {
                "check": "tuple_in_revoked_org",
                "severity": "error",
                "count": 1,
                "examples": [tup_id],
                "message": "tuples, other than those of roles, about a revoked organization",
                "repairable": True,
            }
        ],
    }


def test_json_of_a_healthy_database(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--url", url, "--format", "json") == HEALTHY

    healthy = {"healthy": True, "repairs": [], "findings": []}
    assert json.loads(capsys.readouterr().out) == healthy


def test_an_examination_changes_nothing(
    url: str, break_it: Callable[[str], Expected], clean_engine: Engine
) -> None:
    break_it("membership_without_tuple")
    before = committed_rows(clean_engine)

    assert run("doctor", "--url", url) == UNHEALTHY

    assert committed_rows(clean_engine) == before


def test_a_repair_is_listed_and_committed(
    url: str, break_it: Callable[[str], Expected], capsys: pytest.CaptureFixture[str]
) -> None:
    [mem_id] = break_it("membership_without_tuple")["membership_without_tuple"]

    assert run("doctor", "--url", url, "--repair") == HEALTHY

    header, rule, repaired, *rest = capsys.readouterr().out.splitlines()
    assert header.split() == ["REPAIRED", "ID", "WHAT", "WAS", "DONE"]
    assert set(rule) == {"-", " "}
    assert re.match(
        rf"membership_without_tuple  {mem_id}  tuple added: usr_\w+ member org_", repaired
    )
    assert rest == ["", "Healthy: nothing is wrong."]
    assert run("doctor", "--url", url) == HEALTHY


def test_what_remains_after_a_repair_is_still_wrong(
    url: str, break_it: Callable[[str], Expected], capsys: pytest.CaptureFixture[str]
) -> None:
    [org_id] = break_it("ownerless_organization")["ownerless_organization"]
    [tup_id] = break_it("tuple_in_revoked_org")["tuple_in_revoked_org"]

    assert run("doctor", "--url", url, "--repair", "--format", "json") == UNHEALTHY

    report = json.loads(capsys.readouterr().out)
    assert [(done["check"], done["id"]) for done in report["repairs"]] == [
        ("tuple_in_revoked_org", tup_id)
    ]
    assert set(report["repairs"][0]) == {"check", "id", "message"}
    assert [finding["examples"] for finding in report["findings"]] == [[org_id]]


def test_an_option_names_the_schema(
    empty: URL, break_it: Callable[[str], Expected], capsys: pytest.CaptureFixture[str]
) -> None:
    """In the search path's schema there are tables too, and something is wrong with them."""
    upgrade(empty)
    upgrade(empty, schema="Cell 1")
    engine = create_engine(empty, poolclass=NullPool)
    with Session(engine) as session, session.begin():
        BREACHES["membership_without_tuple"](Stage(session))
    target = empty.render_as_string(hide_password=False)

    assert run("doctor", "--url", target, "--schema", "Cell 1") == HEALTHY

    with engine.begin() as connection:
        connection.execute(text('SET LOCAL search_path TO "Cell 1"'))
        with Session(connection) as session:
            [inv_id] = BREACHES["overdue_invitation"](Stage(session))["overdue_invitation"]
            session.commit()
        connection.execute(text("DROP INDEX mem_org_idx"))
    capsys.readouterr()
    repair = ("doctor", "--url", target, "--schema", "Cell 1", "--repair", "--format", "json")
    assert run(*repair) == UNHEALTHY
    report = json.loads(capsys.readouterr().out)
    assert [done["id"] for done in report["repairs"]] == [inv_id]
    assert [f["examples"] for f in report["findings"]] == [["index mem_org_idx of mem"]]
    assert run("doctor", "--url", target) == UNHEALTHY


def test_the_search_path_names_the_schema(empty: URL) -> None:
    upgrade(empty, schema="cell")
    elsewhere = empty.update_query_dict({"options": "-csearch_path=other,cell"})
    with create_engine(empty, poolclass=NullPool).begin() as connection:
        connection.execute(text("CREATE SCHEMA other"))

    assert run("doctor", "--url", elsewhere.render_as_string(hide_password=False)) == HEALTHY


def test_a_database_without_tables_lacks_them(
    empty: URL, capsys: pytest.CaptureFixture[str]
) -> None:
    target = empty.render_as_string(hide_password=False)

    assert run("doctor", "--url", target, "--repair", "--format", "json") == UNHEALTHY

    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["check"] == "missing_table"
    assert finding["examples"] == sorted(f"table {table}" for table in TABLES)


def test_an_asynchronous_driver_will_do(url: str, break_it: Callable[[str], Expected]) -> None:
    break_it("orphan_tuple: of a suspended member")
    target = re.sub(r"^postgresql\+\w+", "postgresql+asyncpg", url)

    assert run("doctor", "--url", target) == UNHEALTHY
    assert run("doctor", "--url", target, "--repair") == HEALTHY


@pytest.mark.parametrize(
    "target, reason",
    [
        ("postgresql://postgres@127.0.0.1:1/nowhere", "connection"),
        ("postgresql+nodriver://localhost/x", "nodriver"),
        ("sqlite://", "the doctor knows PostgreSQL, not sqlite"),
        ("no url with a secret", "the database's URL cannot be understood"),
        ("postgresql://u:secret@localhost:port/x", "the database's URL cannot be understood"),
    ],
)
def test_a_database_that_cannot_be_examined_ends_with_two_and_one_line(
    target: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("doctor", "--url", target) == FAILED

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("flametrench-tenancy: ")
    assert err.count("\n") == 1
    assert reason in err
    assert "secret" not in err


def test_no_database_ends_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert run("doctor") == FAILED

    assert "DATABASE_URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [(), ("heal",), ("doctor", "--format", "xml"), ("migrate",)], ids=str
)
def test_wrong_usage_ends_with_two(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)

    assert caught.value.code == FAILED
    assert "usage: flametrench-tenancy" in capsys.readouterr().err


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--version")

    assert caught.value.code == 0
    assert re.fullmatch(
        r"flametrench-tenancy (\d+\.\d+\S*|of a checkout)\n", capsys.readouterr().out
    )


class Terminal(io.StringIO):
    """A stream that somebody watches."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_progress_bar_and_erases_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    run("doctor", "--url", url)

    _, *drawn = terminal.getvalue().split("\r")
    assert len(drawn) > 20
    assert re.fullmatch(r"\[#+\.+\] 1/\d+", drawn[0])
    assert re.fullmatch(r"\[#{30}\] (\d+)/\1", drawn[-2])
    assert drawn[-1] == "\x1b[K"


def test_it_migrates_to_and_fro(empty: URL, capsys: pytest.CaptureFixture[str]) -> None:
    target = empty.render_as_string(hide_password=False)
    engine = create_engine(empty, poolclass=NullPool)

    assert run("migrate", "upgrade", "--url", target) == HEALTHY
    assert run("doctor", "--url", target) == HEALTHY
    assert run("migrate", "downgrade", "--url", target, "flametrench_tenancy@base") == HEALTHY

    assert inspect(engine).get_table_names() == [VERSION_TABLE]
    assert run("migrate", "upgrade", "--url", target, "nowhere") == FAILED
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("schema", [[], ["--schema", "cell"]], ids=["public", "own schema"])
def test_it_tells_where_the_database_is(
    empty: URL, capsys: pytest.CaptureFixture[str], schema: list[str]
) -> None:
    target = ["--url", empty.render_as_string(hide_password=False), *schema]

    def told(*arguments: str) -> str:
        assert run("migrate", *arguments, *target) == HEALTHY
        return capsys.readouterr().out

    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert told("current") == "base\n"
    assert told("upgrade", "ft0001") == told("current") == "ft0001\n"
    assert told("upgrade") == told("current") == f"{newest}\n"
    assert told("downgrade", "flametrench_tenancy@base") == told("current") == "base\n"


def test_it_does_not_wait_for_a_busy_table_longer_than_asked(
    empty: URL, capsys: pytest.CaptureFixture[str]
) -> None:
    target = empty.render_as_string(hide_password=False)
    assert run("migrate", "upgrade", "--url", target, "ft0001") == HEALTHY
    with create_engine(empty, poolclass=NullPool).begin() as writer:
        writer.execute(text("LOCK TABLE mem IN ROW EXCLUSIVE MODE"))

        assert run("migrate", "upgrade", "--url", target, "--lock-timeout", "10ms") == FAILED

    assert "lock timeout" in capsys.readouterr().err


def test_it_prints_the_sql_without_a_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty: URL
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert run("migrate", "sql", "--schema", "cell") == HEALTHY

    script = capsys.readouterr().out
    with create_engine(empty, poolclass=NullPool).connect() as connection:
        connection.connection.dbapi_connection.autocommit = True  # type: ignore[union-attr]  # psycopg
        connection.connection.dbapi_connection.execute(script)  # type: ignore[union-attr]
    target = empty.render_as_string(hide_password=False)
    assert run("doctor", "--url", target, "--schema", "cell") == HEALTHY
