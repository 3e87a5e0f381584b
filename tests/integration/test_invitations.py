"""create_invitation, get_invitation, decline_invitation and revoke_invitation on PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import (
    ForbiddenError,
    Invitation,
    InvitationExpiredError,
    InvitationNotPendingError,
    InvitationRequest,
    InvitationStatus,
    NotFoundError,
    Organization,
    PreconditionError,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.actors import every_unauthorized_actor
from tests.support.calls import CALLS
from tests.support.sql import bare, everything, stored
from tests.support.stage import DAY, IDENTIFIER, NOW, TICK, Stage

LATER = NOW + timedelta(hours=1)
TERMINAL = [status for status in InvitationStatus if status is not InvitationStatus.PENDING]


@pytest.mark.parametrize("role", Role)
def test_create_invitation_writes_a_pending_offer(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, inviter = stage.org(), stage.user()
    project, doc = new_uuid(), new_uuid()
    rows = everything(stage.session)
    invitation = tenancy.create_invitation(
        org.id,
        IDENTIFIER,
        role,
        inviter,
        NOW + DAY,
        pre_tuples=[
            PreTuple("editor", "proj", project.hex),
            {"relation": "viewer", "object_type": "doc", "object_id": f"doc_{doc.hex}"},
            PreTuple("billing", "org", org.id),
        ],
    )
    assert stored(stage.session, "inv", invitation.id) == {
        "id": bare(invitation.id),
        "org_id": bare(org.id),
        "identifier": IDENTIFIER,
        "role": role.value,
        "status": "pending",
        "pre_tuples": [
            {"relation": "editor", "object_type": "proj", "object_id": str(project)},
            {"relation": "viewer", "object_type": "doc", "object_id": str(doc)},
            {"relation": "billing", "object_type": "org", "object_id": bare(org.id)},
        ],
        "invited_by": bare(inviter),
        "invited_user_id": None,
        "created_at": NOW,
        "expires_at": NOW + DAY,
        "terminal_at": None,
        "terminal_by": None,
    }
    assert {**everything(stage.session), "inv": []} == rows


def test_an_invitation_reads_back_as_it_was_made(stage: Stage, tenancy: TenancyRepository) -> None:
    org, project = stage.org(), new_uuid()
    grants = [PreTuple("editor", "proj", str(project)), PreTuple("billing", "org", org.id)]
    made = stage.invitation(org, *grants)
    stage.session.expunge_all()
    read = tenancy.get_invitation(made.id)
    assert read is not made
    for invitation in (made, read):
        assert invitation.id.startswith("inv_")
        assert (invitation.org_id, invitation.role) == (org.id, Role.MEMBER)
        assert (invitation.identifier, invitation.status) == (IDENTIFIER, InvitationStatus.PENDING)
        assert (invitation.created_at, invitation.expires_at) == (NOW, NOW + DAY)
        assert invitation.pre_tuples == grants


@pytest.mark.parametrize("identifier", ["a", " ", "Ünï@Exämple.com", "x" * 10_000, "'\"\\\n"])
def test_identifiers_are_stored_as_they_are(
    identifier: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, inviter = stage.org(), stage.user()
    invitation = tenancy.create_invitation(org.id, identifier, "guest", inviter, NOW + DAY)
    assert stored(stage.session, "inv", invitation.id)["identifier"] == identifier


@pytest.mark.parametrize(
    "expires_at",
    [
        NOW + TICK,
        datetime.max.replace(tzinfo=UTC),
        (NOW + DAY).astimezone(timezone(timedelta(hours=14))),
    ],
    ids=["at once", "at the end of time", "far in the east"],
)
def test_an_expiry_is_the_instant_that_was_given(
    expires_at: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, inviter = stage.org(), stage.user()
    invitation = tenancy.create_invitation(org.id, IDENTIFIER, "guest", inviter, expires_at)
    stored_as = stage.session.execute(
        text(
            "SELECT expires_at = CAST(:given AS timestamptz) FROM inv WHERE id = CAST(:id AS uuid)"
        ),
        {"given": expires_at.isoformat(), "id": bare(invitation.id)},
    )
    assert stored_as.scalar_one()
    assert invitation.expires_at == expires_at


def _malformed(stage: Stage) -> PreTuple:
    return PreTuple("editor", "proj", "7")


def _org_role(stage: Stage) -> PreTuple:
    return PreTuple("owner", "org", stage.org().id)


Change = Callable[[Stage, dict[str, Any]], object]

# In the order of the checks. Each spoils an argument, or the organization itself.
FAULTS: list[tuple[str, Change]] = [
    ("org_not_active", lambda stage, a: stage.tenancy.suspend_org(a["org_id"])),
    ("identifier_format", lambda stage, a: a.update(identifier="")),
    ("naive_expiration", lambda stage, a: a.update(expires_at=datetime(2020, 1, 1))),  # noqa: DTZ001 - the fault
    ("past_expiration", lambda stage, a: a.update(expires_at=NOW)),
    ("pre_tuple_format", lambda stage, a: a["pre_tuples"].append(_malformed(stage))),
    ("pre_tuple_org_role", lambda stage, a: a["pre_tuples"].append(_org_role(stage))),
]


@pytest.mark.parametrize("reason, spoil", FAULTS)
def test_create_invitation_refuses_each_fault(
    reason: str, spoil: Change, stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = CALLS["create_invitation"](stage)
    spoil(stage, arguments)
    with stage.refuses(PreconditionError, reason):
        tenancy.create_invitation(**arguments)


@pytest.mark.parametrize("as_set", [False, True])
def test_an_identifier_that_no_index_can_hold_is_refused(
    stage: Stage, tenancy: TenancyRepository, as_set: bool
) -> None:
    arguments = CALLS["create_invitation"](stage)
    identifier = secrets.token_hex(3000)  # which the database cannot compress
    with stage.refuses(PreconditionError, "identifier_format", parameter="identifier"):
        if as_set:
            request = InvitationRequest(identifier, Role.MEMBER, expires_at=NOW + DAY)
            tenancy.create_invitations(arguments["org_id"], [request], arguments["invited_by"])
        else:
            tenancy.create_invitation(**arguments | {"identifier": identifier})


@pytest.mark.parametrize(
    "first, second", [p for p in pairwise(FAULTS) if p[1][0] != "past_expiration"]
)
def test_of_two_faults_create_invitation_names_the_earlier(
    first: tuple[str, Change],
    second: tuple[str, Change],
    stage: Stage,
    tenancy: TenancyRepository,
) -> None:
    arguments = CALLS["create_invitation"](stage)
    for _, spoil in (first, second):
        spoil(stage, arguments)
    with stage.refuses(PreconditionError, first[0]):
        tenancy.create_invitation(**arguments)


@pytest.mark.parametrize("reason, spoil", FAULTS)
def test_every_fault_comes_before_an_unknown_inviter(
    reason: str, spoil: Change, stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = CALLS["create_invitation"](stage) | {"invited_by": new_id("usr")}
    spoil(stage, arguments)
    with stage.refuses(PreconditionError, reason):
        tenancy.create_invitation(**arguments)


@pytest.mark.parametrize("parameter", ["org_id", "invited_by"])
def test_create_invitation_does_not_find_what_is_not_there(
    parameter: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = CALLS["create_invitation"](stage)
    unknown = new_id(arguments[parameter][:3])
    with stage.refuses(NotFoundError, parameter=parameter, id=unknown):
        tenancy.create_invitation(**arguments | {parameter: unknown})


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.REVOKED])
def test_nobody_is_invited_into_an_organization_that_is_not_active(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org(status)
    arguments = CALLS["create_invitation"](stage) | {"org_id": org.id}
    with stage.refuses(PreconditionError, "org_not_active", org_id=org.id, status=status):
        tenancy.create_invitation(**arguments)


def test_what_is_not_there_is_not_found(stage: Stage, tenancy: TenancyRepository) -> None:
    unknown = new_id("inv")
    calls: list[Callable[[], object]] = [
        lambda: tenancy.get_invitation(unknown),
        lambda: tenancy.decline_invitation(unknown, as_usr_id=new_id("usr")),
        lambda: tenancy.revoke_invitation(unknown, new_id("usr")),
        lambda: tenancy.accept_invitation(unknown, as_usr_id=new_id("usr")),
    ]
    for call in calls:
        with stage.refuses(NotFoundError, parameter="inv_id", id=unknown):
            call()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("time", [LATER, NOW + DAY], ids=["in time", "at the last moment"])
def test_declining_ends_the_invitation_in_the_users_name(
    time: datetime, known: bool, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org())
    usr_id = stage.user() if known else None
    row, rows = stored(stage.session, "inv", invitation.id), everything(stage.session)
    stage.clock.now = time
    assert tenancy.decline_invitation(invitation.id, as_usr_id=usr_id) is invitation
    assert invitation.status is InvitationStatus.DECLINED
    assert stored(stage.session, "inv", invitation.id) == row | {
        "status": "declined",
        "terminal_at": time,
        "terminal_by": bare(usr_id) if usr_id else None,
    }
    assert {**everything(stage.session), "inv": None} == {**rows, "inv": None}


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN])
@pytest.mark.parametrize("time", [LATER, NOW + DAY], ids=["in time", "at the last moment"])
def test_revoking_ends_the_invitation_in_the_administrators_name(
    time: datetime, role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    invitation, admin = stage.invitation(org), stage.member(org, role).usr_id
    row, rows = stored(stage.session, "inv", invitation.id), everything(stage.session)
    stage.clock.now = time
    assert tenancy.revoke_invitation(invitation.id, admin) is invitation
    assert invitation.status is InvitationStatus.REVOKED
    ended = {"status": "revoked", "terminal_at": time, "terminal_by": bare(admin)}
    assert stored(stage.session, "inv", invitation.id) == row | ended
    assert {**everything(stage.session), "inv": None} == {**rows, "inv": None}


def test_an_invitation_is_answered_even_while_its_organization_is_suspended(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    owner = stage.owner(org).usr_id
    declined, revoked = stage.invitation(org), stage.invitation(org)
    tenancy.suspend_org(org.id)
    assert tenancy.decline_invitation(declined.id).status is InvitationStatus.DECLINED
    assert tenancy.revoke_invitation(revoked.id, owner).status is InvitationStatus.REVOKED


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("status", TERMINAL)
def test_an_answer_is_final_whoever_asks_and_when(
    status: InvitationStatus, late: bool, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org(), status=status)
    stage.clock.now = NOW + 2 * DAY if late else NOW
    for usr_id in (invitation.invited_by, new_id("usr")):
        with stage.refuses(InvitationNotPendingError, inv_id=invitation.id, status=status):
            tenancy.decline_invitation(invitation.id, as_usr_id=usr_id)
        with stage.refuses(InvitationNotPendingError, inv_id=invitation.id, status=status):
            tenancy.revoke_invitation(invitation.id, usr_id)


def test_the_time_is_over_whoever_asks(stage: Stage, tenancy: TenancyRepository) -> None:
    invitation = stage.invitation(stage.org())
    stage.clock.now = invitation.expires_at + TICK
    for usr_id in (invitation.invited_by, new_id("usr")):
        with stage.refuses(InvitationExpiredError, inv_id=invitation.id):
            tenancy.decline_invitation(invitation.id, as_usr_id=usr_id)
        with stage.refuses(InvitationExpiredError, inv_id=invitation.id):
            tenancy.revoke_invitation(invitation.id, usr_id)


def test_a_user_who_is_not_there_declines_nothing(stage: Stage, tenancy: TenancyRepository) -> None:
    invitation: Invitation = stage.invitation(stage.org())
    unknown = new_id("usr")
    with stage.refuses(NotFoundError, parameter="as_usr_id", id=unknown):
        tenancy.decline_invitation(invitation.id, as_usr_id=unknown)
    assert invitation.status is InvitationStatus.PENDING


@every_unauthorized_actor
def test_only_an_administrator_revokes_an_invitation(
    actor: Callable[[Stage, Organization], str], stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    invitation, usr_id = stage.invitation(org), actor(stage, org)
    with stage.refuses(ForbiddenError, usr_id=usr_id, org_id=org.id):
        tenancy.revoke_invitation(invitation.id, usr_id)
