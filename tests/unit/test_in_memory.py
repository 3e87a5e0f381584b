"""The store in memory: its face, its users, its clock, its threads, and SQLite's differences.

That it does what PostgreSQL does, operation by operation, is said by the random sequences in
tests/integration/model and by the official cases.
"""

from __future__ import annotations

import inspect
import re
import runpy
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import flametrench_tenancy as peer
import pytest
from sqlalchemy.orm import joinedload

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    InMemoryTenancyStore,
    Limits,
    Membership,
    Policy,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
    TenancyStore,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.entities import EARLIER, LATER, NOW, refused

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "in_memory.py"
WORKERS = 8


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


@pytest.mark.parametrize("name, signature", list(_operations(peer.TenancyStore).items()))
def test_operations_take_the_parameters_that_the_peer_takes(
    name: str, signature: inspect.Signature
) -> None:
    mine = _operations(TenancyRepository)[name]
    theirs = [(p.name, p.kind) for p in signature.parameters.values()]
    assert [(p.name, p.kind) for p in mine.parameters.values()][: len(theirs)] == theirs
    further = list(mine.parameters.values())[len(theirs) :]
    assert all(p.kind is p.KEYWORD_ONLY and p.default in (None, False) for p in further)
    for parameter in signature.parameters.values():
        # The peer's `...` stands for "omitted", which has a name of its own here.
        if parameter.default is not ...:
            assert mine.parameters[parameter.name].default == parameter.default


def test_the_standalone_forms_have_every_operation_of_the_repository() -> None:
    assert _operations(TenancyStore) == _operations(TenancyRepository)
    assert _operations(InMemoryTenancyStore) == _operations(TenancyRepository)


def test_the_readmes_first_example_prints_what_it_promises(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runpy.run_path(str(EXAMPLE))
    first, second = capsys.readouterr().out.splitlines()
    user, project = "usr_[0-9a-f]{32}", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(r"org_[0-9a-f]{32} owner", first)
    assert re.fullmatch(rf"member \[<Tuple usr:{user} editor proj:{project}>\]", second)


def test_two_stores_share_nothing_and_what_one_returns_stays_as_it_was(
    store: InMemoryTenancyStore,
) -> None:
    created, other = store.create_org(new_id("usr"), slug="acme"), InMemoryTenancyStore()
    assert other.list_orgs().data == []
    assert other.create_org(new_id("usr"), slug="acme").org.slug == "acme"
    store.update_org(created.org.id, slug="new")
    assert created.owner_membership.organization.slug == created.org.slug == "acme"
    assert store.get_org(created.org.id).slug == "new"


def test_a_query_is_a_plain_substring_in_any_case(store: InMemoryTenancyStore) -> None:
    creator, names = new_id("usr"), ["Acme", "50% off", "a_b", "and/or", "back\\slash", "GRÄÖN"]
    named = {store.create_org(creator, name=name).org.id: name for name in names}
    named[store.create_org(creator, slug="acme-labs").org.id] = "acme-labs"
    store.create_org(creator)
    for query, found in (
        *((query, ["Acme", "acme-labs"]) for query in ("acme", "ACME")),
        *(("labs", ["acme-labs"]), ("%", ["50% off"]), ("_", ["a_b"]), ("\\", ["back\\slash"])),
        *((query, ["GRÄÖN"]) for query in ("äö", "ÄÖ", "Äö")),
        *((query, []) for query in ("acme%", "nothing", "a\x00", "\ud800")),
        *(("/", ["and/or"]), ("", list(named.values()))),
    ):
        assert [named[org.id] for org in store.list_orgs(query=query).data] == found


def test_members_are_narrowed_and_turned(store: InMemoryTenancyStore) -> None:
    owner = store.create_org(new_id("usr")).owner_membership
    members = [store.add_member(owner.org_id, new_id("usr"), role) for role in ("guest", "admin")]
    everybody = [owner, *members]
    with store._session_factory() as session, session.begin():
        for member, name in zip(everybody, ["Ann", "GRÄÖN", None], strict=True):
            session.get_one(User, member.usr_id).display_name = name
    given: dict[str, Any]
    for given, found in (
        ({}, [0, 1, 2]),
        ({"newest_first": True}, [2, 1, 0]),
        ({"newest_first": True, "cursor": members[1].id}, [1, 0]),
        ({"roles": ["guest", Role.OWNER], "newest_first": True}, [1, 0]),
        ({"roles": ["guest"], "status": "active"}, [1]),
        ({"roles": []}, []),
        ({"query": "äö"}, [1]),
        ({"query": "n", "roles": ["owner", "admin"], "newest_first": True}, [0]),
    ):
        page = store.list_members(owner.org_id, options=[joinedload(Membership.user)], **given)
        assert [m.id for m in page] == [everybody[n].id for n in found]
        assert all(m.user.id == m.usr_id for m in page)


def test_ten_thousand_pre_tuples() -> None:
    store = InMemoryTenancyStore(policy=Policy(limits=Limits(pre_tuples=10_000)))
    owner = store.create_org(new_id("usr")).owner_membership
    grants = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(10_000)]
    ahead = datetime.now(UTC) + timedelta(days=1)
    invitation = store.create_invitation(
        owner.org_id, "x@example.com", Role.MEMBER, owner.usr_id, ahead, pre_tuples=grants
    )
    accepted = store.accept_invitation(invitation.id)
    assert [t.object_id for t in accepted.materialized_tuples] == [g.object_id for g in grants]
    held = store.list_tuples_for_subject("usr", accepted.membership.usr_id)
    assert len(held) == 10_001
    assert [t.id for t in held] == sorted(t.id for t in held)


