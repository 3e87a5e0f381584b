"""Calls that meet on real connections: at a barrier, or in an order that is forced on them.

Nothing here sleeps. What waits for a lock is seen to wait by asking the server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Barrier
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyError
from flametrench_tenancy_sqlalchemy._integrity import sqlstate
from tests.support.cluster import COORDINATOR, WORDS_OF_NODES
from tests.support.statements import backend_pid, is_blocked

READ_COMMITTED: Final = "READ COMMITTED"
REPEATABLE_READ: Final = "REPEATABLE READ"
SERIALIZABLE: Final = "SERIALIZABLE"
LEVELS: Final = (READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE)

DONE: Final = "done"
SERIALIZATION_FAILURE: Final = "40001"
# What a node finds at the commit comes back without its cause.
UNSERIALIZABLE: Final = {SERIALIZATION_FAILURE, *(["XX000"] if COORDINATOR else [])}

# Far beyond what anything here takes, on the busiest of machines.
DEADLINE: Final = 60.0

COMPLETE: Final = os.environ.get("TENANCY_RACES") == "all"
"""Whether everything races in every way; else each in one, which is another one for the next."""

Act: TypeAlias = Callable[[Session], object]

WAYS: Final = {
    "by statement": (False, False),
    "by flush": (True, True),
    "by flush, then by statement": (True, False),
    "by statement, then by flush": (False, True),
}
"""Whether the first act is listened to, and whether the second one is."""


@dataclass(frozen=True)
class Ending:
    """How two acts ended, and whether the second had to wait for the first."""

    first: str
    second: str
    waited: bool = False

    @property
    def verdicts(self) -> tuple[str, str]:
        """How each ended."""
        return self.first, self.second


def heard(act: Act, listened_to: bool = True) -> Act:
    """Return an act in a Session to which somebody listens, so that it writes by flush."""

    def listened(session: Session) -> None:
        event.listen(session, "before_flush", lambda *_: None)
        act(session)

    return listened if listened_to else act


def acts(way: str, first: Act, second: Act) -> tuple[Act, Act]:
    """Return two acts that write in one of the `WAYS`."""
    one, other = WAYS[way]
    return heard(first, one), heard(second, other)


def verdict(call: Callable[[], object]) -> str:
    """Return how a call ended: done, an error's code, or the SQLSTATE of the database's error.

    Any but a failure to serialize, a deadlock above all, is nothing that a caller should ever see.
    """
    try:
        call()
    except TenancyError as exc:
        return exc.code
    except DBAPIError as exc:
        return sqlstate(exc) or repr(exc)
    return DONE


def refusals(error: str) -> set[str]:
    """Return how the schema's refusal of a client arrives that is not ours."""
    return {error, *(WORDS_OF_NODES if COORDINATOR else ())}


class Races:
    """Races on one database, at one isolation level."""

    def __init__(self, engine: Engine, level: str, threads: ThreadPoolExecutor) -> None:
        self.engine = engine.execution_options(isolation_level=level)
        self.level = level
        # Not derived from the other: of two levels for one engine the first would stand.
        self._outside = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._threads = threads

    def alone(self, act: Act) -> str:
        """Run an act in a transaction of its own."""
        with Session(self.engine) as session:
            return verdict(lambda: _committed(act, session))

    def clash(self, first: Act, second: Act) -> Ending:
        """Run two acts at the same time, each in a transaction that has begun already."""
        with Session(self.engine) as one, Session(self.engine) as other:
            for session in (one, other):
                session.connection()
            barrier = Barrier(2, timeout=DEADLINE)

            def run(act: Act, session: Session) -> str:
                barrier.wait()
                return verdict(lambda: _committed(act, session))

            ending = self._threads.submit(run, second, other)
            return Ending(run(first, one), ending.result(DEADLINE))

    def behind(
        self, first: Act, second: Act, *, seen: Act | None = None, ahead: Races | None = None
    ) -> Ending:
        """Let the second act come when the first is through, with a snapshot from before it.

        Its Session may have seen things before the first act, and still hold what it saw; the
        first act may run at another isolation level, ``ahead``.
        """
        with Session(self.engine) as late:
            held = (seen or _snapshot)(late)
            early = (ahead or self).alone(first)
            ending = Ending(early, verdict(lambda: _committed(second, late)))
        del held
        return ending

    def against(self, first: Act, second: Act, *, commit: bool = True) -> Ending:
        """Let the second act come while the first is done and its transaction is still open.

        The first transaction ends when the second one waits for a lock, or is through.
        """
        with Session(self.engine) as session, self._outside.connect() as observer:
            began = verdict(lambda: first(session))
            future, waited = self._start(second, observer)
            if began == SERIALIZATION_FAILURE or not commit:
                session.rollback()
                ended = DONE
            else:
                ended = verdict(session.commit)
            return Ending(began if ended == DONE else ended, future.result(DEADLINE), waited)

    def pile_up(self, obstacle: Act, *acts: Act) -> list[str]:
        """Let acts run into an open transaction, one after the other, and then abandon it."""
        with Session(self.engine) as session, self._outside.connect() as observer:
            obstacle(session)
            futures = []
            for act in acts:
                future, waits = self._start(act, observer)
                assert waits
                futures.append(future)
            session.rollback()
            return [future.result(DEADLINE) for future in futures]

    def _start(self, act: Act, observer: Connection) -> tuple[Future[str], bool]:
        """Start an act, and tell whether it has to wait for a lock, as soon as that is known."""
        pids: SimpleQueue[int] = SimpleQueue()
        future = self._threads.submit(self._announced, act, pids)
        pid = pids.get(timeout=DEADLINE)
        return future, _until(future, lambda: is_blocked(observer, pid))

    def _announced(self, act: Act, pids: SimpleQueue[int]) -> str:
        with Session(self.engine) as session:
            pids.put(backend_pid(session.connection()))
            return verdict(lambda: _committed(act, session))


def _snapshot(session: Session) -> None:
    session.execute(text("SELECT count(*) FROM org WHERE false"))


def _committed(act: Act, session: Session) -> None:
    act(session)
    session.commit()


def _until(future: Future[str], waits: Callable[[], bool]) -> bool:
    """Tell whether something has to wait for a lock, or else gets through with what it does."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if wait([future], timeout=0.001).done:
            return False
        if waits():
            return True
    raise TimeoutError("it neither waits for a lock nor gets through")
