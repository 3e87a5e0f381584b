"""The stage that integration tests play on: a Session that is rolled back, and a clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.sql import disagreements
from tests.support.stage import Stage


@pytest.fixture
def stage(session: Session) -> Iterator[Stage]:
    """A stage; when the test is over, the rules that hold between rows must hold."""
    yield Stage(session)
    session.flush()
    assert disagreements(session) == []
    # What the schema would refuse at the commit that never comes.
    session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


@pytest.fixture
def tenancy(stage: Stage) -> TenancyRepository:
    """The repository, at the stage's clock."""
    return stage.tenancy