def test_users_register_themselves_wherever_they_are_named(store: InMemoryTenancyStore) -> None:
    creator, member, inviter, invitee, decliner = (new_id("usr") for _ in range(5))
    org = store.create_org(creator).org
    store.add_member(org.id, member, Role.MEMBER, invited_by=inviter)
    ahead = datetime.now(UTC) + timedelta(days=1)
    accepted, declined = (
        store.create_invitation(org.id, "x@example.com", Role.GUEST, who, ahead)
        for who in (inviter, new_id("usr"))
    )
    store.accept_invitation(accepted.id, as_usr_id=invitee, accepting_identifier="x@example.com")
    store.decline_invitation(declined.id, as_usr_id=decliner)
    for usr_id, memberships in {creator: 1, member: 1, inviter: 0, invitee: 1, decliner: 0}.items():
        assert len(store.list_memberships(usr_id).data) == memberships


def test_nobody_registers_by_an_operation_that_is_refused(store: InMemoryTenancyStore) -> None:
    store.create_org(new_id("usr"), slug="acme")
    newcomer = new_id("usr")
    with refused("conflict.org_slug"):
        store.create_org(newcomer, slug="acme")
    with refused("not_found"):
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
    with refused("not_found"):
        store.list_memberships(late)


def test_its_clock_may_be_given_in_any_zone() -> None:
    now = [NOW]
    store = InMemoryTenancyStore(clock=lambda: now[0])
    created = store.create_org(new_id("usr"))
    assert created.org.created_at == created.owner_membership.created_at == NOW
    now[0] = EARLIER.astimezone(timezone(timedelta(hours=-8)))
    member = store.add_member(created.org.id, new_id("usr"), Role.MEMBER)
    assert (member.created_at, member.created_at.tzinfo) == (EARLIER, UTC)
    now[0] = LATER
    changed = store.change_role(member.id, Role.ADMIN)
    assert store.get_membership(changed.id).created_at == LATER
    now[0] = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="not timezone-aware"):
        store.create_org(new_id("usr"))


def test_threads_take_turns_and_of_those_that_add_one_user_one_wins(
    store: InMemoryTenancyStore,
) -> None:
    org, usr_id = store.create_org(new_id("usr")).org, new_id("usr")
    together = threading.Barrier(WORKERS, timeout=30)  # lest one that fails leaves others waiting

    def join(_: int) -> tuple[list[str], bool]:
        together.wait()
        joined = [store.add_member(org.id, new_id("usr"), Role.MEMBER).id for _ in range(20)]
        together.wait()
        try:
            store.add_member(org.id, usr_id, Role.MEMBER)
        except DuplicateMembershipError:
            return joined, False
        return joined, True

    with ThreadPoolExecutor(WORKERS) as pool:
        batches, wins = zip(*pool.map(join, range(WORKERS)), strict=True)
    assert sum(wins) == 1
    listed = {m.id for m in store.list_members(org.id, limit=200, status=Status.ACTIVE).data}
    assert len(listed) == 1 + WORKERS * 20 + 1
    assert listed > {mem_id for batch in batches for mem_id in batch}
