"""The store in memory as a whole: its face, its users, its clock, its threads."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import flametrench_tenancy as peer
import pytest

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    InMemoryTenancyStore,
    Membership,
    NotFoundError,
    OrgSlugConflictError,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
    TenancyStore,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.entities import EARLIER, EXPIRY, LATER, NOW, TICK, refused

EXPIRY_AHEAD = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def store() -> InMemoryTenancyStore:
    """An empty store."""
    return InMemoryTenancyStore()


def _operations(of: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(of, inspect.isfunction)
        if not name.startswith("_")
    }


def test_it_is_a_tenancy_store_as_the_peer_defines_it(store: InMemoryTenancyStore) -> None:
    assert isinstance(store, peer.TenancyStore)
    assert isinstance(store, TenancyStore)


@pytest.mark.parametrize("ours", [TenancyRepository, TenancyStore, InMemoryTenancyStore])
@pytest.mark.parametrize("name, signature", list(_operations(peer.TenancyStore).items()))
def test_it_takes_the_parameters_that_the_peer_takes(
    ours: type, name: str, signature: inspect.Signature
) -> None:
    mine = _operations(ours)[name]
    assert [(p.name, p.kind) for p in mine.parameters.values()] == [
        (p.name, p.kind) for p in signature.parameters.values()
    ]
    for parameter in signature.parameters.values():
        given = mine.parameters[parameter.name]
        # The peer's `...` stands for "omitted", which has a name of its own here.
        if parameter.default is not ...:
            assert given.default == parameter.default


def test_the_standalone_forms_have_every_operation_of_the_repository() -> None:
    assert _operations(TenancyStore) == _operations(TenancyRepository)
    assert _operations(InMemoryTenancyStore) == _operations(TenancyRepository)


def test_two_stores_share_nothing() -> None:
    one, other = InMemoryTenancyStore(), InMemoryTenancyStore()
    org = one.create_org(new_id("usr"), slug="acme").org
    assert other.list_orgs().data == []
    with refused(NotFoundError):
        other.get_org(org.id)
    assert other.create_org(new_id("usr"), slug="acme").org.slug == org.slug


def test_users_register_themselves_wherever_they_are_named(store: InMemoryTenancyStore) -> None:
    creator, member, inviter, invitee, decliner = (new_id("usr") for _ in range(5))
    org = store.create_org(creator).org
    store.add_member(org.id, member, Role.MEMBER, invited_by=inviter)
    accepted, declined = (
        store.create_invitation(org.id, "x@example.com", Role.GUEST, who, EXPIRY_AHEAD)
        for who in (inviter, new_id("usr"))
    )
    store.accept_invitation(accepted.id, as_usr_id=invitee, accepting_identifier="x@example.com")
    store.decline_invitation(declined.id, as_usr_id=decliner)
    for usr_id, memberships in {creator: 1, member: 1, inviter: 0, invitee: 1, decliner: 0}.items():
        assert len(store.list_memberships(usr_id).data) == memberships


def test_a_user_who_was_never_named_is_not_found(store: InMemoryTenancyStore) -> None:
    with refused(NotFoundError):
        store.list_memberships(new_id("usr"))


def test_nobody_registers_by_an_operation_that_is_refused(store: InMemoryTenancyStore) -> None:
    store.create_org(new_id("usr"), slug="acme")
    newcomer = new_id("usr")
    with refused(OrgSlugConflictError):
        store.create_org(newcomer, slug="acme")
    with refused(NotFoundError):
        store.list_memberships(newcomer)


def test_sets_register_users_whose_rows_are_done_and_no_others(store: InMemoryTenancyStore) -> None:
    org = store.create_org(new_id("usr")).org
    joined, late, inviter = (new_id("usr") for _ in range(3))
    (added,) = store.add_members(org.id, [(joined, Role.GUEST)], invited_by=inviter)
    assert store.list_memberships(joined).data[0].id == added.unwrap().id
    assert store.list_memberships(inviter).data == []
    store.suspend_org(org.id)
    (refused_,) = store.add_members(org.id, [(late, Role.GUEST)])
    assert not refused_.ok
    with refused(NotFoundError):
        store.list_memberships(late)


def test_what_it_returns_stays_as_it_was_and_stays_readable(store: InMemoryTenancyStore) -> None:
    created = store.create_org(new_id("usr"), name="Acme")
    store.update_org(created.org.id, name="New")
    assert created.org.name == "Acme"
    assert created.owner_membership.organization.name == "Acme"
    assert store.get_org(created.org.id).name == "New"


def test_its_clock_may_be_given() -> None:
    now = [NOW]
    store = InMemoryTenancyStore(clock=lambda: now[0])
    created = store.create_org(new_id("usr"))
    assert created.org.created_at == created.owner_membership.created_at == NOW
    now[0] = EARLIER
    member = store.add_member(created.org.id, new_id("usr"), Role.MEMBER)
    assert member.created_at == EARLIER
    now[0] = LATER
    changed = store.change_role(member.id, Role.ADMIN)
    assert store.get_membership(changed.id).created_at == LATER


def test_a_clock_that_stands_still_still_gives_an_ordered_history() -> None:
    store = InMemoryTenancyStore(clock=lambda: NOW)
    owner = store.create_org(new_id("usr")).owner_membership
    history = [store.add_member(owner.org_id, new_id("usr"), Role.GUEST)]
    for role in (Role.MEMBER, Role.ADMIN, Role.OWNER):
        history.append(store.change_role(history[-1].id, role))
    assert [m.created_at - NOW for m in history] == [n * TICK for n in range(4)]


def test_a_clock_in_another_zone_is_read_in_utc() -> None:
    zone = timezone(timedelta(hours=-8))
    store = InMemoryTenancyStore(clock=lambda: NOW.astimezone(zone))
    org = store.create_org(new_id("usr")).org
    assert (org.created_at, org.created_at.tzinfo) == (NOW, UTC)


def test_a_naive_clock_is_refused() -> None:
    store = InMemoryTenancyStore(clock=lambda: NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="not timezone-aware"):
        store.create_org(new_id("usr"))


def test_an_invitation_runs_out_by_the_stores_clock() -> None:
    now = [NOW]
    store = InMemoryTenancyStore(clock=lambda: now[0])
    owner = store.create_org(new_id("usr")).owner_membership
    invite = (owner.org_id, "x@example.com", Role.MEMBER, owner.usr_id, EXPIRY)
    in_time, late = store.create_invitation(*invite), store.create_invitation(*invite)
    now[0] = EXPIRY
    assert store.accept_invitation(in_time.id).membership.created_at == EXPIRY
    now[0] = EXPIRY + TICK
    assert store.expire_invitations() == 1
    assert store.get_invitation(late.id).terminal_at == EXPIRY + TICK


def test_threads_take_turns(store: InMemoryTenancyStore) -> None:
    workers = 8
    org = store.create_org(new_id("usr")).org
    together = threading.Barrier(workers)

    def join(_: int) -> list[str]:
        together.wait()
        return [store.add_member(org.id, new_id("usr"), Role.MEMBER).id for _ in range(20)]

    with ThreadPoolExecutor(workers) as pool:
        joined = [mem_id for ids in pool.map(join, range(workers)) for mem_id in ids]
    listed = {m.id for m in _all_members(store, org.id)}
    assert len(joined) == len(set(joined)) == workers * 20
    assert listed >= set(joined)


def test_of_many_threads_that_add_the_same_user_one_wins(store: InMemoryTenancyStore) -> None:
    workers = 8
    org, usr_id = store.create_org(new_id("usr")).org, new_id("usr")
    together = threading.Barrier(workers)

    def join(_: int) -> type[BaseException] | None:
        together.wait()
        try:
            store.add_member(org.id, usr_id, Role.MEMBER)
        except DuplicateMembershipError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(join, range(workers)))
    assert outcomes.count(None) == 1
    assert outcomes.count(DuplicateMembershipError) == workers - 1


def test_ten_thousand_pre_tuples(store: InMemoryTenancyStore) -> None:
    owner = store.create_org(new_id("usr")).owner_membership
    grants = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(10_000)]
    invitation = store.create_invitation(
        owner.org_id, "x@example.com", Role.MEMBER, owner.usr_id, EXPIRY_AHEAD, pre_tuples=grants
    )
    accepted = store.accept_invitation(invitation.id)
    assert [t.object_id for t in accepted.materialized_tuples] == [g.object_id for g in grants]
    held = store.list_tuples_for_subject("usr", accepted.membership.usr_id)
    assert len(held) == 10_001
    assert [t.id for t in held] == sorted(t.id for t in held)


def _all_members(store: TenancyStore, org_id: str) -> Iterator[Membership]:
    cursor = None
    while True:
        page = store.list_members(org_id, cursor=cursor, status=Status.ACTIVE)
        yield from page.data
        cursor = page.next_cursor
        if cursor is None:
            return
