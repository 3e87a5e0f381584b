"""What a membership takes on disk, its tuple and all indexes included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import TenancyRepository, User, new_id
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES

from .server import size_of_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

MEMBERS: Final = 20_000
BATCH: Final = 1_000


def measure(url: URL) -> Iterator[tuple[str, float]]:
    """Add members to an organization by the thousand."""
    upgrade(url)
    engine = create_engine(url, poolclass=NullPool)
    with Session(engine) as session, session.begin():
        users = [new_id("usr") for _ in range(MEMBERS)]
        session.add_all(User(id=usr_id) for usr_id in users)
    before = {table: size_of_table(url, table) for table in TABLES}
    with Session(engine) as session, session.begin():
        tenancy = TenancyRepository(session)
        org_id = tenancy.create_org(users[0]).org.id
        for first in range(1, MEMBERS, BATCH):
            tenancy.add_members(org_id, dict.fromkeys(users[first : first + BATCH], "member"))
    for table in ("mem", "tup"):
        yield (
            f"bytes of {table} a membership",
            (size_of_table(url, table) - before[table]) / MEMBERS,
        )
    yield "bytes of usr a user without attributes", before["usr"] / MEMBERS
