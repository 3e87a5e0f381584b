"""What a vacuum takes, after a hundredth and a fifth of all members have changed their role."""

from __future__ import annotations

from contextlib import contextmanager
from random import randrange
from statistics import median
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import TenancyStore

from .seed import MEMBERS, wire_id
from .server import size_of_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

TABLES: Final = ("mem", "tup")
GUARDS: Final = 200
# By default PostgreSQL begins by itself when a fifth of a table's rows is dead.
SHARES: Final = {"a hundredth": 100, "a fifth": 5}
AT_ITS_PACE: Final = ("SET vacuum_cost_delay = '2ms'", "SET vacuum_cost_limit = 200")
"""As autovacuum goes by default."""

CHANGE_ROLES: Final = """
WITH ended AS (
    UPDATE mem SET status = 'revoked', updated_at = now()
    WHERE status = 'active' AND role = 'member'
        AND ('x' || right(replace(usr_id::text, '-', ''), 7))::bit(28)::int % :parts = 0
    RETURNING id, usr_id, org_id
), succeeded AS (
    INSERT INTO mem (id, usr_id, org_id, role, replaces)
    SELECT seeded_id('mem', :newest + row_number() OVER ()), usr_id, org_id, 'viewer', id FROM ended
), taken AS (
    DELETE FROM tup USING ended
    WHERE subject_type = 'usr' AND subject_id = usr_id
        AND object_type = 'org' AND object_id = org_id
)
INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id)
SELECT seeded_id('tup', :newest + row_number() OVER ()), 'usr', usr_id, 'viewer', 'org', org_id
FROM ended
"""


def measure(url: URL, members: int) -> Iterator[tuple[str, float]]:
    """Yield how tables grow, how long their vacuums take, and what a guard takes meanwhile."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for table in TABLES:
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
        connection.execute(text("SET session_replication_role = replica"))
        for setting in AT_ITS_PACE:
            connection.execute(text(setting))
        yield "ms of a guard", _guards(url, members, Event(), GUARDS)
        for number, (share, parts) in enumerate(SHARES.items(), 1):
            before = {table: size_of_table(url, table) for table in TABLES}
            given = {"parts": parts, "newest": members * number}
            connection.execute(text(CHANGE_ROLES), given)
            for table in TABLES:
                growth = size_of_table(url, table) / before[table] - 1
                yield f"% that {table} grew by, {share} changed", growth * 100
                with _guarding(url, members) as guards:
                    began = monotonic()
                    connection.execute(text(f"VACUUM (ANALYZE) {table}"))
                    yield f"s of a vacuum of {table}, {share} changed", monotonic() - began
                yield f"ms of a guard meanwhile, {table}, {share} changed", guards.pop()


@contextmanager
def _guarding(url: URL, members: int) -> Iterator[list[float]]:
    """Ask guards all the while; at the end the list has their median."""
    over, medians = Event(), list[float]()
    asking = Thread(target=lambda: medians.append(_guards(url, members, over)))
    asking.start()
    try:
        yield medians
    finally:
        over.set()
        asking.join()


def _guards(url: URL, members: int, over: Event, at_most: int | None = None) -> float:
    """Return the median milliseconds of `role_of`, asked a hundred times a second."""
    engine = create_engine(url)
    store = TenancyStore(sessionmaker(engine))
    took = list[float]()
    while len(took) < (at_most or len(took) + 1):
        began = monotonic()
        user = randrange(members)  # noqa: S311 - any will do
        store.role_of(wire_id("org", user // MEMBERS), wire_id("usr", user))
        took.append(monotonic() - began)
        if over.wait(0.01):
            break
    engine.dispose()
    return median(took) * 1e3
