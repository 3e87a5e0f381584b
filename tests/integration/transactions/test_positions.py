"""How far a primary has come, and waiting for that where there is nothing to wait for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flametrench_tenancy_sqlalchemy import PreconditionError, TenancyRepository
from flametrench_tenancy_sqlalchemy.replicas import position, wait_for
from flametrench_tenancy_sqlalchemy.testing.factories import make_user

if TYPE_CHECKING:
    from sqlalchemy import Engine

AHEAD = "FFFFFFFF/FFFFFFFF"


def test_a_position_lies_behind_what_was_committed_before_it(db: Engine) -> None:
    behind = text("SELECT CAST(:late AS pg_lsn) > CAST(:early AS pg_lsn)")
    with Session(db) as session:
        early = position(session)
        TenancyRepository(session).create_org(make_user(session).id)
        session.commit()
        assert session.scalar(behind, {"late": position(session), "early": early})


def test_a_position_is_not_given_before_the_commit(db: Engine) -> None:
    with Session(db) as session:
        TenancyRepository(session).create_org(make_user(session).id)
        with pytest.raises(InvalidRequestError, match="commit it"):
            position(session)


def test_a_primary_has_all_there_is(db: Engine) -> None:
    scoped = scoped_session(sessionmaker(db))
    begun = time.monotonic()
    wait_for(scoped, position(scoped))
    wait_for(scoped, AHEAD, timeout=60)
    assert time.monotonic() < begun + 60
    scoped.remove()


@pytest.mark.parametrize("given", ["", "0", "0/", "0/G", "0/1 ", "0/123456789", "0/1\n", None, 7])
def test_what_is_no_position_is_refused(db: Engine, given: Any) -> None:
    with Session(db) as session, pytest.raises(PreconditionError) as refusal:
        wait_for(session, given)
    assert (refusal.value.reason, refusal.value.parameter) == ("position_format", "position")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_would_not_see_what_it_waited_for_does_not_wait(
    db: Engine, level: str
) -> None:
    with (
        Session(db.execution_options(isolation_level=level)) as session,
        pytest.raises(PreconditionError) as refusal,
    ):
        wait_for(session, AHEAD)
    assert refusal.value.reason == "isolation_level"
