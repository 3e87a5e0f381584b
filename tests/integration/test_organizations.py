"""Organizations: what creating, changing and ending them writes, and how they are found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, select
from sqlalchemy.orm import Session, load_only

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    Membership,
    NotFoundError,
    PreconditionError,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
    Tuple,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.isolation import in_full
from tests.support.sql import bare, fact, insert, snapshot, wire
from tests.support.stage import DAY, NOW, TICK, Stage, mem, role_of, tup

LATER = NOW + DAY


@pytest.mark.parametrize("slug", [None, "a", "7", "acme", "a-b--c", "0" * 63])
@pytest.mark.parametrize(
    "name", [None, "", " ", "Ünïcødé ☃ \U0001f525", "a\nb\t\\'\"%_", "\U0001f525" * 255]
)
def test_an_organization_is_created_with_its_owner(
    name: str | None, slug: str | None, stage: Stage, tenancy: TenancyRepository
) -> None:
    creator = stage.user()
    with stage.writes() as written:
        created = tenancy.create_org(creator, name=name, slug=slug)
    org, owner = created.org, created.owner_membership
    row = {"status": "active", "name": name, "slug": slug, "created_at": NOW, "updated_at": NOW}
    assert written == {
        org.id: row,
        owner.id: mem(creator, org.id, "owner"),
        fact(creator, "owner", org.id): tup(creator),
    }
    assert (org.name, org.slug, org.status) == (name, slug, Status.ACTIVE)
    assert (owner.role, owner.usr_id, owner.organization) == (Role.OWNER, creator, org)


def test_what_an_operation_writes_is_everybodys_to_see_after_the_commit(
    clean_engine: Engine,
) -> None:
    with Session(clean_engine) as session, session.begin():
        stage = Stage(session)
        grant = PreTuple("editor", "proj", str(new_uuid()))
        invitation = stage.invitation(stage.org(slug="acme"), grant)
        stage.tenancy.accept_invitation(invitation.id)
        inside = snapshot(session)
    with clean_engine.connect() as another:
        assert snapshot(another) == inside


@pytest.mark.parametrize("status", Status)
def test_an_organization_is_found_by_id_and_by_slug_in_any_status(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org(status, slug="acme")
    stage.session.expire_all()
    for found in (tenancy.get_org(org.id), tenancy.get_org_by_slug("acme")):
        assert (found.id, found.slug, found.status) == (org.id, "acme", status)


@pytest.mark.parametrize("slug", ["acme-2", "", "Acme", "acme\n", "acme\x00", "\ud800", 7, None])
def test_no_organization_has_a_slug_that_is_free_or_malformed(
    slug: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    stage.org(slug="acme")
    stage.org()
    told = slug if isinstance(slug, str) else repr(slug)
    with stage.refuses(NotFoundError, parameter="slug", id=told):
        tenancy.get_org_by_slug(slug)


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "New"},
        {"slug": "new"},
        {"name": "New", "slug": "new"},
        {"name": None, "slug": None},
        {"slug": "acme"},
    ],
    ids=str,
)
def test_update_org_changes_what_is_given_and_clears_what_is_none(
    changes: dict[str, str | None], status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = tenancy.create_org(stage.user(), name="Acme", slug="acme").org
    stage.set_status(org, status)
    stage.clock.now = LATER
    with stage.writes() as written:
        assert tenancy.update_org(org.id, **changes) is org
    really = {key: value for key, value in changes.items() if value != "acme"}
    assert written == {org.id: {**really, "updated_at": LATER}}


@pytest.mark.parametrize(
    "name, slug, reason",
    [("New", "Not A Slug", "org_slug_format"), ("\x00", "new", "name_format")],
)
def test_update_org_changes_both_or_neither(
    name: str, slug: str, reason: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = tenancy.create_org(stage.user(), name="Acme", slug="acme").org
    with stage.refuses(PreconditionError, reason):
        tenancy.update_org(org.id, name=name, slug=slug)
    assert (org.name, org.slug) == ("Acme", "acme")


def test_a_slug_is_free_as_soon_as_its_organization_gives_it_up(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, heir = stage.org(slug="acme"), stage.org()
    tenancy.update_org(org.id, slug=None)
    tenancy.update_org(heir.id, slug="acme")
    assert tenancy.get_org_by_slug("acme") is heir


@pytest.mark.parametrize("time", [NOW, LATER], ids=["at once", "later"])
@pytest.mark.parametrize("operation", ["suspend_org", "reinstate_org"])
def test_suspending_and_reinstating_change_the_organization_and_nothing_else(
    operation: str, time: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    before, after = Status.ACTIVE, Status.SUSPENDED
    if operation == "reinstate_org":
        before, after = after, before
    org = stage.org()
    for status in Status:
        stage.member(org, status=status)
    stage.invitation(org)
    stage.set_status(org, before)
    stage.clock.now = time
    with stage.writes() as written:
        assert getattr(tenancy, operation)(org.id) is org
    # The clock's time stands, even where it stands still.
    touched = {} if time == NOW else {"updated_at": time}
    assert written == {org.id: {"status": after.value, **touched}}


@pytest.mark.parametrize("before", [Status.ACTIVE, Status.SUSPENDED])
def test_revoking_an_organization_ends_all_that_is_open_in_it_and_nothing_else(
    before: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, other = stage.org(slug="acme"), stage.org()
    for role in Role:
        stage.member(org, role), stage.member(org, role, Status.SUSPENDED)
    removed = stage.member(org)
    tenancy.admin_remove(removed.id, stage.owner(org).usr_id)
    project = str(new_uuid())
    grants = PreTuple("billing", "org", org.id), PreTuple("editor", "proj", project)
    accepted = tenancy.accept_invitation(stage.invitation(org, *grants).id).membership
    stage.member(other, usr_id=accepted.usr_id)
    for invited in reversed(InvitationStatus):
        stage.invitation(other, status=invited), stage.invitation(org, status=invited)
    stage.clock.now = LATER
    stage.invitation(org)
    pending = stage.at(NOW).list_invitations(org.id, status="pending").data
    active = tenancy.list_members(org.id, status="active").data
    suspended = tenancy.list_members(org.id, status="suspended").data
    assert (len(pending), len(active), len(suspended)) == (2, 9, 6)
    # Another package's facts: one about the organization, one about a thing with the same UUID.
    team = {"subject_type": "team", "subject_id": project, "relation": "auditor"}
    for type_ in ("org", "proj"):
        ids = {"id": str(new_uuid()), "object_id": bare(org.id)}
        insert(stage.session, "tup", object_type=type_, **ids, **team)
    stage.set_status(org, before)
    stage.clock.now = LATER + TICK  # one of the pending invitations is overdue
    with stage.writes() as written:
        assert tenancy.revoke_org(org.id) is org
    revoked = {"status": "revoked", "updated_at": LATER + TICK}
    auditor = wire("team", project)
    assert written == {
        org.id: revoked,
        **{m.id: revoked for m in [*active, *suspended]},
        **{i.id: {"status": "revoked", "terminal_at": LATER + TICK} for i in pending},
        **dict.fromkeys(map(role_of, active)),
        fact(accepted.usr_id, "billing", org.id): None,
        fact(auditor, "auditor", org.id): None,
    }


def test_revoke_org_leaves_no_untruth_where_only_a_part_was_loaded(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation, elsewhere = stage.invitation(stage.org()), stage.member(stage.org())
    id_ = Membership.id == elsewhere.id
    parts = [Membership.updated_at, Invitation.terminal_at, Tuple.relation]
    stage.session.expunge_all()
    only = load_only(Membership.org_id, Membership.role)
    with in_full(stage.session):
        spared = stage.session.scalars(select(Membership).where(id_).options(only)).one()
        held = [stage.session.scalars(select(p.class_).options(load_only(p))).all() for p in parts]
    assert all(held)
    stage.clock.now = LATER
    with stage.writes():  # which looks for untruths
        tenancy.revoke_org(invitation.org_id)
    assert inspect(spared).unloaded.isdisjoint({"org_id", "role"})
