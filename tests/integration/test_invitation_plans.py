"""What an operation reads of invitations and members is what it is about, be there thousands more.

One organization has thousands of members, invited by one another and to be invited; one identifier
is invited everywhere, and one inviter has invited it. Beside them are those who have a few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Policy, Role, TenancyRepository
from tests.support.cluster import on_one_server
from tests.support.large import large_database

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flametrench_tenancy_sqlalchemy.testing.servers import Server

pytestmark = on_one_server("plans are the nodes' own")

SIZE: Final = 10_000
LIMIT: Final = 20

# Organization 1 is the large one. User 1 owns all; user 2 is an admin in two and has a few offers;
# user 3 has made all the others, those for user 4 included; the rest are members of the large one.
SEED: Final = """
    SET LOCAL session_replication_role = replica;
    CREATE FUNCTION pg_temp.id(number int) RETURNS uuid LANGUAGE sql AS
        $$ SELECT CAST(lpad(to_hex(number), 12, '0') || '70008000000000000000' AS uuid) $$;

    INSERT INTO usr (id) SELECT pg_temp.id(n) FROM generate_series(1, 10 + :size) n;
    INSERT INTO org (id) SELECT pg_temp.id(n) FROM generate_series(1, :size) n;
    INSERT INTO mem (id, usr_id, org_id, role)
        SELECT pg_temp.id(n), pg_temp.id(1), pg_temp.id(n), 'owner' FROM generate_series(1, :size) n
        UNION ALL
        SELECT pg_temp.id(:size + n), pg_temp.id(2), pg_temp.id(n), 'admin'
        FROM generate_series(1, 2) n
        UNION ALL
        SELECT pg_temp.id(2 * :size + n), pg_temp.id(10 + n), pg_temp.id(1), 'member'
        FROM generate_series(1, :size) n;
    INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id)
        SELECT id, 'usr', usr_id, role, 'org', org_id FROM mem;
    INSERT INTO inv (id, org_id, identifier, role, invited_by, invited_user_id, status, created_at,
            expires_at, terminal_at)
        SELECT pg_temp.id(row_number() OVER ()::int), pg_temp.id(org), identifier, 'guest',
            pg_temp.id(inviter), pg_temp.id(invitee), CASE WHEN invitee IS NULL THEN 'pending'
            ELSE 'accepted' END, '2020-01-01', '2100-01-01',
            CASE WHEN invitee IS NOT NULL THEN timestamptz '2020-02-02' END
        FROM (
            SELECT 1, 'invitee' || n || '@example.com', 3, nobody
            FROM generate_series(1, :size) n, CAST(NULL AS int) nobody
            UNION ALL
            SELECT n, 'busy@example.com', 3, NULL FROM generate_series(2, :size) n
            UNION ALL
            SELECT n, 'busy@example.com', 3, 4 FROM generate_series(2, :size) n
            UNION ALL
            SELECT n, 'Busy@example.com', 3, NULL FROM generate_series(2, :size) n
            UNION ALL
            SELECT 1, 'member' || n || '@example.com', 3, 10 + n FROM generate_series(1, :size) n
            UNION ALL
            SELECT * FROM (VALUES
                (1, 'quiet@example.com', 2, NULL), (2, 'quiet@example.com', 2, NULL),
                (1, 'else@example.com', 2, NULL), (1, 'quiet@example.com', 3, 2),
                (2, 'quiet@example.com', 3, 2)) AS few
        ) AS offers (org, identifier, inviter, invitee);
    """


def id_(type_: str, number: int) -> str:
    return f"{type_}_{number:012x}70008000000000000000"


LARGE, SMALL, OTHER = (id_("org", number) for number in (1, 2, SIZE))
OWNER, QUIET, FRIEND = (id_("usr", number) for number in (1, 2, 4))
QUIETS: Final = id_("mem", SIZE + 1)
"""The quiet user's membership in the large organization."""
FIRST_OFFER: Final = 5 * SIZE - 3 + 1
"""The number of the first of the quiet user's offers, of one for the quiet identifier."""
FEW: Final = 16
"""The most rows of a table that an operation may read which is about no more than a handful."""

Call: TypeAlias = Callable[[TenancyRepository], object]


