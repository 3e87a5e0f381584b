"""A page costs a page: what PostgreSQL reads for one, in lists that tempt it to read more.

The newest organization has half of all members, nearly all invitations, and statuses that hardly
occur in it; one user is a member everywhere. Beside them are small ones, whose rows come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import InvitationStatus, Status, TenancyRepository
from tests.support.cluster import on_one_server
from tests.support.large import large_database
from tests.support.plans import Plan, plan_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flametrench_tenancy_sqlalchemy.testing.servers import Server

pytestmark = on_one_server("plans are the nodes' own")

LIMIT: Final = 20
SIZE: Final = 10_000

# Ids in the order of their numbers. Every hundredth member, organization or invitation is not as
# the others, and of those nearly all are alike.
SEED: Final = """
    SET LOCAL session_replication_role = replica;
    CREATE FUNCTION pg_temp.id(number int) RETURNS uuid LANGUAGE sql AS
        $$ SELECT CAST(lpad(to_hex(number), 12, '0') || '70008000000000000000' AS uuid) $$;
    CREATE FUNCTION pg_temp.status(number int) RETURNS text LANGUAGE sql AS
        $$ SELECT CASE WHEN number % 100 > 0 THEN 'active'
            WHEN number % 5000 > 0 THEN 'revoked' ELSE 'suspended' END $$;

    INSERT INTO usr (id) SELECT pg_temp.id(n) FROM generate_series(1, 10) n;
    INSERT INTO org (id, status, name)
        SELECT pg_temp.id(n), pg_temp.status(n), 'Organization ' || n
        FROM generate_series(1, :size) n;
    INSERT INTO mem (id, usr_id, org_id, role, status)
        SELECT pg_temp.id(n), pg_temp.id(10 + n), pg_temp.id(:size),
            CASE n % 1000 WHEN 3 THEN 'admin' WHEN 4 THEN 'owner' ELSE 'member' END,
            pg_temp.status(n)
        FROM generate_series(1, :size) n
        UNION ALL
        SELECT pg_temp.id(:size + n), pg_temp.id(9), pg_temp.id(n), 'member', pg_temp.status(n)
        FROM generate_series(1, :size) n
        UNION ALL
        SELECT pg_temp.id(3 * :size + n), pg_temp.id(n), pg_temp.id(7), 'member', 'active'
        FROM generate_series(1, 3) n
        UNION ALL
        SELECT pg_temp.id(4 * :size + n), pg_temp.id(8), pg_temp.id(n), 'member', 'active'
        FROM generate_series(1, 3) n;
    INSERT INTO inv
            (id, org_id, identifier, role, invited_by, status, created_at, expires_at, terminal_at)
        SELECT pg_temp.id(n), pg_temp.id(CASE WHEN n > :size THEN 7 ELSE :size END), 'somebody',
            'guest', pg_temp.id(1), status, '2020-01-01',
            CASE WHEN n % 100 = 50 THEN timestamptz '2021-01-01' ELSE '2100-01-01' END,
            CASE WHEN status <> 'pending' THEN timestamptz '2020-02-02' END
        FROM generate_series(1, :size + 3) n, LATERAL (SELECT CASE
            WHEN n % 100 > 0 THEN 'pending' WHEN n % 5000 > 0 THEN 'accepted'
            WHEN n % 10000 > 0 THEN 'declined' ELSE 'expired' END) AS s (status);
    """


def id_(type_: str, number: int) -> str:
    return f"{type_}_{number:012x}70008000000000000000"


BIG_ORG: Final = id_("org", SIZE)
SMALL_ORG: Final = id_("org", 7)
BUSY_USER: Final = id_("usr", 9)
QUIET_USER: Final = id_("usr", 8)


@dataclass(frozen=True)
class Listing:
    """A list, and the index that each of its pages is read from, be it long."""

    operation: str
    of: dict[str, str]
    index: str
    status: str | None = None
    is_long: bool = True
    roles: tuple[str, ...] | None = None
    newest_first: bool = False

    @property
    def has_its_time_inside(self) -> bool:
        """Whether each call is another statement, so that none is prepared once and for all."""
        return self.operation == "list_invitations" and self.status in {"pending", "expired"}

    @property
    def also(self) -> set[str]:
        """The index by which the organizations are found that come with memberships."""
        return {"org_pkey"} if self.operation == "list_memberships" else set()

    @property
    def merged(self) -> int:
        """How many stretches it is read from: what is stored as expired, and what is overdue; or
        one for each role.
        """
        return 2 if self.status == "expired" else len(self.roles or "1")

    def __str__(self) -> str:
        narrowed = [self.status, *(self.roles or ()), "newest first" if self.newest_first else ""]
        return f"{self.operation}({' '.join(filter(None, narrowed))}) of {self.of}"

    def plan(self, session: Session, cursor: str | None, *, generic: bool) -> Plan:
        def call(tenancy: TenancyRepository) -> object:
            options: dict[str, Any] = {"status": self.status, "cursor": cursor, "limit": LIMIT}
            if self.operation == "list_members":
                options |= {"roles": self.roles, "newest_first": self.newest_first}
            return getattr(tenancy, self.operation)(**self.of, **options)

        return plan_of(session, call, generic=generic)


_LISTINGS: Final = [
    Listing("list_orgs", {}, "org_pkey"),
    *(Listing("list_orgs", {}, "org_status_page_idx", status) for status in Status),
    *(
        Listing(
            operation=f"list_{name}",
            of={parameter: of},
            index=f"{table}_{'status_' if status else ''}page_idx",
            status=status,
            is_long=of == long,
        )
        for name, parameter, table, statuses, long, short in [
            ("members", "org_id", "mem_org", Status, BIG_ORG, SMALL_ORG),
            ("memberships", "usr_id", "mem_usr", Status, BUSY_USER, QUIET_USER),
            ("invitations", "org_id", "inv_org", InvitationStatus, BIG_ORG, SMALL_ORG),
        ]
        for of in (long, short)
        for status in (None, *statuses)
    ),
]
_OF_MEMBERS: Final = [each for each in _LISTINGS if each.operation == "list_members"]
LISTINGS: Final = [
    *_LISTINGS,
    *(replace(each, newest_first=True) for each in _OF_MEMBERS),
    *(
        replace(each, roles=roles, newest_first=newest_first)
        for each in _OF_MEMBERS
        for roles in [("admin",), ("admin", "guest"), ("member", "owner")]
        for newest_first in (False, True)
        if each.of == {"org_id": BIG_ORG}
    ),
]

PLANNED: Final = [
    *((listing, False) for listing in LISTINGS),
    *((listing, True) for listing in LISTINGS if not listing.has_its_time_inside),
]


def seed(connection: Connection) -> None:
    connection.exec_driver_sql(SEED.replace(":size", str(SIZE)).replace("%", "%%"))


@pytest.fixture(scope="module")
def session(tenancy_server: Server, tenancy_template: str) -> Iterator[Session]:
    """A Session on the database with these lists."""
    with (
        large_database(tenancy_server, tenancy_template, seed) as engine,
        Session(engine) as session,
    ):
        yield session


@pytest.mark.parametrize("at", [None, SIZE // 2, 2 * SIZE - 100], ids=str)
@pytest.mark.parametrize("listing, generic", PLANNED, ids=str)
def test_a_page_is_read_from_its_index_and_nothing_else_is(
    session: Session, listing: Listing, generic: bool, at: int | None
) -> None:
    type_ = {"list_orgs": "org", "list_invitations": "inv"}.get(listing.operation, "mem")
    plan = listing.plan(session, None if at is None else id_(type_, at), generic=generic)
    # One row tells of more, and one is the cursor's own.
    assert plan.rows_read <= (LIMIT + 2) * (listing.merged + len(listing.also))
    # To find a role, all entries of an organization may be passed over.
    assert plan.blocks_read < (200 * listing.merged if listing.roles else 150)
    # Those in a role and a status may look so few that they are as well sorted.
    if listing.is_long and not (listing.roles and listing.status):
        assert plan.indexes == {listing.index} | listing.also
        assert ("Sort" in plan.kinds) == (listing.merged > 1)


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
# Half of the table being active members of one organization, those may be counted in the table.
@pytest.mark.parametrize("status", [None, Status.SUSPENDED, Status.REVOKED])
def test_members_are_counted_in_an_index_alone(
    session: Session, status: Status | None, generic: bool
) -> None:
    def call(tenancy: TenancyRepository) -> object:
        return tenancy.count_members(BIG_ORG, status=status)

    plan = plan_of(session, call, generic=generic)
    assert "Index Only Scan" in plan.kinds
    assert plan.blocks_read < 100
