"""After success, and after any rollback, the Session's objects tell the truth."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Literal

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import Base, TenancyRepository
from tests.support.operations import every_operation
from tests.support.rows import committed_rows, load_all, rows, untruths
from tests.support.statements import struck

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tests.support.operations import Call

pytestmark = every_operation


class InterruptionError(Exception):
    """What goes wrong in the caller's own code."""


def interrupt(connection: Connection) -> None:
    raise InterruptionError


def entities(session: Session) -> set[Base]:
    return {entity for entity in session if isinstance(entity, Base)}


def is_interrupted(session: Session, call: Call, *, at: int) -> bool:
    """Make a call that is interrupted at its n-th statement, if it has so many."""
    with struck(session.connection(), at, before=interrupt) as strike:
        try:
            call(TenancyRepository(session))
        except InterruptionError:
            return True
    assert not strike.fell
    return False


@pytest.mark.parametrize(
    "level, expire_on_commit",
    [("READ COMMITTED", True), ("REPEATABLE READ", False), ("SERIALIZABLE", False)],
)
def test_what_was_loaded_shows_the_new_state_before_and_after_the_commit(
    db: Engine,
    sessions: sessionmaker[Session],
    call: Call,
    level: Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"],
    expire_on_commit: bool,
) -> None:
    engine = db.execution_options(isolation_level=level)
    with sessions(bind=engine, expire_on_commit=expire_on_commit) as session:
        assert session.connection().get_isolation_level() == level
        held = load_all(session)
        before = rows(session.connection())

        result = call(TenancyRepository(session))

        now = rows(session.connection())
        assert now != before
        assert untruths(session, now) == []
        session.commit()
        assert untruths(session, committed_rows(db)) == []
        del held, result


def test_rolling_itself_back_at_any_statement(
    db: Engine, sessions: sessionmaker[Session], call: Call
) -> None:
    before = committed_rows(db)
    with sessions() as session:
        held = set(load_all(session))

        for at in count(2):  # the first one is the savepoint
            if not is_interrupted(session, call, at=at):
                break
            assert rows(session.connection()) == before
            assert untruths(session, before) == []
            assert entities(session) == held

        assert at > 3
        session.commit()
    assert committed_rows(db) != before


@pytest.mark.parametrize("whole", [True, False], ids=["the transaction", "a savepoint"])
def test_rolling_back_what_the_caller_began(
    db: Engine, sessions: sessionmaker[Session], call: Call, whole: bool
) -> None:
    before = committed_rows(db)
    with sessions() as session:
        held = set(load_all(session))
        mine = session if whole else session.begin_nested()
        result = call(TenancyRepository(session))

        mine.rollback()

        assert rows(session.connection()) == before
        assert untruths(session, before) == []
        assert entities(session) == held
        del result


def test_rolling_back_a_savepoint_in_which_the_outcome_was_read(
    db: Engine, sessions: sessionmaker[Session], call: Call
) -> None:
    before = committed_rows(db)
    with sessions() as session:
        savepoint = session.begin_nested()
        call(TenancyRepository(session))
        read = load_all(session)

        savepoint.rollback()

        assert untruths(session, before) == []
        assert all(inspect(entity).expired for entity in read)
