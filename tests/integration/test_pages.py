"""The four lists on PostgreSQL: order, pages, filters and parents that do not exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import inspect, text

from flametrench_tenancy_sqlalchemy import (
    InvitationStatus,
    NotFoundError,
    Status,
    TenancyRepository,
    new_id,
)
from tests.support.sql import bare
from tests.support.stage import Stage


@dataclass(frozen=True)
class Listing:
    """A list, what it is of, and how its rows are made in bulk by plain SQL."""

    operation: str
    parent: str | None
    rows: str

    def call(self, tenancy: TenancyRepository, parent: str | None, **options: Any) -> Any:
        arguments = [] if parent is None else [parent]
        return getattr(tenancy, self.operation)(*arguments, **options)

    def new_parent(self, stage: Stage) -> str | None:
        """Return something that exists and has nothing in it yet."""
        if self.parent == "org_id":
            org_id = new_id("org")
            query = text("INSERT INTO org (id) VALUES (CAST(:id AS uuid))")
            stage.session.execute(query, {"id": bare(org_id)})
            return org_id
        return stage.user() if self.parent else None

    def fill(self, stage: Stage, parent: str | None, number: int) -> None:
        """Put rows into it: revoked memberships, which need no tuple, and open invitations."""
        values = {"parent": parent and bare(parent), "number": number}
        stage.session.execute(text(self.rows), values)


LISTS = [
    Listing(
        "list_orgs",
        None,
        "INSERT INTO org (id) SELECT gen_random_uuid() FROM generate_series(1, :number)",
    ),
    Listing(
        "list_members",
        "org_id",
        """
        WITH u AS (
            INSERT INTO usr (id) SELECT gen_random_uuid() FROM generate_series(1, :number)
            RETURNING id
        )
        INSERT INTO mem (id, usr_id, org_id, role, status)
        SELECT gen_random_uuid(), id, CAST(:parent AS uuid), 'guest', 'revoked' FROM u
        """,
    ),
    Listing(
        "list_memberships",
        "usr_id",
        """
        WITH o AS (
            INSERT INTO org (id) SELECT gen_random_uuid() FROM generate_series(1, :number)
            RETURNING id
        )
        INSERT INTO mem (id, usr_id, org_id, role, status)
        SELECT gen_random_uuid(), CAST(:parent AS uuid), id, 'guest', 'revoked' FROM o
        """,
    ),
    Listing(
        "list_invitations",
        "org_id",
        """
        WITH u AS (INSERT INTO usr (id) VALUES (gen_random_uuid()) RETURNING id)
        INSERT INTO inv (id, org_id, identifier, role, invited_by, expires_at)
        SELECT gen_random_uuid(), CAST(:parent AS uuid), 'somebody', 'guest', id,
            now() + interval '1 day' FROM u, generate_series(1, :number)
        """,
    ),
]
every_list = pytest.mark.parametrize("listing", LISTS, ids=lambda listing: listing.operation)
every_list_of_something = pytest.mark.parametrize(
    "listing", [i for i in LISTS if i.parent], ids=lambda listing: listing.operation
)


@every_list
@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_pages_go_through_everything_once_ascending_by_id(
    size: int, listing: Listing, stage: Stage, tenancy: TenancyRepository
) -> None:
    parent = listing.new_parent(stage)
    listing.fill(stage, parent, 6)
    seen: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = listing.call(tenancy, parent, limit=size, cursor=cursor)
        assert 0 < len(page.data) <= size
        seen += [entity.id for entity in page.data]
        cursor, pages = page.next_cursor, pages + 1
        assert cursor in (None, seen[-1])
    assert pages == -(-6 // size)
    assert len(seen) == 6
    assert seen == sorted(set(seen))


@every_list
def test_the_row_that_a_cursor_names_need_not_exist(
    listing: Listing, stage: Stage, tenancy: TenancyRepository
) -> None:
    parent = listing.new_parent(stage)
    listing.fill(stage, parent, 4)
    prefix = listing.call(tenancy, parent).data[0].id[:4]
    before, after = f"{prefix}{'0' * 12}7{'0' * 19}", f"{prefix}{'f' * 12}7{'f' * 19}"
    assert len(listing.call(tenancy, parent, cursor=before).data) == 4
    page = listing.call(tenancy, parent, cursor=after)
    assert (page.data, page.next_cursor) == ([], None)


@every_list
@pytest.mark.parametrize(
    "options, size",
    [
        ({}, 50),
        ({"limit": -1}, 1),
        ({"limit": 0}, 1),
        ({"limit": 1}, 1),
        ({"limit": 199}, 199),
        ({"limit": 200}, 200),
        ({"limit": 201}, 200),
        ({"limit": 10_000}, 200),
    ],
    ids=str,
)
def test_a_page_holds_fifty_or_as_many_as_asked_from_one_to_two_hundred(
    options: dict[str, int], size: int, listing: Listing, stage: Stage, tenancy: TenancyRepository
) -> None:
    parent = listing.new_parent(stage)
    listing.fill(stage, parent, 201)
    page = listing.call(tenancy, parent, **options)
    assert len(page.data) == size
    assert page.next_cursor == page.data[-1].id


@every_list
def test_a_page_that_is_just_full_is_the_last(
    listing: Listing, stage: Stage, tenancy: TenancyRepository
) -> None:
    parent = listing.new_parent(stage)
    listing.fill(stage, parent, 200)
    page = listing.call(tenancy, parent, limit=200)
    assert len(page.data) == 200
    assert page.next_cursor is None


@every_list
def test_an_empty_list_is_empty(listing: Listing, stage: Stage, tenancy: TenancyRepository) -> None:
    page = listing.call(tenancy, listing.new_parent(stage))
    assert (page.data, page.next_cursor) == ([], None)


@every_list_of_something
@pytest.mark.parametrize("narrowed", [False, True])
def test_a_list_of_what_does_not_exist_is_not_found(
    narrowed: bool, listing: Listing, stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id(str(listing.parent)[:3])
    options = {"status": "revoked", "limit": 1} if narrowed else {}
    with stage.refuses(NotFoundError, parameter=listing.parent, id=unknown):
        listing.call(tenancy, unknown, **options)


@every_list_of_something
def test_a_list_shows_nobody_elses(
    listing: Listing, stage: Stage, tenancy: TenancyRepository
) -> None:
    parent, other = listing.new_parent(stage), listing.new_parent(stage)
    listing.fill(stage, other, 2)
    assert listing.call(tenancy, parent).data == []


def _orgs(stage: Stage) -> tuple[list[Any], dict[Any, Any]]:
    return [], {status: stage.org(status) for status in Status}


def _members(stage: Stage) -> tuple[list[Any], dict[Any, Any]]:
    org = stage.org()
    founder = stage.owner(org)
    others = [stage.member(org, status=status) for status in list(Status)[1:]]
    return [org.id], {membership.status: membership for membership in [founder, *others]}


def _memberships(stage: Stage) -> tuple[list[Any], dict[Any, Any]]:
    usr_id = stage.user()
    return [usr_id], {s: stage.member(stage.org(), status=s, usr_id=usr_id) for s in Status}


def _invitations(stage: Stage) -> tuple[list[Any], dict[Any, Any]]:
    org = stage.org()
    return [org.id], {s: stage.invitation(org, status=s) for s in reversed(InvitationStatus)}


@pytest.mark.parametrize(
    "operation, arrange",
    [
        ("list_orgs", _orgs),
        ("list_members", _members),
        ("list_memberships", _memberships),
        ("list_invitations", _invitations),
    ],
)
def test_a_list_may_be_narrowed_to_a_status_given_as_enum_or_word(
    operation: str,
    arrange: Callable[[Stage], tuple[list[Any], dict[Any, Any]]],
    stage: Stage,
    tenancy: TenancyRepository,
) -> None:
    arguments, by_status = arrange(stage)
    listing = getattr(tenancy, operation)
    for status, entity in by_status.items():
        assert listing(*arguments, status=status).data == [entity]
        assert listing(*arguments, status=status.value).data == [entity]
    assert len(listing(*arguments).data) == len(by_status)


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


@pytest.mark.parametrize(
    "query, found",
    [
        ("acme", {"Acme 100% Ünï", "back\\slash"}),
        ("ACME", {"Acme 100% Ünï", "back\\slash"}),
        ("cme 1", {"Acme 100% Ünï"}),
        ("üNÏ", {"Acme 100% Ünï"}),
        ("%", {"Acme 100% Ünï"}),
        ("_", {"snake_case"}),
        ("e_c", {"snake_case"}),
        ("B-C", {"snake_case"}),
        ("\\", {"back\\slash"}),
        ("/", set()),
        ("%cme", set()),
        ("nameless", {None}),
        ("acme-2", {"back\\slash"}),
        ("'; --", set()),
        ("", set(NAMED)),
        ("nul\x00", set()),
        ("\ud800", set()),
    ],
)
def test_a_query_is_a_plain_part_of_a_name_or_slug_in_any_case(
    query: str, found: set[str | None], stage: Stage, tenancy: TenancyRepository
) -> None:
    creator = stage.user()
    for name, slug in NAMED.items():
        tenancy.create_org(creator, name=name, slug=slug)
    page = tenancy.list_orgs(query=query)
    assert {org.name for org in page.data} == found
    assert page.next_cursor is None


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
