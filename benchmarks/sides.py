"""The two that are compared, behind the names and arguments that they share.

Each is given what its own documentation advises: ours a pool and a Session for every call, the
peer a psycopg connection in autocommit, on the schema of the reference without our rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol, TypeAlias, cast

import psycopg
from flametrench_tenancy.postgres import PostgresTenancyStore
from sqlalchemy import URL, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import TenancyRepository, TenancyStore
from flametrench_tenancy_sqlalchemy.migrations import HEAD

Store: TypeAlias = TenancyStore | TenancyRepository
"""What an operation is called on; the peer's store passes for one."""


def libpq_url(url: URL) -> str:
    """Return a URL as psycopg itself takes it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


class Side(Protocol):
    """One of the two, on one connection."""

    revision: str
    """The revision of the schema that it runs on."""

    def __init__(self, url: URL) -> None: ...

    def standalone(self) -> AbstractContextManager[Store]:
        """Return the store whose calls are transactions of their own."""

    def nested(self) -> AbstractContextManager[Store]:
        """Return the store inside a caller's transaction, which is committed afterwards."""

    def close(self) -> None:
        """Give the connection up."""


class Ours:
    """`TenancyStore`, and `TenancyRepository` on the Session of a caller who is at work."""

    revision = HEAD

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url, pool_size=1, max_overflow=0)
        self._store = TenancyStore(sessionmaker(self._engine))

    @contextmanager
    def standalone(self) -> Iterator[Store]:
        """Yield the store."""
        yield self._store

    @contextmanager
    def nested(self) -> Iterator[Store]:
        """Yield a repository in a transaction that has begun."""
        with Session(self._engine) as session, session.begin():
            session.execute(text("SELECT 1"))
            yield TenancyRepository(session)

    def close(self) -> None:
        """Close the pool."""
        self._engine.dispose()


class Peer:
    """`flametrench_tenancy.postgres.PostgresTenancyStore`; nested, it takes savepoints too."""

    revision = "ft0001"

    def __init__(self, url: URL) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(libpq_url(url), autocommit=True)
        # The two agree on the names and arguments of the operations that they share.
        self._store = cast("TenancyStore", PostgresTenancyStore(self._connection))

    @contextmanager
    def standalone(self) -> Iterator[Store]:
        """Yield the store."""
        yield self._store

    @contextmanager
    def nested(self) -> Iterator[Store]:
        """Yield the store in a transaction that has begun."""
        with self._connection.transaction():
            self._connection.execute("SELECT 1")
            yield self._store

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


SIDES: Final[dict[str, type[Side]]] = {"ours": Ours, "peer": Peer}
