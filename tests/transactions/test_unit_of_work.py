"""`unit_of_work`: several operations and the application's own rows in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import InvalidRequestError, ResourceClosedError
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    Role,
    SoleOwnerError,
    TenancyRepository,
    new_id,
    unit_of_work,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.adopter import Note
from tests.support.rows import committed_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine
    from sqlalchemy.orm import scoped_session


@pytest.fixture
def users(db: Engine) -> list[str]:
    with Session(db) as session, session.begin():
        return [make_user(session).id for _ in range(2)]


def notes(db: Engine) -> list[str]:
    with Session(db) as session:
        return list(session.scalars(select(Note.text).order_by(Note.text)))


def test_commits_everything_at_the_end(db: Engine, users: list[str]) -> None:
    with unit_of_work(sessionmaker(db)) as tenancy:
        org = tenancy.create_org(users[0]).org
        tenancy.session.add(Note(text="mine"))
        tenancy.add_member(org.id, users[1], Role.MEMBER)
        assert committed_rows(db)["org"] == []

    assert len(committed_rows(db)["org"]) == 1
    assert len(committed_rows(db)["mem"]) == len(committed_rows(db)["tup"]) == 2
    assert notes(db) == ["mine"]


def test_rolls_everything_back_after_an_error(db: Engine, users: list[str]) -> None:
    def work() -> None:
        with unit_of_work(sessionmaker(db)) as tenancy:
            tenancy.create_org(users[0])
            tenancy.session.add(Note(text="mine"))
            raise LookupError

    with pytest.raises(LookupError):
        work()

    assert committed_rows(db)["org"] == []
    assert notes(db) == []


def test_goes_on_after_a_refusal_that_was_dealt_with(db: Engine, users: list[str]) -> None:
    with unit_of_work(sessionmaker(db)) as tenancy:
        owner = tenancy.create_org(users[0]).owner_membership
        tenancy.session.add(Note(text="mine"))
        with pytest.raises(SoleOwnerError):
            tenancy.self_leave(owner.id)

    assert [row.status for row in committed_rows(db)["mem"]] == ["active"]
    assert notes(db) == ["mine"]


def test_gives_its_connection_back(db: Engine, users: list[str]) -> None:
    taken: list[object] = []
    event.listen(db.pool, "checkout", lambda *_: taken.append("out"))
    event.listen(db.pool, "checkin", lambda *_: taken.append("in"))

    with unit_of_work(sessionmaker(db)) as tenancy:
        tenancy.create_org(users[0])
        assert taken == ["out"]

    assert taken == ["out", "in"]


def _commit(session: Session | scoped_session[Session]) -> None:
    session.commit()


def _roll_back(session: Session | scoped_session[Session]) -> None:
    session.rollback()


@pytest.mark.parametrize("end, kept", [(_commit, 1), (_roll_back, 0)])
def test_refuses_to_go_on_once_the_block_ended_its_transaction(
    db: Engine,
    users: list[str],
    end: Callable[[Session | scoped_session[Session]], None],
    kept: int,
) -> None:
    with unit_of_work(sessionmaker(db)) as tenancy:
        tenancy.create_org(users[0])
        end(tenancy.session)
        with pytest.raises(InvalidRequestError, match="closed transaction inside context manager"):
            tenancy.create_org(users[1])

    assert len(committed_rows(db)["org"]) == kept


def test_a_closed_session_refuses_to_work(db: Engine, users: list[str]) -> None:
    session = Session(db, close_resets_only=False)
    tenancy = TenancyRepository(session)
    tenancy.create_org(users[0])
    session.close()

    with pytest.raises(InvalidRequestError, match="permanently closed"):
        tenancy.create_org(users[1])

    assert committed_rows(db)["org"] == []


def test_a_closed_connection_refuses_to_work(db: Engine, users: list[str]) -> None:
    with db.connect() as connection:
        session = Session(connection)
        TenancyRepository(session).create_org(users[0])

    with session, pytest.raises(ResourceClosedError, match="Connection is closed"):
        TenancyRepository(session).create_org(new_id("usr"))

    assert committed_rows(db)["org"] == []
