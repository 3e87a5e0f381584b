"""The other layers of Flametrench at work on one Session's connection, beside tenancy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import TenancyRepository

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@pytest.fixture
def tenancy(session: Session) -> TenancyRepository:
    """Our repository."""
    return TenancyRepository(session)


@pytest.fixture
def connection(session: Session) -> Any:
    """The Session's psycopg connection, as the other layers take it.

    They open a savepoint where a transaction has begun and would commit one of their own where
    none has: the Session speaks first.
    """
    session.execute(text("SELECT 1"))
    return session.connection().connection.driver_connection
