"""What history and the feed cost where there is much of it: read from indexes, and no more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import AuditLog, Membership, TenancyRepository
from flametrench_tenancy_sqlalchemy.audit import feed, history
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.large import large_database
from tests.support.plans import plan_of

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy.testing.servers import Server

SOAK: Final = "SOAK_KILLS" in os.environ
MEMBERS: Final = 100_000 if SOAK else 2_000
EVENTS: Final = 9
"""How many each member has besides; of every twentieth they are suspensions and their ends."""
SECONDS: Final = 0.5
LIMIT: Final = 50

PEOPLE: Final = "CREATE TEMPORARY TABLE people AS SELECT gen_random_uuid() AS usr, \
    gen_random_uuid() AS mem, n FROM generate_series(1, :members) AS n"
MEMBERSHIPS: Final = "INSERT INTO mem (id, usr_id, org_id, role, created_at, updated_at) \
    SELECT mem, usr, CAST(:org AS uuid), 'member', now() - interval '40 days', \
        now() - interval '40 days' FROM people"
LOG: Final = """
    INSERT INTO aud (occurred_at, action, target_kind, target_id, scope_kind, scope_id, metadata)
    SELECT now() - interval '30 days' + k * interval '1 day',
        CASE WHEN n % 20 > 0 THEN 'proj.open' WHEN k % 2 = 0 THEN 'tenancy.member_suspended'
            ELSE 'tenancy.member_reinstated' END,
        'mem', 'mem_' || replace(CAST(mem AS text), '-', ''), 'org', :wire_id,
        CASE WHEN n % 20 > 0 THEN '{}' ELSE jsonb_build_object('was',
            CASE WHEN k % 2 = 0 THEN 'active' ELSE 'suspended' END) END
    FROM people, generate_series(1, :events) AS k
"""


def seed(connection: Connection) -> None:
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        org_id = TenancyRepository(session).create_org(make_user(session).id).org.id
        session.commit()
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    connection.execute(text(PEOPLE), {"members": MEMBERS})
    connection.execute(text("INSERT INTO usr (id) SELECT usr FROM people"))
    connection.execute(text(MEMBERSHIPS), {"org": org_id[4:]})
    connection.execute(text(LOG), {"wire_id": org_id, "events": EVENTS + SOAK})


@pytest.fixture(scope="module")
def large_engine(server: Server, logged_template: str) -> Iterator[Engine]:
    with large_database(server, logged_template, seed) as engine:
        yield engine


@pytest.fixture
def log(large_engine: Engine) -> Iterator[AuditLog]:
    with Session(large_engine) as session:
        yield AuditLog(session)


@pytest.fixture
def org_id(log: AuditLog) -> str:
    [event] = log.query(action="tenancy.org_created")
    return event.target_id


@pytest.mark.skipif(not SOAK, reason="times are for `make soak`")
def test_a_hundred_thousand_members_are_told_in_half_a_second(log: AuditLog, org_id: str) -> None:
    at = datetime.now(UTC) - timedelta(days=25.5)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        assert len(log.members_at(org_id, at).roles) == MEMBERS - MEMBERS // 20
        times.append(time.perf_counter() - begun)
    print(f"members_at: {min(times):.3f} s")
    assert min(times) < SECONDS


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("at", ["beginning", "middle"])
def test_a_consumer_reads_what_it_is_given_and_little_else(
    large_engine: Engine, at: str, generic: bool
) -> None:
    with Session(large_engine) as session:
        xid, pos = session.execute(
            text("SELECT CAST(CAST(max(xid) AS text) AS bigint), max(pos) / 2 FROM aud")
        ).one()
        position = {"era": 1, "xid": xid, "pos": pos} if at == "middle" else feed.BEGINNING
        given = {**position, "rows": LIMIT}
        plan = plan_of(session, lambda _: session.execute(feed.NEXT, given), generic=generic)
    assert "Sort" not in plan.kinds
    assert plan.rows_read <= 2 * LIMIT


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_page_of_an_organization_reads_little_more_than_it_shows(
    log: AuditLog, org_id: str, newest_first: bool
) -> None:
    cursor = log.query(org_id=org_id, limit=200, newest_first=newest_first).next_cursor
    session = log.session
    assert isinstance(session, Session)
    plan = plan_of(
        session,
        lambda _: log.query(org_id=org_id, cursor=cursor, newest_first=newest_first, limit=LIMIT),
    )
    assert plan.rows_read <= 2 * LIMIT


def test_one_users_role_is_found_without_reading_everybodys(log: AuditLog, org_id: str) -> None:
    session = log.session
    assert isinstance(session, Session)
    usr_id = session.scalars(select(Membership.usr_id).where(Membership.role == "member")).first()
    given = {"org": org_id, "scope": org_id, "usr": usr_id, "at": datetime.now(UTC)}
    plan = plan_of(session, lambda _: session.execute(history._members_at(of_user=True), given))
    assert plan.rows_read <= 200
