"""The guide to taking over a database: from what another SDK left behind to a healthy one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy.migrations import SchemaMismatchError
from tests.migration.reference import create_reference, run
from tests.migration.state import everything
from tests.support.guides import chapters

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tests.support.guides import Reader

[GUIDE] = chapters("existing-database.md")

DAMAGE: Final = [
    # The one row of the reference that the doctor would mind, if nobody said who had accepted.
    """
    UPDATE inv SET invited_user_id = usr_id, terminal_by = usr_id
    FROM mem WHERE inv.status = 'accepted' AND mem.role = 'guest'
    """,
    "ALTER TABLE usr ALTER status DROP NOT NULL",
    "ALTER INDEX org_slug_unique RENAME TO org_slug_key",
    "ALTER TABLE org DROP CONSTRAINT org_slug_format",
    "UPDATE org SET slug = 'Acme'",
    # Somebody else changed the role of the same membership at the same time.
    """
    INSERT INTO mem (id, usr_id, org_id, role, status, replaces, created_at)
    SELECT '0190f2a8-0000-7000-8000-000000000007', usr_id, org_id, 'member', 'revoked', id,
        '2026-01-02Z'
    FROM mem WHERE role = 'admin'
    """,
]


@pytest.fixture
def engine_(reader: Reader) -> Engine:
    """The reader's database, as another SDK left it."""
    engine = create_engine(reader.database, poolclass=NullPool)
    with engine.begin() as connection:
        create_reference(connection)
        run(connection, DAMAGE)
    return engine


def memberships(connection: Connection) -> list[object]:
    rows = "SELECT id, role, status, invited_by, created_at FROM mem ORDER BY id"
    return [tuple(row) for row in connection.exec_driver_sql(rows)]


def test_everything_in_it_works(reader: Reader, engine_: Engine) -> None:
    with engine_.connect() as connection:
        before = memberships(connection)

    reader.follow(GUIDE)

    assert reader.said.splitlines()[0].split()[0] == "REPAIRED"
    assert reader.said.endswith("Healthy: nothing is wrong.\n")
    with engine_.connect() as connection:
        assert memberships(connection) == before


def test_a_rehearsal_says_what_is_wrong_and_changes_nothing(
    reader: Reader, engine_: Engine
) -> None:
    before = everything(engine_)
    reader.follow(GUIDE[:1])

    with pytest.raises(SchemaMismatchError, match="rename it"):
        reader.here["rehearse"]()

    assert everything(engine_) == before
    reader.here["engine"].dispose()


def test_a_rehearsal_of_what_can_be_adopted_changes_nothing_either(
    reader: Reader, engine_: Engine
) -> None:
    reader.follow(GUIDE[:1])
    reader.follow([block for block in GUIDE if block.language == "sql"][:2])
    before = everything(engine_)

    reader.here["rehearse"]()

    assert everything(engine_) == before
    reader.here["engine"].dispose()
