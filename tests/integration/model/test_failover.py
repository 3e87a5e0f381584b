"""A primary that dies under six writers: nothing acknowledged is lost, and errors tell kinds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import (
    DuplicateInvitationIdError,
    DuplicateMembershipError,
    DuplicateOrganizationError,
    OutcomeUnknownError,
    TenancyStore,
    new_id,
)
from flametrench_tenancy_sqlalchemy.clock import utc_now
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.integration.model.soak import MINUTES
from tests.support.invariants import breaches
from tests.support.replicas import PATIENCE, Pair, needs_a_replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

pytestmark = [
    needs_a_replica,
    pytest.mark.skipif(not MINUTES, reason="it kills the primary: make soak"),
]

WRITERS: Final = 6
ENOUGH: Final = 40
HAPPENED: Final = (
    DuplicateInvitationIdError,
    DuplicateMembershipError,
    DuplicateOrganizationError,
)


@dataclass
class Writer:
    """Somebody who creates things, and after an unknown outcome tries again with the same ids.

    Attributes:
        engine: on whichever server takes writes.
        users: the owner of what is created, and a member.
        over: set when the test is.
        acknowledged: the ids of what is there, by a result or by a second try.
        refused: the ids of what is not there.
        kinds: how many calls ended in which way.
    """

    engine: Engine
    users: list[str]
    over: threading.Event
    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def write(self) -> None:
        """Go on until the test is over."""
        store = TenancyStore(sessionmaker(self.engine))
        owner, member = self.users
        while not self.over.is_set():
            org_id, inv_id, expires_at = new_id("org"), new_id("inv"), utc_now() + timedelta(1)
            offer = (org_id, "ann", "guest", owner, expires_at)
            if not self._done(org_id, partial(store.create_org, owner, org_id=org_id)):
                continue
            self._done(inv_id, partial(store.create_invitation, *offer, inv_id=inv_id))
            self._done(f"{org_id} {member}", partial(store.add_member, org_id, member, "guest"))

    def _done(self, key: str, call: Callable[[], Any]) -> bool:
        """Call until it is known what has become of it, and return whether it has happened."""
        unknown = False
        while True:
            try:
                call()
            except OutcomeUnknownError:
                self.kinds["unknown"] += 1
                unknown = True
            except HAPPENED:
                assert unknown, "nobody has tried before"
                self.kinds["had happened"] += 1
                break
            except DBAPIError:
                self.kinds["refused"] += 1
                self.over.wait(0.02)  # a server that is not there is not asked as fast as we can
                if not unknown:
                    self.refused.append(key)
                    return False
            else:
                self.kinds["had not happened" if unknown else "done"] += 1
                break
        self.acknowledged.append(key)
        return True


def rows(engine: Engine) -> set[str]:
    """Return the ids of everything that writers create."""
    with engine.connect() as connection:
        orgs = connection.execute(text("SELECT id FROM org")).scalars()
        invitations = connection.execute(text("SELECT id FROM inv")).scalars()
        members = connection.execute(text("SELECT org_id, usr_id FROM mem")).all()
    return {
        *(f"org_{org_id.hex}" for org_id in orgs),
        *(f"inv_{inv_id.hex}" for inv_id in invitations),
        *(f"org_{org_id.hex} usr_{usr_id.hex}" for org_id, usr_id in members),
    }


def test_nothing_acknowledged_is_lost_when_the_primary_dies() -> None:
    pair = Pair.create()
    with Session(create_engine(pair.primary, poolclass=NullPool)) as session:
        users = [make_user(session).id for _ in range(2)]
        session.commit()
    servers = [f"{url.host}:{url.port}" for url in (pair.primary, pair.replica)]
    wherever = pair.primary.set(host=None, port=None).update_query_dict(
        {"host": servers, "target_session_attrs": "read-write", "connect_timeout": "2"}
    )
    over = threading.Event()
    engine = create_engine(wherever, pool_size=WRITERS, pool_pre_ping=True)
    writers = [Writer(engine, users, over) for _ in range(WRITERS)]
    standby = create_engine(pair.replica, isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def await_more() -> None:
        before, until = [len(w.acknowledged) for w in writers], time.monotonic() + PATIENCE
        while any(len(w.acknowledged) < n + ENOUGH for w, n in zip(writers, before, strict=True)):
            assert time.monotonic() < until, "nothing more is acknowledged"
            over.wait(0.05)

    with ThreadPoolExecutor(WRITERS) as threads:
        working = [threads.submit(writer.write) for writer in writers]
        try:
            await_more()
            os.kill(pair.pid, signal.SIGKILL)
            with standby.connect() as connection:
                assert connection.scalar(text("SELECT pg_promote()"))
            await_more()
        finally:
            over.set()
        for each in working:
            each.result()

    print(sum((writer.kinds for writer in writers), Counter()))
    there = rows(standby)
    assert {key for writer in writers for key in writer.acknowledged} - there == set()
    assert {key for writer in writers for key in writer.refused} & there == set()
    assert any(writer.kinds["refused"] for writer in writers)
    with Session(standby.execution_options(isolation_level="READ COMMITTED")) as session:
        assert diagnose(session) == []
        assert breaches(session.connection()) == []
    engine.dispose()
