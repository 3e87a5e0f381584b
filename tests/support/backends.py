"""The same operations on PostgreSQL and in memory, for tests that hold for both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    InMemoryTenancyStore,
    TenancyRepository,
    TenancyStore,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.databases import empty_tables
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.rows import Rows, rows

Tenancy: TypeAlias = TenancyRepository | TenancyStore

BACKENDS = ["postgresql", "memory"]


@dataclass
class PostgresBackend:
    """A repository in a transaction of its own on tables that are empty."""

    session: Session
    tenancy: Tenancy = field(init=False)

    def __post_init__(self) -> None:
        empty_tables(self.session.connection())
        self.tenancy = TenancyRepository(self.session)

    def new_user(self) -> str:
        """Register a user, and return the wire id."""
        return make_user(self.session).id

    def rows(self) -> Rows:
        """Return everything in the tables, asking in the transaction that has to be alive."""
        return rows(self.session.connection())


@dataclass
class MemoryBackend:
    """A store of its own in memory."""

    tenancy: Tenancy = field(default_factory=InMemoryTenancyStore)

    def new_user(self) -> str:
        """Return a wire id, which registers itself when it is used."""
        return new_id("usr")

    def rows(self) -> Rows:
        """Return everything in the tables."""
        with self.tenancy._session_factory() as session:  # type: ignore[union-attr]  # always a store
            return rows(session.connection())


Backend: TypeAlias = PostgresBackend | MemoryBackend


def make_backend(name: str, request: pytest.FixtureRequest) -> Backend:
    """Return an empty backend; only the one on PostgreSQL asks for a server."""
    if name == "memory":
        return MemoryBackend()
    return PostgresBackend(request.getfixturevalue("session"))


@contextmanager
def nothing_written(backend: Backend) -> Iterator[None]:
    """Expect the tables to be the same after the block."""
    before = backend.rows()
    yield
    assert backend.rows() == before
