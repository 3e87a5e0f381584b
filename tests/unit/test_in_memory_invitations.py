"""Invitations, tuples and lists, operation by operation, in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    ForbiddenError,
    IdentifierBindingRequiredError,
    IdentifierMismatchError,
    InMemoryTenancyStore,
    Invitation,
    InvitationExpiredError,
    InvitationNotPendingError,
    InvitationStatus,
    Membership,
    NotFoundError,
    Page,
    PreconditionError,
    PreTuple,
    Role,
    Status,
    new_id,
)
from tests.support.entities import EXPIRY, LATER, NOW, TICK, refused

PROJECT = "0190f2a8-1b3c-7abc-8123-456789abcdef"
EDITOR = PreTuple("editor", "proj", PROJECT)
IDENTIFIER = "newbie@example.com"


class Scene:
    """A store with an organization, and a clock to be moved by hand."""

    def __init__(self) -> None:
        self.now = NOW
        self.store = InMemoryTenancyStore(clock=lambda: self.now)
        self.owner: Membership = self.store.create_org(new_id("usr")).owner_membership

    def invite(
        self, *grants: PreTuple, role: Role = Role.MEMBER, expires_at: datetime = EXPIRY
    ) -> Invitation:
        """Invite the newbie."""
        return self.store.create_invitation(
            self.owner.org_id,
            IDENTIFIER,
            role,
            self.owner.usr_id,
            expires_at,
            pre_tuples=list(grants),
        )

    def join(self, role: Role = Role.MEMBER) -> Membership:
        """Add a member."""
        return self.store.add_member(self.owner.org_id, new_id("usr"), role)


@pytest.fixture
def scene() -> Scene:
    """An organization at noon."""
    return Scene()


def test_an_invitation_is_kept_as_it_was_made(scene: Scene) -> None:
    invitation = scene.store.get_invitation(scene.invite(EDITOR, EDITOR, role=Role.GUEST).id)
    assert (invitation.identifier, invitation.role) == (IDENTIFIER, Role.GUEST)
    assert (invitation.status, invitation.pre_tuples) == (InvitationStatus.PENDING, [EDITOR] * 2)
    assert (invitation.created_at, invitation.expires_at) == (NOW, EXPIRY)
    assert invitation.expires_at.utcoffset() == timedelta(0)


def test_nobody_is_invited_into_a_sleeping_organization(scene: Scene) -> None:
    scene.store.suspend_org(scene.owner.org_id)
    with refused(PreconditionError, reason="org_not_active"):
        scene.invite()


def test_a_new_user_accepts_and_is_granted_what_was_promised_once(scene: Scene) -> None:
    other = PreTuple("viewer", "proj", PROJECT)
    invitation = scene.invite(EDITOR, other, EDITOR)
    scene.now = LATER
    accepted = scene.store.accept_invitation(invitation.id)
    usr_id = accepted.membership.usr_id
    assert [t.relation for t in accepted.materialized_tuples] == ["editor", "viewer"]
    held = scene.store.list_tuples_for_subject("usr", usr_id)
    assert sorted((t.relation, t.object_id) for t in held) == [
        ("editor", PROJECT),
        ("member", scene.owner.org_id),
        ("viewer", PROJECT),
    ]
    assert {t.created_by for t in held} == {scene.owner.usr_id}
    ended = scene.store.get_invitation(invitation.id)
    assert ended.status is InvitationStatus.ACCEPTED
    assert (ended.terminal_at, ended.terminal_by, ended.invited_user_id) == (LATER, usr_id, usr_id)


def test_a_tuple_that_is_there_already_is_kept_and_reported(scene: Scene) -> None:
    first = scene.store.accept_invitation(scene.invite(EDITOR).id)
    scene.store.self_leave(first.membership.id)
    second = scene.store.accept_invitation(
        scene.invite(EDITOR).id,
        as_usr_id=first.membership.usr_id,
        accepting_identifier=IDENTIFIER,
    )
    assert [t.id for t in second.materialized_tuples] == [t.id for t in first.materialized_tuples]


def test_an_existing_user_is_bound_to_the_invited_identifier(scene: Scene) -> None:
    invitation, usr_id = scene.invite(), new_id("usr")
    accept = scene.store.accept_invitation
    with refused(IdentifierBindingRequiredError, reason="identifier_binding_required"):
        accept(invitation.id, as_usr_id=usr_id)
    with refused(IdentifierMismatchError, reason="identifier_mismatch"):
        accept(invitation.id, as_usr_id=usr_id, accepting_identifier=IDENTIFIER.upper())
    accepted = accept(invitation.id, as_usr_id=usr_id, accepting_identifier=IDENTIFIER)
    assert accepted.membership.usr_id == usr_id


def test_a_member_active_or_suspended_does_not_accept(scene: Scene) -> None:
    member, invitation = scene.join(), scene.invite()

    def accept() -> None:
        scene.store.accept_invitation(
            invitation.id, as_usr_id=member.usr_id, accepting_identifier=IDENTIFIER
        )

    with refused(DuplicateMembershipError):
        accept()
    scene.store.suspend_membership(member.id)
    with refused(PreconditionError, reason="mem_suspended"):
        accept()
    scene.store.suspend_org(scene.owner.org_id)
    with refused(PreconditionError, reason="org_not_active"):
        accept()


def test_an_invitation_is_declined(scene: Scene) -> None:
    usr_id = new_id("usr")
    declined = scene.store.decline_invitation(scene.invite().id, as_usr_id=usr_id)
    assert (declined.status, declined.terminal_by) == (InvitationStatus.DECLINED, usr_id)
    assert scene.store.decline_invitation(scene.invite().id).terminal_by is None


def test_an_invitation_is_withdrawn_by_an_administrator(scene: Scene) -> None:
    invitation, member, admin = scene.invite(), scene.join(), scene.join(Role.ADMIN)
    for usr_id in (member.usr_id, new_id("usr")):
        with refused(ForbiddenError):
            scene.store.revoke_invitation(invitation.id, usr_id)
    revoked = scene.store.revoke_invitation(invitation.id, admin.usr_id)
    assert (revoked.status, revoked.terminal_by) == (InvitationStatus.REVOKED, admin.usr_id)


@pytest.mark.parametrize(
    "end",
    [
        lambda scene, inv_id: scene.store.accept_invitation(inv_id),
        lambda scene, inv_id: scene.store.decline_invitation(inv_id),
        lambda scene, inv_id: scene.store.revoke_invitation(inv_id, scene.owner.usr_id),
    ],
    ids=["accept", "decline", "revoke"],
)
def test_an_invitation_ends_once_and_in_time(
    scene: Scene, end: Callable[[Scene, str], object]
) -> None:
    ended, overdue = scene.invite(), scene.invite()
    end(scene, ended.id)
    with refused(InvitationNotPendingError):
        end(scene, ended.id)
    scene.now = EXPIRY + TICK
    with refused(InvitationExpiredError):
        end(scene, overdue.id)


def test_overdue_invitations_expire_a_few_at_a_time(scene: Scene) -> None:
    ids = [scene.invite().id for _ in range(3)]
    lasting = scene.invite(expires_at=EXPIRY + timedelta(days=1))
    assert scene.store.expire_invitations() == 0
    scene.now = EXPIRY + TICK
    assert [scene.store.expire_invitations(limit=2) for _ in range(3)] == [2, 1, 0]
    for invitation in map(scene.store.get_invitation, ids):
        assert invitation.status is InvitationStatus.EXPIRED
        assert (invitation.terminal_at, invitation.terminal_by) == (EXPIRY + TICK, None)
    assert scene.store.get_invitation(lasting.id).status is InvitationStatus.PENDING


def test_an_overdue_invitation_is_listed_as_expired(scene: Scene) -> None:
    def listed(status: str) -> list[str]:
        page = scene.store.list_invitations(scene.owner.org_id, status=status)
        return [invitation.id for invitation in page.data]

    expired = scene.invite().id
    scene.now = EXPIRY + TICK
    scene.store.expire_invitations()
    scene.now = NOW
    overdue = scene.invite().id
    lasting = scene.invite(expires_at=EXPIRY + timedelta(days=1)).id
    assert (listed("pending"), listed("expired")) == ([overdue, lasting], [expired])
    scene.now = EXPIRY + TICK
    assert (listed("pending"), listed("expired")) == ([lasting], [expired, overdue])


def test_tuples_of_an_object_may_be_narrowed_to_a_relation(scene: Scene) -> None:
    member = scene.join()
    org_id = scene.owner.org_id
    everything = scene.store.list_tuples_for_object("org", org_id)
    assert [t.subject_id for t in everything] == [scene.owner.usr_id, member.usr_id]
    (owner,) = scene.store.list_tuples_for_object("org", org_id, relation="owner")
    assert owner.subject_id == scene.owner.usr_id
    assert scene.store.list_tuples_for_object("org", org_id, relation="other") == []
    assert scene.store.list_tuples_for_object("proj", PROJECT) == []


def _walk(list_page: Callable[..., Page[Any]]) -> list[list[str]]:
    pages: list[list[str]] = []
    cursor = None
    while not pages or cursor:
        page = list_page(cursor=cursor)
        pages.append([item.id for item in page.data])
        cursor = page.next_cursor
    return pages


def test_lists_are_read_page_by_page_in_the_order_of_ids(scene: Scene) -> None:
    store, org_id, usr_id = scene.store, scene.owner.org_id, scene.owner.usr_id
    expected = {
        "list_members": [scene.owner.id, *(scene.join().id for _ in range(4))],
        "list_invitations": [scene.invite().id for _ in range(5)],
        "list_orgs": [org_id, *(store.create_org(usr_id).org.id for _ in range(4))],
        "list_memberships": [],
    }
    expected["list_memberships"] = [
        store.find_membership(org, usr_id).id  # type: ignore[union-attr]  # an owner of all
        for org in expected["list_orgs"]
    ]
    subject = {"list_members": (org_id,), "list_invitations": (org_id,), "list_orgs": ()}
    for name, ids in expected.items():
        arguments = subject.get(name, (usr_id,))
        for limit, size in ((2, 2), (5, 5), (4, 4), (1, 1), (0, 1), (-1, 1), (10_000, 5)):
            pages = _walk(
                lambda cursor, name=name, arguments=arguments, limit=limit: getattr(store, name)(
                    *arguments, cursor=cursor, limit=limit
                )
            )
            assert pages == [ids[i : i + size] for i in range(0, 5, size)]


def test_a_page_holds_two_hundred_at_the_most(scene: Scene) -> None:
    for _ in range(200):
        scene.invite()
    page = scene.store.list_invitations(scene.owner.org_id, limit=10_000)
    assert (len(page.data), page.next_cursor) == (200, None)
    last = scene.invite()
    page = scene.store.list_invitations(scene.owner.org_id, limit=10_000)
    assert (len(page.data), page.next_cursor) == (200, page.data[-1].id)
    rest = scene.store.list_invitations(scene.owner.org_id, cursor=page.next_cursor)
    assert [invitation.id for invitation in rest.data] == [last.id]


def test_lists_may_be_narrowed_to_a_status(scene: Scene) -> None:
    store, org_id = scene.store, scene.owner.org_id
    suspended = store.suspend_membership(scene.join().id)
    (found,) = store.list_members(org_id, status=Status.SUSPENDED).data
    assert found.id == suspended.id
    assert store.list_members(org_id, status="revoked").data == []
    assert [store.count_members(org_id, status=status) for status in (None, *Status)] == [
        2,
        1,
        1,
        0,
    ]
    (listed,) = store.list_memberships(suspended.usr_id, status="suspended").data
    assert listed.organization.id == org_id
    assert store.list_memberships(suspended.usr_id, status="active").data == []
    assert store.list_orgs(status="suspended").data == []


@pytest.mark.parametrize(
    "query, found",
    [
        ("acme", [0, 1]),
        ("ACME", [0, 1]),
        ("labs", [1]),
        ("50%", [2]),
        ("%", [2]),
        ("_", [3]),
        ("a_b", [3]),
        ("/", [4]),
        ("\\", [5]),
        ("äö", [6]),
        ("ÄÖ", [6]),
        ("Äö", [6]),
        ("", [0, 1, 2, 3, 4, 5, 6]),
        ("nothing", []),
        ("acme%", []),
        ("a\x00", []),
        ("\ud800", []),
    ],
)
def test_a_query_is_a_plain_substring_in_any_case(query: str, found: list[int]) -> None:
    store = InMemoryTenancyStore()
    creator = new_id("usr")
    named = [
        store.create_org(creator, name=name, slug=slug).org.id
        for name, slug in [
            ("First", "acme"),
            ("Acme Labs", None),
            ("50% off", None),
            ("a_b", None),
            ("and/or", None),
            ("back\\slash", None),
            ("GRÄÖN", None),
        ]
    ]
    store.create_org(creator)
    assert [org.id for org in store.list_orgs(query=query).data] == [named[i] for i in found]


def test_lists_of_what_does_not_exist_are_not_empty_but_an_error(scene: Scene) -> None:
    for read in (scene.store.list_members, scene.store.list_invitations):
        with refused(NotFoundError):
            read(new_id("org"))
    with refused(NotFoundError):
        scene.store.list_memberships(new_id("usr"))
    assert scene.store.list_invitations(scene.owner.org_id).data == []
