"""accept_invitation on PostgreSQL: a membership, its tuples and the invitation's end at once."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    IdentifierBindingRequiredError,
    IdentifierMismatchError,
    InvitationExpiredError,
    InvitationNotPendingError,
    InvitationStatus,
    NotFoundError,
    PreconditionError,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.sql import bare, everything, grants_of, grants_on, insert, stored
from tests.support.stage import DAY, IDENTIFIER, NOW, TICK, Stage

LATER = NOW + timedelta(hours=1)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("existing", [True, False], ids=["existing user", "new user"])
def test_accepting_writes_membership_tuple_and_end(
    existing: bool, role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    invitation = stage.invitation(org, role=role)
    founder, inviter = bare(stage.owner(org).usr_id), bare(invitation.invited_by)
    usr_id = stage.user() if existing else None
    row, users = stored(stage.session, "inv", invitation.id), everything(stage.session)["usr"]
    stage.clock.now = LATER
    accepted = tenancy.accept_invitation(
        invitation.id, as_usr_id=usr_id, accepting_identifier=IDENTIFIER if existing else None
    )
    membership = accepted.membership
    user = bare(membership.usr_id)
    assert stored(stage.session, "mem", membership.id) == {
        "id": bare(membership.id),
        "usr_id": user,
        "org_id": bare(org.id),
        "role": role.value,
        "status": "active",
        "replaces": None,
        "invited_by": inviter,
        "removed_by": None,
        "created_at": LATER,
        "updated_at": LATER,
    }
    assert stored(stage.session, "inv", invitation.id) == row | {
        "status": "accepted",
        "invited_user_id": user,
        "terminal_at": LATER,
        "terminal_by": user,
    }
    assert grants_on(stage.session, org.id) == {
        (founder, "owner", founder),
        (user, role.value, inviter),
    }
    if existing:
        assert membership.usr_id == usr_id
        assert everything(stage.session)["usr"] == users
    else:
        assert len(everything(stage.session)["usr"]) == len(users) + 1
        assert stored(stage.session, "usr", membership.usr_id) == {
            "id": user,
            "status": "active",
            "display_name": None,
            "created_at": LATER,
            "updated_at": LATER,
        }


def test_accepting_returns_what_it_wrote(stage: Stage, tenancy: TenancyRepository) -> None:
    org, project = stage.org(), str(new_uuid())
    invitation = stage.invitation(org, PreTuple("editor", "proj", project), role=Role.GUEST)
    accepted = tenancy.accept_invitation(invitation.id)
    assert accepted.invitation is invitation
    assert invitation.status is InvitationStatus.ACCEPTED
    usr_id = accepted.membership.usr_id
    assert usr_id.startswith("usr_")
    assert (invitation.invited_user_id, invitation.terminal_by) == (usr_id, usr_id)
    assert (accepted.membership.role, accepted.membership.org_id) == (Role.GUEST, org.id)
    (granted,) = accepted.materialized_tuples
    assert granted.id.startswith("tup_")
    assert (granted.subject_type, granted.subject_id) == ("usr", usr_id)
    assert (granted.relation, granted.object_type) == ("editor", "proj")
    assert (granted.object_id, granted.created_by) == (project, invitation.invited_by)


def test_an_acceptance_is_everybodys_to_see_after_the_commit(clean_engine: Engine) -> None:
    project = str(new_uuid())
    with Session(clean_engine) as session, session.begin():
        stage = Stage(session)
        invitation = stage.invitation(stage.org(), PreTuple("editor", "proj", project))
        accepted = stage.tenancy.accept_invitation(invitation.id)
        inv_id, org_id = invitation.id, invitation.org_id
        usr_id, inviter = accepted.membership.usr_id, bare(invitation.invited_by)
    with clean_engine.connect() as another:
        assert stored(another, "inv", inv_id)["invited_user_id"] == bare(usr_id)
        assert grants_of(another, usr_id) == {
            ("member", "org", bare(org_id), inviter),
            ("editor", "proj", project, inviter),
        }


def test_each_distinct_pre_tuple_becomes_one_tuple_in_its_order(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, first, second = stage.org(), new_uuid(), new_uuid()
    invitation = stage.invitation(
        org,
        PreTuple("viewer", "proj", str(second)),
        PreTuple("editor", "proj", str(first)),
        PreTuple("viewer", "doc", str(first)),
        PreTuple("editor", "proj", first.hex),
        PreTuple("editor", "proj", f"proj_{first.hex}"),
        PreTuple("editor", "proj", str(first).upper()),
        PreTuple("billing", "org", org.id),
        PreTuple("billing", "org", bare(org.id)),
    )
    accepted = tenancy.accept_invitation(invitation.id)
    assert [(t.relation, t.object_type, t.object_id) for t in accepted.materialized_tuples] == [
        ("viewer", "proj", str(second)),
        ("editor", "proj", str(first)),
        ("viewer", "doc", str(first)),
        ("billing", "org", org.id),
    ]
    inviter = bare(invitation.invited_by)
    assert grants_of(stage.session, accepted.membership.usr_id) == {
        ("member", "org", bare(org.id), inviter),
        ("viewer", "proj", str(second), inviter),
        ("editor", "proj", str(first), inviter),
        ("viewer", "doc", str(first), inviter),
        ("billing", "org", bare(org.id), inviter),
    }


def test_a_tuple_that_exists_already_is_kept_and_still_reported(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    usr_id, kept, new = stage.user(), str(new_uuid()), str(new_uuid())
    existing = str(new_uuid())
    insert(
        stage.session,
        "tup",
        id=existing,
        subject_type="usr",
        subject_id=bare(usr_id),
        relation="editor",
        object_type="proj",
        object_id=kept,
    )
    row = stored(stage.session, "tup", existing)
    invitation = stage.invitation(
        stage.org(), PreTuple("editor", "proj", kept), PreTuple("editor", "proj", new)
    )
    accepted = tenancy.accept_invitation(
        invitation.id, as_usr_id=usr_id, accepting_identifier=IDENTIFIER
    )
    reported = accepted.materialized_tuples
    assert [t.object_id for t in reported] == [kept, new]
    assert bare(reported[0].id) == existing
    assert (reported[0].created_by, reported[1].created_by) == (None, invitation.invited_by)
    assert stored(stage.session, "tup", existing) == row


@pytest.mark.parametrize("time", [LATER, NOW + DAY], ids=["in time", "at the last moment"])
def test_an_invitation_is_open_until_its_time_is_over(
    time: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org())
    stage.clock.now = time
    assert tenancy.accept_invitation(invitation.id).membership.created_at == time


def test_a_former_member_may_accept(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    former = stage.member(org, Role.ADMIN, Status.REVOKED)
    row = stored(stage.session, "mem", former.id)
    accepted = tenancy.accept_invitation(
        stage.invitation(org).id, as_usr_id=former.usr_id, accepting_identifier=IDENTIFIER
    )
    assert (accepted.membership.usr_id, accepted.membership.replaces) == (former.usr_id, None)
    assert stored(stage.session, "mem", former.id) == row


@pytest.mark.parametrize(
    "status", [status for status in InvitationStatus if status is not InvitationStatus.PENDING]
)
@pytest.mark.parametrize("late", [False, True])
def test_an_answer_is_final(
    late: bool, status: InvitationStatus, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org(), status=status)
    stage.clock.now = NOW + 2 * DAY if late else NOW
    for usr_id in (None, stage.user()):
        with stage.refuses(InvitationNotPendingError, inv_id=invitation.id, status=status):
            tenancy.accept_invitation(invitation.id, as_usr_id=usr_id)


def test_the_time_is_over_before_the_user_is_looked_at(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org())
    stage.clock.now = invitation.expires_at + TICK
    for usr_id in (None, stage.user(), new_id("usr")):
        with stage.refuses(InvitationExpiredError, inv_id=invitation.id):
            tenancy.accept_invitation(invitation.id, as_usr_id=usr_id)


def test_a_user_needs_an_identifier_before_they_need_to_exist(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org())
    for usr_id in (stage.user(), new_id("usr")):
        with stage.refuses(IdentifierBindingRequiredError, "identifier_binding_required"):
            tenancy.accept_invitation(invitation.id, as_usr_id=usr_id)


COMPOSED = "josé@example.com"


@pytest.mark.parametrize(
    "given",
    [
        "",
        COMPOSED.upper(),
        f" {COMPOSED}",
        f"{COMPOSED}\n",
        f"{COMPOSED}\x00",
        unicodedata.normalize("NFD", COMPOSED),
        "somebody.else@example.com",
    ],
)
def test_the_identifiers_must_agree_byte_for_byte_before_the_user_needs_to_exist(
    given: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, inviter = stage.org(), stage.user()
    invitation = tenancy.create_invitation(org.id, COMPOSED, "guest", inviter, NOW + DAY)
    for usr_id in (stage.user(), new_id("usr")):
        with stage.refuses(
            IdentifierMismatchError,
            "identifier_mismatch",
            accepting_identifier=given,
            invitation_identifier=COMPOSED,
        ):
            tenancy.accept_invitation(invitation.id, as_usr_id=usr_id, accepting_identifier=given)


@pytest.mark.parametrize("org_status", [Status.ACTIVE, Status.SUSPENDED])
def test_the_user_must_exist_before_the_organization_must_be_active(
    org_status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, unknown = stage.org(), new_id("usr")
    invitation = stage.invitation(org)
    stage.set_status(org, org_status)
    with stage.refuses(NotFoundError, parameter="as_usr_id", id=unknown):
        tenancy.accept_invitation(invitation.id, as_usr_id=unknown, accepting_identifier=IDENTIFIER)


def test_the_organization_must_be_active_before_memberships_matter(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    invitation = stage.invitation(org)
    users = [
        stage.user(),
        stage.member(org).usr_id,
        stage.member(org, status=Status.SUSPENDED).usr_id,
    ]
    tenancy.suspend_org(org.id)
    with stage.refuses(PreconditionError, "org_not_active", org_id=org.id):
        tenancy.accept_invitation(invitation.id)
    for usr_id in users:
        with stage.refuses(PreconditionError, "org_not_active", org_id=org.id):
            tenancy.accept_invitation(
                invitation.id, as_usr_id=usr_id, accepting_identifier=IDENTIFIER
            )


@pytest.mark.parametrize("also_suspended", [False, True])
def test_an_active_member_accepts_nothing_suspended_elsewhere_in_their_history_or_not(
    also_suspended: bool, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, usr_id = stage.org(), stage.user()
    invitation = stage.invitation(org)
    if also_suspended:
        stage.member(org, Role.GUEST, Status.SUSPENDED, usr_id=usr_id)
    stage.member(org, usr_id=usr_id)
    with stage.refuses(DuplicateMembershipError, usr_id=usr_id, org_id=org.id):
        tenancy.accept_invitation(invitation.id, as_usr_id=usr_id, accepting_identifier=IDENTIFIER)


def test_an_invitation_does_not_lift_a_suspension(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    invitation, suspended = stage.invitation(org), stage.member(org, status=Status.SUSPENDED)
    with stage.refuses(PreconditionError, "mem_suspended", mem_id=suspended.id):
        tenancy.accept_invitation(
            invitation.id, as_usr_id=suspended.usr_id, accepting_identifier=IDENTIFIER
        )


def test_a_suspension_elsewhere_does_not_matter(stage: Stage, tenancy: TenancyRepository) -> None:
    suspended = stage.member(stage.org(), status=Status.SUSPENDED)
    accepted = tenancy.accept_invitation(
        stage.invitation(stage.org()).id,
        as_usr_id=suspended.usr_id,
        accepting_identifier=IDENTIFIER,
    )
    assert accepted.membership.status is Status.ACTIVE
