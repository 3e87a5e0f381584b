"""Who is compared, behind the names and arguments of the operations that all of them have.

Each is given what its own documentation advises: ours a pool and a Session for every call, the
peer a psycopg connection in autocommit, on the schema of the reference without our rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias, cast

import psycopg
from flametrench_tenancy.postgres import PostgresTenancyStore
from sqlalchemy import URL, create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.byhand import ByHand
from flametrench_tenancy_sqlalchemy import Policy, TenancyRepository, TenancyStore
from flametrench_tenancy_sqlalchemy.migrations import HEAD

Store: TypeAlias = TenancyStore | TenancyRepository
"""What an operation is called on; what is written by hand and the peer's store pass for one."""
Mode: TypeAlias = Literal["standalone", "nested"]
MODES: Final[tuple[Mode, ...]] = ("standalone", "nested")


class Ours:
    """`TenancyStore`, and `TenancyRepository` on the Session of a caller who is at work."""

    revision: str = HEAD
    """Of the schema that it runs on."""
    branches: tuple[str, ...] = ()
    """The opt-in branches that it has besides."""
    policy = Policy()

    def __init__(self, url: URL) -> None:
        self.engine = create_engine(url, pool_size=1, max_overflow=0)
        self.factory = sessionmaker(self.engine)
        self.store = TenancyStore(self.factory, policy=self.policy)

    @contextmanager
    def opened(self, mode: Mode) -> Iterator[Store]:
        """Yield the store, or a repository in a transaction that has begun."""
        if mode == "standalone":
            yield self.store
            return
        with self.factory.begin() as session:
            session.execute(text("SELECT 1"))
            yield self.nested(session)

    def nested(self, session: Session) -> Store:
        """Return what takes part in a Session's transaction."""
        return TenancyRepository(session, policy=self.policy)


class Listened(Ours):
    """Ours, in an application that listens to its Sessions."""

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        event.listen(self.factory, "before_flush", lambda *_: None)


class Searched(Ours):
    """Ours, with the opt-in index for searches."""

    branches = ("search",)


class Recommended(Ours):
    """Ours, under the policy that most products want."""

    policy = Policy.recommended()


class WithSeats(Ours):
    """Ours, where seats are limited, and so counted."""

    policy = Policy.recommended(seats=lambda session, org: 10_000_000)


class Logged(Ours):
    """Ours, on a database that keeps an audit log."""

    branches = ("audit",)


class Hand(Ours):
    """The operations written by hand, on our schema with all its rules."""

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        factory = sessionmaker(self.engine, expire_on_commit=False)
        self.store = cast("TenancyStore", ByHand(factory.begin))

    def nested(self, session: Session) -> Store:
        """Return the operations, each of which takes a savepoint."""

        @contextmanager
        def savepoint() -> Iterator[Session]:
            with session.begin_nested():
                yield session

        return cast("TenancyRepository", ByHand(savepoint))


class Peer:
    """`flametrench_tenancy.postgres.PostgresTenancyStore`; nested, it takes savepoints too."""

    revision = "ft0001"
    branches = ()

    def __init__(self, url: URL) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(libpq_url(url), autocommit=True)
        # They agree on the names and arguments of the operations that they share.
        self._store = cast("TenancyStore", PostgresTenancyStore(self._connection))

    @contextmanager
    def opened(self, mode: Mode) -> Iterator[Store]:
        """Yield the store, by itself or in a transaction that has begun."""
        if mode == "standalone":
            yield self._store
            return
        with self._connection.transaction():
            self._connection.execute("SELECT 1")
            yield self._store


Side: TypeAlias = Ours | Peer
SIDES: Final[dict[str, type[Side]]] = {
    "ours": Ours,
    "by hand": Hand,
    "peer": Peer,
    "listened": Listened,
    "recommended": Recommended,
    "with seats": WithSeats,
    "logged": Logged,
    "searched": Searched,
}


def libpq_url(url: URL) -> str:
    """Return a URL as psycopg itself takes it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
