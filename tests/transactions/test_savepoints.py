"""Each operation is a savepoint of the caller's transaction, which the server knows by name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, insert
from sqlalchemy.exc import DataError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from flametrench_tenancy_sqlalchemy._integrity import sqlstate
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.adopter import Note
from tests.support.operations import every_operation
from tests.support.statements import seen_by_server, struck

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tests.support.operations import Call, Operation


def about_savepoints(statements: list[str]) -> list[str]:
    return [statement for statement in statements if "SAVEPOINT" in statement]


def name_of(statement: str, operation: str) -> str:
    match = re.fullmatch(rf"SAVEPOINT (ft_{operation}_[0-9a-f]{{8}})", statement)
    assert match, statement
    return match[1]


def assert_gone(connection: Connection, name: str) -> None:
    with pytest.raises((InternalError, OperationalError, ProgrammingError)) as refusal:
        connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {name}")
    assert sqlstate(refusal.value) == "3B001"


@every_operation
def test_a_successful_operation_releases_its_savepoint(
    db: Engine, observer: Engine, operation: Operation, call: Call
) -> None:
    with Session(db) as session:
        with seen_by_server(session.connection(), observer) as statements:
            call(TenancyRepository(session))

        name = name_of(statements[0], operation.name)
        assert about_savepoints(statements) == [f"SAVEPOINT {name}", f"RELEASE SAVEPOINT {name}"]
        assert statements[-1] == f"RELEASE SAVEPOINT {name}"
        assert_gone(session.connection(), name)


@every_operation
def test_a_failed_operation_rolls_back_to_its_savepoint_and_releases_it(
    db: Engine, observer: Engine, operation: Operation, call: Call
) -> None:
    with Session(db) as session:
        connection = session.connection()
        with (
            seen_by_server(connection, observer) as statements,
            struck(connection, 3, instead="SELECT 1 / 0"),
            pytest.raises(DataError, match="division by zero"),
        ):
            call(TenancyRepository(session))

        name = name_of(statements[0], operation.name)
        assert about_savepoints(statements) == [
            f"SAVEPOINT {name}",
            f"ROLLBACK TO SAVEPOINT {name}",
            f"RELEASE SAVEPOINT {name}",
        ]
        assert_gone(connection, name)


def test_savepoints_of_the_application_keep_their_names(db: Engine, observer: Engine) -> None:
    with Session(db) as session:
        connection = session.connection()

        @event.listens_for(session, "pending_to_persistent")
        def audit(session: Session, entity: object) -> None:
            with connection.begin_nested():
                connection.execute(insert(Note), {"text": f"new {entity!r}"})

        with seen_by_server(connection, observer) as statements, session.begin_nested():
            make_org(session)
            with session.begin_nested():
                make_user(session)

    taken = [s for s in statements if s.startswith("SAVEPOINT")]
    released = {s.removeprefix("RELEASE ") for s in statements if s.startswith("RELEASE")}
    assert set(taken) == released
    assert len(taken) == len(set(taken)) >= 5
    (ours,) = [i for i, statement in enumerate(taken) if "ft_create_org_" in statement]
    others = [statement for i, statement in enumerate(taken) if i != ours]
    assert all(re.fullmatch(r"SAVEPOINT sa_savepoint_\d+", statement) for statement in others)
    # The hook's savepoint was taken while the operation's own one was open.
    end = statements.index(f"RELEASE {taken[ours]}")
    assert statements.index(taken[ours]) < statements.index(taken[ours + 1]) < end


def test_an_aborted_transaction_is_reported_as_such(db: Engine) -> None:
    with Session(db) as session:
        creator = make_user(session).id
        session.commit()
        connection = session.connection()
        with pytest.raises(DataError):
            connection.exec_driver_sql("SELECT 1 / 0")

        with pytest.raises(InternalError, match="aborted") as refusal:
            TenancyRepository(session).create_org(creator)

        assert str(refusal.value.statement).startswith("SAVEPOINT ft_create_org_")
        session.rollback()
        TenancyRepository(session).create_org(creator)
