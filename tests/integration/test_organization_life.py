"""suspend_org, reinstate_org and revoke_org on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.orm import load_only

from flametrench_tenancy_sqlalchemy import (
    AlreadyTerminalError,
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
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.rows import rows, untruths
from tests.support.sql import bare, everything, grants_of, insert, stored
from tests.support.stage import DAY, NOW, TICK, Stage

TRANSITIONS: dict[str, Callable[[TenancyRepository, str], object]] = {
    "suspend_org": TenancyRepository.suspend_org,
    "reinstate_org": TenancyRepository.reinstate_org,
    "revoke_org": TenancyRepository.revoke_org,
}
LATER = NOW + DAY
TERMINAL = [status for status in InvitationStatus if status is not InvitationStatus.PENDING]


@pytest.mark.parametrize("operation", TRANSITIONS)
def test_an_organization_that_is_not_there_is_not_found(
    operation: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id("org")
    with stage.refuses(NotFoundError, parameter="org_id", id=unknown):
        TRANSITIONS[operation](tenancy, unknown)


@pytest.mark.parametrize(
    "operation, before, after",
    [
        ("suspend_org", Status.ACTIVE, Status.SUSPENDED),
        ("reinstate_org", Status.SUSPENDED, Status.ACTIVE),
        ("revoke_org", Status.ACTIVE, Status.REVOKED),
        ("revoke_org", Status.SUSPENDED, Status.REVOKED),
    ],
)
def test_a_transition_writes_the_status_and_the_clocks_time(
    operation: str,
    before: Status,
    after: Status,
    stage: Stage,
    tenancy: TenancyRepository,
) -> None:
    org = stage.org(before, slug="acme")
    row = stored(stage.session, "org", org.id)
    stage.clock.now = LATER
    assert TRANSITIONS[operation](tenancy, org.id) is org
    assert org.status is after
    assert stored(stage.session, "org", org.id) == row | {
        "status": after.value,
        "updated_at": LATER,
    }


@pytest.mark.parametrize("operation, before", [("suspend_org", "active"), ("revoke_org", "active")])
def test_the_clocks_time_stands_even_when_the_clock_stands_still(
    operation: str, before: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org(Status(before))
    TRANSITIONS[operation](tenancy, org.id)
    assert stored(stage.session, "org", org.id)["updated_at"] == NOW


@pytest.mark.parametrize(
    "operation, status",
    [
        ("suspend_org", Status.SUSPENDED),
        ("suspend_org", Status.REVOKED),
        ("revoke_org", Status.REVOKED),
    ],
)
def test_a_status_that_cannot_be_left_or_entered_again_is_refused(
    operation: str, status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org(status)
    with stage.refuses(AlreadyTerminalError, org_id=org.id, status=status):
        TRANSITIONS[operation](tenancy, org.id)


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.REVOKED])
def test_only_a_suspended_organization_is_reinstated(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org(status)
    with stage.refuses(PreconditionError, "invalid_transition", org_id=org.id, status=status):
        tenancy.reinstate_org(org.id)


@pytest.mark.parametrize(
    "operation, before", [("suspend_org", "active"), ("reinstate_org", "suspended")]
)
def test_suspending_and_reinstating_leave_everything_else_as_it_is(
    operation: str, before: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    for status in Status:
        stage.member(org, status=status)
    stage.invitation(org)
    stage.set_status(org, Status(before))
    rows = everything(stage.session)
    stage.clock.now = LATER
    TRANSITIONS[operation](tenancy, org.id)
    assert {**everything(stage.session), "org": None} == {**rows, "org": None}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
def test_revoke_org_revokes_every_membership_in_nobodys_name(
    role: Role, status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    memberships = [stage.owner(org), stage.member(org, role, status)]
    before = [stored(stage.session, "mem", m.id) for m in memberships]
    stage.clock.now = LATER
    tenancy.revoke_org(org.id)
    assert [stored(stage.session, "mem", m.id) for m in memberships] == [
        row | {"status": "revoked", "removed_by": None, "updated_at": LATER} for row in before
    ]


def test_revoke_org_leaves_a_revoked_membership_as_it_ended(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    removed = stage.member(org)
    tenancy.admin_remove(removed.id, stage.owner(org).usr_id)
    row = stored(stage.session, "mem", removed.id)
    stage.clock.now = LATER
    tenancy.revoke_org(org.id)
    assert stored(stage.session, "mem", removed.id) == row


def test_revoke_org_deletes_every_tuple_about_the_organization_and_no_other(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, other = stage.org(), stage.org()
    project = str(new_uuid())
    invitation = stage.invitation(
        org, PreTuple("billing", "org", org.id), PreTuple("editor", "proj", project)
    )
    usr_id = tenancy.accept_invitation(invitation.id).membership.usr_id
    team = {"subject_type": "team", "subject_id": str(new_uuid()), "relation": "auditor"}
    # Another package's facts: one about the organization, one about a thing with the same UUID.
    for object_type in ("org", "proj"):
        insert(
            stage.session,
            "tup",
            id=str(new_uuid()),
            object_type=object_type,
            object_id=bare(org.id),
            **team,
        )
    stage.member(other, usr_id=usr_id)
    tenancy.revoke_org(org.id)
    assert tenancy.list_tuples_for_object("org", org.id) == []
    assert len(tenancy.list_tuples_for_object("proj", bare(org.id))) == 1
    inviter = bare(invitation.invited_by)
    assert grants_of(stage.session, usr_id) == {
        ("editor", "proj", project, inviter),
        ("member", "org", bare(other.id), None),
    }


@pytest.mark.parametrize("overdue", [False, True])
def test_revoke_org_revokes_pending_invitations_in_nobodys_name(
    overdue: bool, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org())
    row = stored(stage.session, "inv", invitation.id)
    stage.clock.now = invitation.expires_at + TICK if overdue else invitation.expires_at - TICK
    tenancy.revoke_org(invitation.org_id)
    ended = {"status": "revoked", "terminal_at": stage.clock.now, "terminal_by": None}
    assert stored(stage.session, "inv", invitation.id) == row | ended


@pytest.mark.parametrize("status", TERMINAL)
def test_revoke_org_leaves_a_terminal_invitation_as_it_ended(
    status: InvitationStatus, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org(), status=status)
    row = stored(stage.session, "inv", invitation.id)
    stage.clock.now = LATER
    tenancy.revoke_org(invitation.org_id)
    assert stored(stage.session, "inv", invitation.id) == row


def test_revoke_org_does_not_touch_another_organization(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, other = stage.org(), stage.org()
    membership, invitation = stage.member(other), stage.invitation(other)
    named = [("org", other.id), ("mem", membership.id), ("inv", invitation.id)]
    before = [stored(stage.session, table, id_) for table, id_ in named]
    stage.clock.now = LATER
    tenancy.revoke_org(org.id)
    assert [stored(stage.session, table, id_) for table, id_ in named] == before
    assert len(tenancy.list_tuples_for_object("org", other.id)) == 2


def test_revoke_org_leaves_no_untruth_where_only_a_part_was_loaded(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    session, invitation = stage.session, stage.invitation(stage.org())
    parts = [Membership.updated_at, Invitation.terminal_at, Tuple.relation]
    session.expunge_all()
    held = [session.scalars(select(p.class_).options(load_only(p))).all() for p in parts]
    assert all(held)
    stage.clock.now = LATER
    tenancy.revoke_org(invitation.org_id)
    assert untruths(session, rows(session.connection())) == []


def test_revoke_org_forgets_nothing_that_was_loaded_of_other_organizations(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    session, org, other = stage.session, stage.org(), stage.member(stage.org())
    session.expunge_all()
    only = load_only(Membership.org_id, Membership.role)
    held = session.scalars(select(Membership).where(Membership.id == other.id).options(only)).one()
    tenancy.revoke_org(org.id)
    assert inspect(held).unloaded.isdisjoint({"org_id", "role"})