def invite(org_id: str) -> Call:
    def call(tenancy: TenancyRepository) -> object:
        soon = datetime.now(UTC) + timedelta(days=1)
        return tenancy.create_invitation(org_id, "busy@example.com", Role.GUEST, OWNER, soon)

    return call


def accept(tenancy: TenancyRepository) -> object:
    return tenancy.accept_invitation(
        id_("inv", FIRST_OFFER), as_usr_id=FRIEND, accepting_identifier="quiet@example.com"
    )


CALLS: Final[dict[str, Call]] = {
    "self_leave": lambda tenancy: tenancy.self_leave(QUIETS),
    "admin_remove": lambda tenancy: tenancy.admin_remove(QUIETS, OWNER),
    "suspend_membership": lambda tenancy: tenancy.suspend_membership(QUIETS),
    "self_leave, as one of most": lambda tenancy: tenancy.self_leave(id_("mem", 2 * SIZE + 1)),
    "remove_members": lambda tenancy: tenancy.remove_members([QUIETS, id_("mem", SIZE + 2)], OWNER),
    "offboard_user": lambda tenancy: tenancy.offboard_user(QUIET),
    "erase_identifier": lambda tenancy: tenancy.erase_identifier("quiet@example.com"),
    "create_invitation, where most are": invite(LARGE),
    "accept_invitation, where most are": accept,
    "count_seats": lambda tenancy: tenancy.count_seats(SMALL),
}
MODES: Final = ("force_custom_plan", "force_generic_plan")


@pytest.fixture(scope="module")
def connection(tenancy_server: Server, tenancy_template: str) -> Iterator[Connection]:
    """A connection to the database with all these."""

    def seed(connection: Connection) -> None:
        connection.exec_driver_sql(SEED.replace(":size", str(SIZE)))

    with (
        large_database(tenancy_server, tenancy_template, seed) as engine,
        engine.connect() as connection,
    ):
        connection.connection.driver_connection.prepare_threshold = 0  # type: ignore[union-attr]
        yield connection


def rows_read(connection: Connection) -> Counter[str]:
    """Return how many rows of each table this transaction has read so far."""
    query = "SELECT relname, seq_tup_read + idx_tup_fetch AS read FROM pg_stat_xact_user_tables"
    return Counter({row.relname: row.read for row in connection.execute(text(query))})


def read_by(connection: Connection, call: Call, mode: str, policy: Policy) -> Counter[str]:
    """Return how many rows of each table a call reads, and undo it."""
    with connection.begin() as transaction, Session(connection) as session:
        session.execute(text(f"SET LOCAL plan_cache_mode = {mode}"))
        before = rows_read(connection)
        assert call(TenancyRepository(session, policy=policy))
        session.flush()
        read = rows_read(connection) - before
        transaction.rollback()
    return read


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CALLS)
def test_it_reads_no_more_than_it_is_about(connection: Connection, name: str, mode: str) -> None:
    read = read_by(connection, CALLS[name], mode, Policy.recommended())
    assert read["org"] > 0
    assert max(read.values()) <= FEW, read


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", [SMALL, LARGE], ids=["limited", "unlimited"])
def test_seats_are_counted_in_the_organization_alone_if_they_are_limited(
    connection: Connection, place: str, mode: str
) -> None:
    policy = Policy.recommended(seats=lambda session, org: 10 if org.id == SMALL else None)
    read = read_by(connection, invite(place), mode, policy)
    assert max(read.values()) <= FEW, read


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "identifier, spellings, after",
    [
        ("busy@example.com", 1, None),
        ("busy@example.com", 1, SIZE + SIZE // 2),
        ("Busy@example.com", 2, None),
        ("Busy@example.com", 2, SIZE + SIZE // 2),
        ("Busy@example.com", 2, 3 * SIZE + SIZE // 2),
    ],
)
def test_a_page_of_an_inbox_reads_a_page_of_each_spelling(
    connection: Connection, identifier: str, spellings: int, after: int | None, mode: str
) -> None:
    def call(tenancy: TenancyRepository) -> object:
        cursor = None if after is None else id_("inv", after)
        return tenancy.list_invitations_for(identifier, cursor=cursor, limit=LIMIT)

    # One row tells of more, and one is the cursor's own.
    assert read_by(connection, call, mode, Policy.recommended())["inv"] <= spellings * (LIMIT + 2)
