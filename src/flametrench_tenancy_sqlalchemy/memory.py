"""A store in memory: for unit tests and the first five minutes."""

from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Engine, StaticPool, create_engine, event
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.schema import CreateTable

from .clock import Clock, utc_now
from .models import Base, User
from .models.columns import is_own
from .policy import LETTER, Policy
from .store import TenancyStore
from .transactions.sessions import AnySession
from .values import Status


class InMemoryTenancyStore(TenancyStore):
    """The same operations over SQLite in memory.

    A user who is named as creator, inviter or member and is not known yet registers themselves.
    SQLite cannot lock rows, so operations run one at a time; it has no patterns, so the checks of
    the slug's and the tuples' form are left to the domain methods; and everything is gone with
    the store.

    Args:
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """

    def __init__(self, *, clock: Clock = utc_now, policy: Policy = LETTER) -> None:
        turn = threading.Lock()
        sessions = sessionmaker(_memory_engine(), class_=_TakingTurns, info={"turn": turn})
        super().__init__(sessions, clock=clock, policy=policy)
        self._repository = partial(self._repository, admits=_register)


class _TakingTurns(Session):
    """A Session that waits until no other one is open."""

    def __enter__(self) -> _TakingTurns:
        self.info["turn"].acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.close()
        finally:
            self.info["turn"].release()


def _register(session: AnySession, usr_ids: Collection[str], at: datetime) -> None:
    """Register users who are not known yet: there is no identity layer to ask."""
    for usr_id in usr_ids:
        if session.get(User, usr_id) is None:
            session.add(User(id=usr_id, status=Status.ACTIVE, created_at=at, updated_at=at))
    session.flush()


def _memory_engine() -> Engine:
    """Return an engine on an empty database in memory, shared by all threads."""
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        # SQLite's own lower() knows no letters beyond ASCII.
        connection.create_function(
            "lower", 1, lambda text: text and text.lower(), deterministic=True
        )

    with engine.begin() as connection:
        for table in Base.metadata.tables.values():
            # What the application's own columns may refer to is not here.
            keys = [key for key in table.foreign_key_constraints if all(map(is_own, key.columns))]
            connection.execute(CreateTable(table, include_foreign_key_constraints=keys))
            for index in table.indexes:
                index.create(connection)
    return engine
