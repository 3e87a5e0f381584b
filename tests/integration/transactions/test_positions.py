"""How far a primary has come, and waiting for that where there is nothing to wait for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flametrench_tenancy_sqlalchemy import PreconditionError, TenancyRepository
from flametrench_tenancy_sqlalchemy.replicas import position, wait_for
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.cluster import on_one_server

if TYPE_CHECKING:
    from sqlalchemy import Engine

AHEAD = "FFFFFFFF/FFFFFFFF"


@pytest.mark.parametrize("synchronous", ["on", "off"])
def test_a_position_lies_behind_what_was_committed_before_it(db: Engine, synchronous: str) -> None:
    written = text("SELECT pg_current_wal_insert_lsn()")
    behind = text("SELECT CAST(:late AS pg_lsn) > CAST(:early AS pg_lsn)")
    options = f"{db.url.query.get('options', '')} -c synchronous_commit={synchronous}"
    url = db.url.update_query_dict({"options": options})
    with Session(create_engine(url, poolclass=NullPool)) as session:
        TenancyRepository(session).create_org(make_user(session).id)
        early = session.scalar(written)
        session.commit()
        assert session.scalar(behind, {"late": position(session), "early": early})


@on_one_server("each node has a log of its own")
def test_a_position_is_not_given_before_the_commit(db: Engine) -> None:
    with Session(db) as session:
        TenancyRepository(session).create_org(make_user(session).id)
        with pytest.raises(InvalidRequestError, match="commit it"):
            position(session)


def test_a_primary_has_all_there_is(db: Engine) -> None:
    scoped = scoped_session(sessionmaker(db))
    begun = time.monotonic()
    here = position(scoped)
    scoped.commit()
    wait_for(scoped, here)
    wait_for(scoped, AHEAD, timeout=60)
    assert time.monotonic() < begun + 60
    scoped.remove()


@pytest.mark.parametrize("given", ["", "0", "0/", "0/G", "0/1 ", "0/123456789", "0/1\n", None, 7])
def test_what_is_no_position_is_refused(db: Engine, given: Any) -> None:
    with Session(db) as session, pytest.raises(PreconditionError) as refusal:
        wait_for(session, given)
    assert (refusal.value.reason, refusal.value.parameter) == ("position_format", "position")


def test_nobody_waits_in_a_transaction(db: Engine) -> None:
    with Session(db) as session:
        here = position(session)
        with pytest.raises(InvalidRequestError, match="before the Session's transaction begins"):
            wait_for(session, here)
        session.commit()
        wait_for(session, here)
        assert not session.in_transaction()
