"""A primary and its streaming replica, as `scripts/on-replica.sh` starts them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.replicas import position, wait_for

if TYPE_CHECKING:
    from sqlalchemy import Engine

_PRIMARY: Final = os.environ.get("TENANCY_TEST_PRIMARY_URL")
PATIENCE: Final = 60.0

needs_a_replica = pytest.mark.skipif(
    _PRIMARY is None, reason="there is no replica: make replica, make soak"
)


@dataclass(frozen=True)
class Pair:
    """A migrated database on a primary, and the same on its replica."""

    primary: URL
    replica: URL
    pid: int
    """The primary's process."""

    @staticmethod
    def create() -> Pair:
        """Create the database."""
        primary, replica = (
            make_url(os.environ[f"TENANCY_TEST_{role}_URL"]).set(drivername="postgresql+psycopg")
            for role in ("PRIMARY", "REPLICA")
        )
        name = f"tenancy_{new_uuid().hex}"
        maintenance = create_engine(primary, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with maintenance.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        upgrade(primary.set(database=name))
        with Session(maintenance) as session:
            there = position(session)
        with Session(create_engine(replica, poolclass=NullPool)) as session:
            wait_for(session, there, timeout=PATIENCE)
        pid = int(os.environ["TENANCY_TEST_PRIMARY_PID"])
        return Pair(primary.set(database=name), replica.set(database=name), pid)


def pause(replica: Engine) -> None:
    """Have a replica stay as it is."""
    with replica.connect() as connection:
        connection.execute(text("SELECT pg_wal_replay_pause()"))
        until = time.monotonic() + PATIENCE
        while connection.scalar(text("SELECT pg_get_wal_replay_pause_state()")) != "paused":
            assert time.monotonic() < until, "it does not pause"


def resume(replica: Engine) -> None:
    """Have a replica go on."""
    with replica.connect() as connection:
        connection.execute(text("SELECT pg_wal_replay_resume()"))


def await_statement(engine: Engine, pattern: str) -> None:
    """Return as soon as somebody else runs such a statement."""
    running = text(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE :it"
    )
    until = time.monotonic() + PATIENCE
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(running, {"it": pattern}):
            assert time.monotonic() < until, "nobody does"


def catch_up(primary: Engine, replica: Engine) -> None:
    """Wait until a replica shows all that has been committed."""
    with Session(primary) as session:
        there = position(session)
    with Session(replica) as session:
        wait_for(session, there, timeout=PATIENCE)
