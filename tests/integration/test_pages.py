"""The four lists on PostgreSQL: order, pages, filters and parents that do not exist."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.orm import joinedload, load_only, selectinload

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    Membership,
    NotFoundError,
    Organization,
    Page,
    Role,
    Status,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.counting import sent
from tests.support.isolation import in_full
from tests.support.sql import bare
from tests.support.stage import IDENTIFIER, Stage

# How the rows of each list are made in bulk: revoked memberships need no tuple.
ROWS = {
    "list_orgs": "INSERT INTO org (id) SELECT gen_random_uuid() FROM generate_series(1, :number)",
    "list_members": """
        WITH u AS (
            INSERT INTO usr (id) SELECT gen_random_uuid() FROM generate_series(1, :number)
            RETURNING id
        )
        INSERT INTO mem (id, usr_id, org_id, role, status)
        SELECT gen_random_uuid(), id, CAST(:parent AS uuid), 'guest', 'revoked' FROM u
        """,
    "list_memberships": """
        WITH o AS (
            INSERT INTO org (id) SELECT gen_random_uuid() FROM generate_series(1, :number)
            RETURNING id
        )
        INSERT INTO mem (id, usr_id, org_id, role, status)
        SELECT gen_random_uuid(), CAST(:parent AS uuid), id, 'guest', 'revoked' FROM o
        """,
    "list_invitations": """
        WITH u AS (INSERT INTO usr (id) VALUES (gen_random_uuid()) RETURNING id)
        INSERT INTO inv (id, org_id, identifier, role, invited_by, expires_at)
        SELECT gen_random_uuid(), CAST(:parent AS uuid), 'somebody', 'guest', id,
            now() + interval '1 day' FROM u, generate_series(1, :number)
        """,
}
PARENTS = {"list_members": "org_id", "list_memberships": "usr_id", "list_invitations": "org_id"}


class Listing:
    """A list of one kind, of something that has nothing in it yet."""

    def __init__(self, operation: str, stage: Stage) -> None:
        self.stage, self.operation, self.parent = stage, operation, PARENTS.get(operation)
        self.of: list[str] = [new_id(self.parent[:3])] if self.parent else []
        if self.parent:
            table, values = self.parent[:3], {"id": bare(self.of[0])}
            with in_full(stage.session):
                stage.session.execute(text(f"INSERT INTO {table} (id) VALUES (:id)"), values)

    def fill(self, number: int) -> None:
        values = {"parent": bare(self.of[0]) if self.of else None, "number": number}
        with in_full(self.stage.session):
            self.stage.session.execute(text(ROWS[self.operation]), values)

    def __call__(self, **options: Any) -> Page[Any]:
        page: Page[Any] = getattr(self.stage.tenancy, self.operation)(*self.of, **options)
        return page


@pytest.fixture(params=ROWS)
def listing(request: pytest.FixtureRequest, stage: Stage) -> Listing:
    """Each list."""
    return Listing(request.param, stage)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_pages_go_through_everything_once_ascending_by_id(size: int, listing: Listing) -> None:
    page = listing()
    assert (page.data, page.next_cursor) == ([], None)
    Listing(listing.operation, listing.stage).fill(2 if listing.of else 0)  # somebody else's
    listing.fill(6)
    seen: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = listing(limit=size, cursor=cursor)
        assert 0 < len(page.data) <= size
        seen += [entity.id for entity in page.data]
        cursor, pages = page.next_cursor, pages + 1
        assert cursor in (None, seen[-1])
    assert pages == -(-6 // size)
    assert len(seen) == 6
    assert seen == sorted(set(seen))


def test_the_row_that_a_cursor_names_need_not_exist(listing: Listing) -> None:
    listing.fill(4)
    prefix = listing().data[0].id[:4]
    assert len(listing(cursor=f"{prefix}{'0' * 12}7{'0' * 19}").data) == 4
    page = listing(cursor=f"{prefix}{'f' * 12}7{'f' * 19}")
    assert (page.data, page.next_cursor) == ([], None)


def test_a_page_holds_fifty_or_as_many_as_asked_from_one_to_two_hundred(listing: Listing) -> None:
    listing.fill(200)
    page = listing(limit=200)
    assert (len(page.data), page.next_cursor) == (200, None)  # just full, it is the last
    listing.fill(1)
    sizes = {None: 50, -1: 1, 0: 1, 1: 1, 199: 199, 200: 200, 201: 200, 10_000: 200}
    for limit, size in sizes.items():
        page = listing() if limit is None else listing(limit=limit)
        assert len(page.data) == size
        assert page.next_cursor == page.data[-1].id


@pytest.mark.parametrize("narrowed", [False, True])
@pytest.mark.parametrize("operation", PARENTS)
def test_a_list_of_what_does_not_exist_is_not_found(
    operation: str, narrowed: bool, stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id(PARENTS[operation][:3])
    options = {"status": "revoked", "limit": 1} if narrowed else {}
    with stage.refuses(NotFoundError, parameter=PARENTS[operation], id=unknown):
        getattr(tenancy, operation)(unknown, **options)


@pytest.mark.sees_all
def test_a_list_may_be_narrowed_to_a_status_given_as_enum_or_word(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    for status in Status:
        stage.org(status)
    org, usr_id = stage.org(), stage.user()
    for status in Status:
        stage.member(stage.org(), status=status, usr_id=usr_id), stage.member(org, status=status)
    for end in reversed(InvitationStatus):
        stage.invitation(org, status=end)
    lists = {"orgs": [], "members": [org.id], "memberships": [usr_id], "invitations": [org.id]}
    for name, of in lists.items():
        operation = getattr(tenancy, f"list_{name}")
        everything = operation(*of).data
        for word in InvitationStatus if name == "invitations" else Status:
            expected = [entity for entity in everything if entity.status is word]
            assert operation(*of, status=word).data == expected != []
            assert operation(*of, status=word.value).data == expected


def test_a_status_narrows_what_a_page_counts(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    for status in [Status.ACTIVE, Status.SUSPENDED] * 2:
        stage.member(org, status=status)
    last = stage.member(org, status=Status.SUSPENDED)
    page = tenancy.list_members(org.id, status=Status.SUSPENDED, limit=2)
    assert [membership.status for membership in page.data] == [Status.SUSPENDED] * 2
    rest = tenancy.list_members(org.id, status="suspended", cursor=page.next_cursor)
    assert (rest.data, rest.next_cursor) == ([last], None)


NAMED = {
    "Acme 100% Ünï": None,
    "snake_case": "kebab-case",
    "back\\slash": "acme-2",
    None: "nameless",
    "": None,
}


FOUND: list[tuple[tuple[str, ...], set[str | None]]] = [
    (("acme", "ACME"), {"Acme 100% Ünï", "back\\slash"}),
    (("cme 1", "üNÏ", "%"), {"Acme 100% Ünï"}),
    (("_", "e_c", "B-C"), {"snake_case"}),
    (("\\", "acme-2"), {"back\\slash"}),
    (("/", "%cme", "'; --", "nul\x00", "\ud800"), set()),
    (("nameless",), {None}),
    (("",), set(NAMED)),
]


@pytest.mark.sees_all
def test_a_query_is_a_plain_part_of_a_name_or_slug_in_any_case(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    creator = stage.user()
    for name, slug in NAMED.items():
        tenancy.create_org(creator, name=name, slug=slug)
    for query, found in ((query, found) for queries, found in FOUND for query in queries):
        page = tenancy.list_orgs(query=query)
        assert {org.name for org in page.data} == found
        assert page.next_cursor is None


@pytest.mark.sees_all
def test_a_query_goes_with_a_status_and_with_pages(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    creator = stage.user()
    acmes = [tenancy.create_org(creator, name=f"Acme {n}").org for n in range(3)]
    tenancy.create_org(creator, name="Bolt")
    tenancy.suspend_org(acmes[1].id)
    page = tenancy.list_orgs(query="acme", status="active", limit=1)
    assert (page.data, page.next_cursor) == ([acmes[0]], acmes[0].id)
    rest = tenancy.list_orgs(query="acme", status="active", cursor=page.next_cursor)
    assert (rest.data, rest.next_cursor) == ([acmes[2]], None)


def test_memberships_come_with_their_organizations_loaded(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    usr_id = stage.user()
    org_ids = [stage.member(stage.org(), usr_id=usr_id).org_id for _ in range(3)]
    stage.session.expunge_all()
    memberships = tenancy.list_memberships(usr_id).data
    assert all("organization" in inspect(m).dict for m in memberships)
    assert [m.organization.id for m in memberships] == org_ids


NAMES = ["Ann", "ANNA 100%", "a_b", "Bo/b", None, "Jürgen"]


@pytest.mark.parametrize("query", [None, "ann", "%", "_", "/", "ÜR", "", "x", "nul\x00", 7])
def test_members_are_narrowed_and_turned_as_a_list_of_all_would_be(
    query: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, everybody = stage.org(), []
    for role, status in product([Role.ADMIN, Role.MEMBER, Role.GUEST], Status):
        for name in NAMES:
            user = make_user(stage.session, display_name=name)
            everybody.append((stage.member(org, role, status, usr_id=user.id), name))
    everybody.insert(0, (stage.owner(org), None))
    stage.member(stage.org(), Role.ADMIN, usr_id=everybody[1][0].usr_id)
    for roles, status, newest_first in product(
        [None, [], ["admin"], [Role.GUEST, "owner", "guest"]], [None, *Status], [False, True]
    ):
        expected = [
            member
            for member, name in everybody
            if (roles is None or member.role in roles)
            and status in (None, member.status)
            and (query is None or (name is not None and str(query).lower() in name.lower()))
        ]
        narrowed: dict[str, Any] = {
            "roles": roles,
            "status": status,
            "query": query,
            "newest_first": newest_first,
        }
        page = tenancy.list_members(org.id, limit=4, **narrowed)
        found = page.data
        while page.next_cursor:
            page = tenancy.list_members(org.id, limit=4, cursor=page.next_cursor, **narrowed)
            found += page
        assert found == expected[:: -1 if newest_first else 1]


def test_a_narrowed_list_of_what_does_not_exist_is_not_found(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    ways: list[dict[str, Any]] = [{"roles": []}, {"query": "nul\x00"}, {"newest_first": True}]
    for narrowed in ways:
        with stage.refuses(NotFoundError, parameter="org_id"):
            tenancy.list_members(new_id("org"), **narrowed)


@pytest.mark.sees_all
@pytest.mark.parametrize("load", [joinedload, selectinload])
def test_what_options_ask_for_is_read_without_a_statement(
    load: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    """In lists that are merged as well: of two roles, and of what has expired."""
    org = stage.org()
    usr_id = stage.member(org).usr_id
    stage.invitation(org, status=InvitationStatus.EXPIRED)
    stage.invitation(org)
    with_user, with_org = load(Membership.user), load(Invitation.organization)
    with_org = with_org.options(load_only(Organization.slug))
    lists: list[tuple[str, dict[str, Any], list[Any]]] = [
        ("list_orgs", {}, [load_only(Organization.slug)]),
        ("list_members", {"org_id": org.id}, [with_user]),
        ("list_members", {"org_id": org.id, "roles": [Role.OWNER, Role.MEMBER]}, [with_user]),
        ("list_memberships", {"usr_id": usr_id}, [with_user]),
        ("list_invitations", {"org_id": org.id}, [load(Invitation.inviter), with_org]),
        ("list_invitations", {"org_id": org.id, "status": "expired"}, [load(Invitation.inviter)]),
        ("list_invitations_for", {"identifier": IDENTIFIER}, [load(Invitation.inviter)]),
    ]
    for operation, given, options in lists:
        stage.session.expunge_all()
        page = getattr(tenancy, operation)(**given, options=options)
        assert len(page) > 0, operation
        with sent(stage.session) as seen:
            for entity in page:
                if isinstance(entity, Organization):
                    assert "name" in inspect(entity).unloaded
                    continue
                user = entity.user if isinstance(entity, Membership) else entity.inviter
                assert (user.id, user.display_name) == (user.id, None)
            if with_org in options:
                assert "name" in inspect(page.data[0].organization).unloaded
        assert seen == []
