"""Organizations and memberships, operation by operation, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import (
    AlreadyTerminalError,
    DuplicateMembershipError,
    ForbiddenError,
    InMemoryTenancyStore,
    InvitationStatus,
    Membership,
    NotFoundError,
    OrgSlugConflictError,
    PreconditionError,
    PreTuple,
    Role,
    RoleHierarchyError,
    SoleOwnerError,
    Status,
    new_id,
)
from tests.support.entities import EXPIRY, NOW, refused


@pytest.fixture
def store() -> InMemoryTenancyStore:
    """An empty store whose clock stands still."""
    return InMemoryTenancyStore(clock=lambda: NOW)


@pytest.fixture
def owner(store: InMemoryTenancyStore) -> Membership:
    """The owner of an organization."""
    return store.create_org(new_id("usr"), name="Acme", slug="acme").owner_membership


def _join(store: InMemoryTenancyStore, owner: Membership, role: Role = Role.MEMBER) -> Membership:
    return store.add_member(owner.org_id, new_id("usr"), role)


def _relations(store: InMemoryTenancyStore, membership: Membership) -> list[str]:
    return [t.relation for t in store.list_tuples_for_subject("usr", membership.usr_id)]


def test_an_organization_comes_with_its_owner_and_their_tuple(store: InMemoryTenancyStore) -> None:
    creator = new_id("usr")
    created = store.create_org(creator, name="Acme", slug="acme")
    assert store.get_org(created.org.id).name == "Acme"
    assert store.get_org_by_slug("acme").id == created.org.id
    membership = store.get_membership(created.owner_membership.id)
    assert (membership.usr_id, membership.role) == (creator, Role.OWNER)
    (fact,) = store.list_tuples_for_object("org", created.org.id)
    assert (fact.subject_id, fact.relation, fact.created_by) == (creator, "owner", creator)


@pytest.mark.parametrize("slug", ["acme", "-", "", "acme\n"])
def test_an_unknown_slug_and_what_cannot_be_one_belong_to_no_organization(
    store: InMemoryTenancyStore, slug: str
) -> None:
    with refused(NotFoundError):
        store.get_org_by_slug(slug)


def test_a_slug_is_held_by_one_organization_even_after_its_end(
    store: InMemoryTenancyStore, owner: Membership
) -> None:
    other = store.create_org(new_id("usr")).org
    for _ in range(2):
        with refused(OrgSlugConflictError):
            store.create_org(new_id("usr"), slug="acme")
        with refused(OrgSlugConflictError):
            store.update_org(other.id, slug="acme")
        if store.get_org(owner.org_id).status is Status.ACTIVE:
            store.revoke_org(owner.org_id)
    assert store.update_org(other.id, slug="acme-2").slug == "acme-2"


def test_a_slug_that_was_cleared_or_changed_is_free(
    store: InMemoryTenancyStore, owner: Membership
) -> None:
    assert store.update_org(owner.org_id, slug="acme").slug == "acme"
    assert store.update_org(owner.org_id, slug=None).name == "Acme"
    second = store.create_org(new_id("usr"), slug="acme").org
    store.update_org(second.id, slug="other")
    assert store.create_org(new_id("usr"), slug="acme").org.slug == "acme"


def test_an_organization_is_suspended_and_reinstated_with_its_members(
    store: InMemoryTenancyStore, owner: Membership
) -> None:
    org_id = owner.org_id
    with refused(PreconditionError, reason="invalid_transition"):
        store.reinstate_org(org_id)
    assert store.suspend_org(org_id).status is Status.SUSPENDED
    with refused(AlreadyTerminalError):
        store.suspend_org(org_id)
    assert _relations(store, owner) == ["owner"]
    with refused(PreconditionError, reason="org_not_active"):
        _join(store, owner)
    assert store.reinstate_org(org_id).status is Status.ACTIVE
    assert _join(store, owner).status is Status.ACTIVE


def test_what_an_organization_holds_ends_with_it(
    store: InMemoryTenancyStore, owner: Membership
) -> None:
    active, suspended = _join(store, owner), _join(store, owner)
    store.suspend_membership(suspended.id)
    grant = PreTuple("billing", "org", owner.org_id)
    invite = (owner.org_id, "x@example.com", Role.MEMBER, owner.usr_id, EXPIRY)
    accepted = store.accept_invitation(store.create_invitation(*invite, pre_tuples=[grant]).id)
    pending, declined = store.create_invitation(*invite), store.create_invitation(*invite)
    store.decline_invitation(declined.id)

    assert store.revoke_org(owner.org_id).status is Status.REVOKED

    for membership in (owner, active, suspended, accepted.membership):
        ended = store.get_membership(membership.id)
        assert (ended.status, ended.removed_by) == (Status.REVOKED, None)
    assert store.list_tuples_for_object("org", owner.org_id) == []
    revoked = store.get_invitation(pending.id)
    assert (revoked.status, revoked.terminal_by) == (InvitationStatus.REVOKED, None)
    assert store.get_invitation(declined.id).status is InvitationStatus.DECLINED
    for change in (store.revoke_org, store.suspend_org, store.update_org):
        with refused(AlreadyTerminalError):
            change(owner.org_id)


def test_a_member_joins_once(store: InMemoryTenancyStore, owner: Membership) -> None:
    member = store.add_member(owner.org_id, new_id("usr"), "guest", invited_by=owner.usr_id)
    assert (member.role, member.invited_by) == (Role.GUEST, owner.usr_id)
    assert store.list_tuples_for_subject("usr", member.usr_id)[0].created_by == owner.usr_id
    with refused(DuplicateMembershipError):
        store.add_member(owner.org_id, member.usr_id, Role.ADMIN)
    assert _relations(store, member) == ["guest"]


def test_an_active_membership_is_found(store: InMemoryTenancyStore, owner: Membership) -> None:
    member = _join(store, owner)
    found = store.find_membership(owner.org_id, member.usr_id)
    assert found is not None
    assert found.id == member.id
    store.self_leave(member.id)
    assert store.find_membership(owner.org_id, member.usr_id) is None
    assert store.find_membership(new_id("org"), member.usr_id) is None


def test_the_request_guard(store: InMemoryTenancyStore, owner: Membership) -> None:
    member = _join(store, owner, Role.ADMIN)
    passes: list[tuple[Any, ...]] = [(), ("admin",), (Role.OWNER, Role.ADMIN)]
    for roles in passes:
        assert store.require_role(owner.org_id, member.usr_id, *roles).id == member.id
    with refused(ForbiddenError):
        store.require_role(owner.org_id, member.usr_id, Role.OWNER)
    with refused(ForbiddenError):
        store.require_role(owner.org_id, new_id("usr"))
    store.suspend_org(owner.org_id)
    with refused(ForbiddenError):
        store.require_role(owner.org_id, member.usr_id)
    store.reinstate_org(owner.org_id)
    store.suspend_membership(member.id)
    with refused(ForbiddenError):
        store.require_role(owner.org_id, member.usr_id)


def test_a_role_changes_by_succession(store: InMemoryTenancyStore, owner: Membership) -> None:
    member = _join(store, owner)
    assert store.change_role(member.id, Role.MEMBER).id == member.id
    admin = store.change_role(member.id, "admin")
    assert (admin.role, admin.replaces) == (Role.ADMIN, member.id)
    assert admin.created_at > member.created_at
    assert store.get_membership(member.id).status is Status.REVOKED
    assert _relations(store, member) == ["admin"]
    with refused(PreconditionError, reason="mem_not_active"):
        store.change_role(member.id, Role.GUEST)
    with refused(SoleOwnerError):
        store.change_role(owner.id, Role.ADMIN)


def test_a_membership_is_suspended_and_reinstated(
    store: InMemoryTenancyStore, owner: Membership
) -> None:
    member = _join(store, owner)
    with refused(PreconditionError, reason="invalid_transition"):
        store.reinstate_membership(member.id)
    assert store.suspend_membership(member.id).status is Status.SUSPENDED
    assert _relations(store, member) == []
    with refused(PreconditionError, reason="mem_not_active"):
        store.suspend_membership(member.id)
    assert store.reinstate_membership(member.id).status is Status.ACTIVE
    assert _relations(store, member) == ["member"]
    with refused(SoleOwnerError):
        store.suspend_membership(owner.id)


def test_nobody_is_reinstated_beside_themselves_or_into_a_sleeping_organization(
    store: InMemoryTenancyStore, owner: Membership
) -> None:
    suspended = store.suspend_membership(_join(store, owner).id)
    active = store.add_member(owner.org_id, suspended.usr_id, Role.GUEST)
    with refused(DuplicateMembershipError):
        store.reinstate_membership(suspended.id)
    assert _relations(store, active) == ["guest"]
    store.suspend_org(owner.org_id)
    with refused(PreconditionError, reason="org_not_active"):
        store.reinstate_membership(suspended.id)


def test_members_leave_and_the_last_owner_hands_over(
    store: InMemoryTenancyStore, owner: Membership
) -> None:
    member, heir = _join(store, owner), _join(store, owner, Role.GUEST)
    assert store.self_leave(member.id).status is Status.REVOKED
    with refused(SoleOwnerError):
        store.self_leave(owner.id)
    with refused(PreconditionError, reason="self_transfer"):
        store.self_leave(owner.id, transfer_to=owner.usr_id)
    with refused(NotFoundError):
        store.self_leave(owner.id, transfer_to=member.usr_id)
    left = store.self_leave(owner.id, transfer_to=heir.usr_id)
    assert (left.status, left.removed_by) == (Status.REVOKED, None)
    promoted = store.find_membership(owner.org_id, heir.usr_id)
    assert promoted is not None
    assert (promoted.role, promoted.replaces) == (Role.OWNER, heir.id)
    assert [_relations(store, m) for m in (owner, member, heir)] == [[], [], ["owner"]]
    with refused(PreconditionError, reason="mem_not_active"):
        store.self_leave(owner.id)


def test_administrators_remove_within_the_hierarchy(
    store: InMemoryTenancyStore, owner: Membership
) -> None:
    admin, member, viewer = (_join(store, owner, r) for r in (Role.ADMIN, Role.MEMBER, Role.VIEWER))
    with refused(ForbiddenError):
        store.admin_remove(admin.id, member.usr_id)
    with refused(ForbiddenError):
        store.admin_remove(member.id, new_id("usr"))
    with refused(RoleHierarchyError):
        store.admin_remove(owner.id, admin.usr_id)
    with refused(PreconditionError, reason="scope_mismatch"):
        store.admin_remove(viewer.id, admin.usr_id)
    store.suspend_membership(member.id)
    removed = store.admin_remove(member.id, admin.usr_id)
    assert (removed.status, removed.removed_by) == (Status.REVOKED, admin.usr_id)
    with refused(PreconditionError, reason="mem_not_active"):
        store.admin_remove(member.id, admin.usr_id)
    assert store.admin_remove(admin.id, owner.usr_id).removed_by == owner.usr_id
    assert [_relations(store, m) for m in (admin, member, viewer)] == [[], [], ["viewer"]]


def test_ownership_is_transferred(store: InMemoryTenancyStore, owner: Membership) -> None:
    member = _join(store, owner, Role.ADMIN)
    stranger = store.create_org(new_id("usr")).owner_membership
    for org_id, donor, target, reason in [
        (stranger.org_id, owner, member, "org_mismatch"),
        (owner.org_id, owner, stranger, "org_mismatch"),
        (owner.org_id, member, owner, "from_not_owner"),
        (owner.org_id, owner, owner, "self_transfer"),
    ]:
        with refused(PreconditionError, reason=reason):
            store.transfer_ownership(org_id, donor.id, target.id)
    done = store.transfer_ownership(owner.org_id, owner.id, member.id)
    assert (done.from_membership.role, done.to_membership.role) == (Role.MEMBER, Role.OWNER)
    assert [_relations(store, m) for m in (owner, member)] == [["member"], ["owner"]]
    for org_id, donor, target, reason in [
        (owner.org_id, owner, done.from_membership, "from_not_active"),
        (owner.org_id, done.to_membership, member, "to_not_active"),
    ]:
        with refused(PreconditionError, reason=reason):
            store.transfer_ownership(org_id, donor.id, target.id)
