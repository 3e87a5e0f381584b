"""Every operation works at every isolation level that has transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.operations import every_operation
from tests.support.rows import committed_rows, untruths

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.support.operations import Call


@every_operation
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_works_at(
    db: Engine,
    call: Call,
    level: Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"],
) -> None:
    before = committed_rows(db)
    with Session(db.execution_options(isolation_level=level)) as session:
        assert session.connection().get_isolation_level() == level
        result = call(TenancyRepository(session))
        session.commit()

        assert committed_rows(db) != before
        assert untruths(session, committed_rows(db)) == []
        del result
