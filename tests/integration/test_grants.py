"""The roles of `flametrench-tenancy grants`: each can do its work, and has nothing to spare."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import NullPool, create_engine, event, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from flametrench_tenancy_sqlalchemy.cli import main
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.migrations import downgrade, upgrade
from flametrench_tenancy_sqlalchemy.migrations.grants import PURPOSES, grants
from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
from tests.support.calls import CALLS
from tests.support.cluster import on_one_server
from tests.support.operations import OPERATIONS, Operation
from tests.support.rows import rows

pytestmark = on_one_server("what is granted is in public")

Call = Callable[[TenancyRepository], object]
DOCUMENTED: Final = Path(__file__).parents[2] / "docs" / "grants.sql"


def _calls(purpose: str, session: Session) -> Iterator[Call]:
    """Arrange what a role is for, one thing after the other."""
    match purpose:
        case "app":
            for operation in [*OPERATIONS, *(Operation(name) for name in CALLS)]:
                yield operation.stage(session)
        case "worker":
            for operation in OPERATIONS:
                if operation.name == "expire_invitations":
                    yield operation.stage(session)
        case "operator":
            yield Operation("list_orgs").stage(session)
            yield lambda tenancy: rows(tenancy.session.connection())


def _work(purpose: str, session: Session) -> None:
    """Have a role do what it is for, by statements and then by flushes."""
    for _ in range(2):
        scene = session.begin_nested()
        for call in _calls(purpose, session):
            session.execute(text("SET LOCAL ROLE client"))
            call(TenancyRepository(session))
            session.execute(text("RESET ROLE"))
        scene.rollback()
        event.listen(session, "before_flush", lambda *_: None)


def _give(session: Session, purpose: str) -> None:
    for statement in ("CREATE ROLE client", *grants("client", purpose)):
        session.execute(text(statement))


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_role_can_do_what_it_is_for(session: Session, purpose: str) -> None:
    _give(session, purpose)
    _work(purpose, session)


EACH: Final = [
    pytest.param(purpose, f"{verb} {column and f'({column})'} ON {table}")
    for purpose, tables in PURPOSES.items()
    for table, privileges in tables.items()
    for verb, columns in re.findall(r"([A-Z]+)(?: \((.+?)\))?", privileges)
    for column in columns.split(", ")
]


@pytest.mark.parametrize("purpose, privilege", EACH)
def test_a_role_has_nothing_to_spare(session: Session, purpose: str, privilege: str) -> None:
    _give(session, purpose)
    session.execute(text(f"REVOKE {privilege} FROM client"))
    with pytest.raises(ProgrammingError, match="permission denied"):
        _work(purpose, session)


def test_an_operators_doctor_sees_all_there_is(session: Session) -> None:
    _give(session, "operator")
    session.execute(text("SET LOCAL ROLE client"))
    assert diagnose(session) == []


def test_an_operator_migrates_and_owns_what_comes_of_it(new_database: NewDatabase) -> None:
    """In a transaction, and so for nobody else to see."""
    with create_engine(new_database(), poolclass=NullPool).connect() as connection:
        for statement in ("CREATE SCHEMA cell", "CREATE ROLE client", "SET LOCAL ROLE client"):
            connection.execute(text(statement))
        with pytest.raises(ProgrammingError, match="permission denied"), connection.begin_nested():
            upgrade(connection, schema="cell")
        connection.execute(text("RESET ROLE"))
        connection.execute(text(next(grants("client", "operator", schema="cell"))))
        connection.execute(text("SET LOCAL ROLE client"))
        upgrade(connection, schema="cell")
        downgrade(connection, "ft0002", schema="cell")


def test_the_documented_statements_are_those_that_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for purpose in PURPOSES:
        print(f"-- {purpose}")
        assert main(["grants", f"tenancy_{purpose}", "--as", purpose, "--schema", "tenancy"]) == 0
    assert DOCUMENTED.read_text().endswith(capsys.readouterr().out)


def test_names_are_quoted_and_app_is_what_a_role_is_for_if_nothing_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["grants", 'a"b:c', "--schema", "100% ours"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        'GRANT USAGE ON SCHEMA "100% ours" TO "a""b:c";',
        'GRANT SELECT, INSERT ON "100% ours".usr TO "a""b:c";',
    ]
