"""A consumer misses nothing that is committed and gets nothing twice, whoever writes meanwhile."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Event
from typing import Final

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy._integrity import is_transient
from flametrench_tenancy_sqlalchemy.audit import AuditLog
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from flametrench_tenancy_sqlalchemy.testing.servers import Server
from tests.support.races import LEVELS

WRITERS: Final = 16
TRANSACTIONS: Final = 12
KILL: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'writer' AND state <> 'idle' "
    "ORDER BY random() LIMIT 1"
)
TAKE: Final = text("INSERT INTO taken (level, event_id) VALUES (:level, :id)")


@pytest.fixture(scope="module")
def url(server: Server) -> Iterator[str]:
    """A database with a log, and a table of the consumer's own."""
    databases, name = Databases(server), f"followed_{secrets.token_hex(4)}"
    url = databases.create(name)
    upgrade(url, branches=["audit"])
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE taken (place serial, level text, event_id text)"))
    engine.dispose()
    yield url.render_as_string(hide_password=False)
    databases.drop(name)


def engine_of(url: str, name: str) -> Engine:
    return create_engine(url, pool_size=WRITERS, connect_args={"application_name": name})


def write(engine: Engine, seed: int) -> list[str]:
    """Write in many transactions, and return the ids of what has certainly been committed."""
    random, committed = Random(seed), list[str]()
    for _ in range(TRANSACTIONS):
        try:
            with Session(engine) as session:
                log, written = AuditLog(session), list[str]()
                if random.random() < 0.5:  # gets its number early, and is overtaken
                    session.execute(text("SELECT pg_current_xact_id()"))
                    session.execute(text("SELECT pg_sleep(:s)"), {"s": random.random() / 50})
                for _ in range(random.randint(1, 4)):
                    savepoint = session.begin_nested()
                    event = log.write("proj.archive", ("proj", "x")).id
                    if random.random() < 0.3:
                        savepoint.rollback()
                    else:
                        savepoint.commit()
                        written.append(event)
                if random.random() < 0.2:
                    session.rollback()
                else:
                    session.commit()
                    committed += written
        except DBAPIError:  # killed; whether it had been committed is not known
            continue
    return committed


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_missed_and_nothing_comes_twice(url: str, level: str) -> None:
    writers, worker = engine_of(url, "writer"), engine_of(url, "worker")
    over = Event()

    def kill() -> None:
        while not over.wait(0.05):
            with worker.begin() as connection:
                connection.execute(KILL)

    def follow() -> None:
        at_level = worker.execution_options(isolation_level=level)
        done = False
        while not done:
            finished = over.is_set()
            try:
                with Session(at_level) as session, session.begin():
                    events = AuditLog(session).follow(level, limit=7)
                    for event in events:
                        session.execute(TAKE, {"level": level, "id": event.id})
            except DBAPIError as exc:
                if not is_transient(exc):
                    raise
                continue  # the other worker was faster
            with Session(worker) as session:
                done = finished and AuditLog(session).lag(level).events == 0

    with ThreadPoolExecutor(WRITERS + 3) as threads:
        following = [threads.submit(follow) for _ in range(2)]
        killing = threads.submit(kill)
        written = [threads.submit(write, writers, seed) for seed in range(WRITERS)]
        committed = {event for each in written for event in each.result()}
        over.set()
        killing.result()
        for each in following:
            each.result()

    with worker.connect() as connection:
        rows = connection.execute(
            text("SELECT event_id FROM taken WHERE level = :level ORDER BY place"), {"level": level}
        )
        taken = list(rows.scalars())
        there = connection.scalars(
            text("SELECT 'aud_' || replace(CAST(id AS text), '-', '') FROM aud ORDER BY xid, pos")
        ).all()
    for engine in (writers, worker):
        engine.dispose()
    assert committed <= set(there)
    assert taken == there
