"""Invitations: what offering, declining, withdrawing and expiring them writes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    Limits,
    Policy,
    PreTuple,
    Role,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.policy import INDEXABLE
from tests.support.calls import CALLS
from tests.support.counting import sent
from tests.support.sql import bare, snapshot
from tests.support.stage import DAY, IDENTIFIER, NOW, TICK, Stage

OVERDUE = NOW + DAY + TICK
ANSWERED = [status for status in InvitationStatus if status is not InvitationStatus.PENDING]


@pytest.mark.parametrize("role", Role)
def test_an_offer_is_pending_and_reads_back_as_it_was_made(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, inviter, project, doc = stage.org(), stage.user(), new_uuid(), new_uuid()
    with stage.writes() as written:
        made = tenancy.create_invitation(
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
    assert written == {
        made.id: {
            "org_id": org.id,
            "identifier": IDENTIFIER,
            "role": role.value,
            "status": "pending",
            "pre_tuples": [
                {"relation": "editor", "object_type": "proj", "object_id": str(project)},
                {"relation": "viewer", "object_type": "doc", "object_id": str(doc)},
                {"relation": "billing", "object_type": "org", "object_id": bare(org.id)},
            ],
            "invited_by": inviter,
            "invited_user_id": None,
            "created_at": NOW,
            "expires_at": NOW + DAY,
            "terminal_at": None,
            "terminal_by": None,
        }
    }
    id_, grants = made.id, made.pre_tuples
    assert grants == [
        PreTuple("editor", "proj", str(project)),
        PreTuple("viewer", "doc", str(doc)),
        PreTuple("billing", "org", org.id),
    ]
    stage.session.expunge_all()
    read = tenancy.get_invitation(id_)
    assert read is not made
    assert read.pre_tuples == grants


@pytest.mark.parametrize("identifier", ["a", "Ünï@Exämple.com", "\U0001f525" * 320, "'\"\\"])
def test_identifiers_are_stored_as_they_are(
    identifier: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = CALLS["create_invitation"](stage) | {"identifier": identifier}
    made = tenancy.create_invitation(**arguments)
    row = snapshot(stage.session)[made.id]
    assert row["identifier"] == made.identifier == identifier


@pytest.mark.parametrize(
    "expires_at",
    [
        NOW + TICK,
        datetime.max.replace(tzinfo=UTC) - DAY,
        (NOW + DAY).astimezone(timezone(timedelta(hours=14))),
    ],
    ids=["at once", "at the end of time", "far in the east"],
)
def test_an_expiry_is_the_instant_that_was_given(
    expires_at: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = CALLS["create_invitation"](stage) | {"expires_at": expires_at}
    made = tenancy.create_invitation(**arguments)
    assert snapshot(stage.session)[made.id]["expires_at"] == made.expires_at == expires_at


def test_the_longest_identifier_that_a_policy_may_allow_is_stored(stage: Stage) -> None:
    # Four bytes each, and different enough to resist compression.
    identifier = "".join(chr(secrets.randbelow(0xFFFF) + 0x10000) for _ in range(INDEXABLE))
    policy = Policy(limits=Limits(identifier=INDEXABLE))
    tenancy = TenancyRepository(stage.session, clock=stage.clock, policy=policy)
    made = tenancy.create_invitation(
        **CALLS["create_invitation"](stage) | {"identifier": identifier}
    )
    assert snapshot(stage.session)[made.id]["identifier"] == identifier


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("time", [NOW, NOW + DAY], ids=["at once", "at the last moment"])
@pytest.mark.parametrize("by", [None, "somebody", Role.OWNER, Role.ADMIN])
def test_an_open_invitation_is_declined_or_withdrawn_whatever_its_organization_is(
    by: str | None, time: datetime, suspended: bool, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    invitation = stage.invitation(org)
    usr_id = stage.member(org, Role(by)).usr_id if by in list(Role) else by and stage.user()
    if suspended:
        tenancy.suspend_org(org.id)
    stage.clock.now = time
    with stage.writes() as written:
        if by in list(Role):
            ended = tenancy.revoke_invitation(invitation.id, str(usr_id))
        else:
            ended = tenancy.decline_invitation(invitation.id, as_usr_id=usr_id)
    assert ended is invitation
    terminal = {"terminal_at": time} | ({"terminal_by": usr_id} if usr_id else {})
    status = InvitationStatus.REVOKED if by in list(Role) else InvitationStatus.DECLINED
    assert written == {invitation.id: {"status": status.value, **terminal}}


@pytest.mark.parametrize(
    "time, counts_as",
    [(NOW + DAY, InvitationStatus.PENDING), (OVERDUE, InvitationStatus.EXPIRED)],
    ids=["at the last moment", "after it"],
)
def test_a_pending_invitation_counts_as_expired_once_its_time_is_over(
    time: datetime, counts_as: InvitationStatus, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    by_status: dict[InvitationStatus, list[Invitation]] = {
        status: [stage.invitation(org, status=status)] for status in ANSWERED
    }
    by_status[InvitationStatus.PENDING] = []
    by_status[counts_as].append(invitation := stage.invitation(org))
    stage.clock.now = time
    for status in InvitationStatus:
        listed = tenancy.list_invitations(org.id, status=status).data
        assert listed == by_status[status]
        assert {each.effective_status for each in listed} == {status for _ in listed}
    assert len(tenancy.list_invitations(org.id).data) == len(InvitationStatus)
    assert tenancy.get_invitation(invitation.id).effective_status is counts_as
    assert invitation.status is InvitationStatus.PENDING
    assert snapshot(stage.session)[invitation.id]["status"] == "pending"


@pytest.mark.sees_all
@pytest.mark.parametrize(
    "limit, moved", [(-1, 1), (0, 1), (1, 1), (2, 2), (3, 3), (10_000, 3), (2**64, 3), (None, 3)]
)
def test_expiring_moves_what_is_overdue_in_nobodys_name_up_to_the_limit_and_the_oldest_first(
    limit: int | None, moved: int, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    for status in ANSWERED:
        stage.invitation(org, status=status)
    overdue = [stage.invitation(org) for _ in range(3)]
    stage.clock.now = NOW + TICK
    stage.invitation(org)
    stage.clock.now = NOW + DAY
    assert tenancy.expire_invitations() == 0
    stage.clock.now = OVERDUE
    with stage.writes() as written:
        assert tenancy.expire_invitations(**({} if limit is None else {"limit": limit})) == moved
    expired = {"status": "expired", "terminal_at": OVERDUE}
    assert written == {invitation.id: expired for invitation in overdue[:moved]}


@contextmanager
def locked(engine: Engine, inv_id: str) -> Iterator[None]:
    with engine.connect() as other, other.begin():
        lock = text("SELECT FROM inv WHERE id = CAST(:id AS uuid) FOR NO KEY UPDATE")
        other.execute(lock, {"id": bare(inv_id)})
        yield


@pytest.mark.sees_all
def test_expiring_skips_what_others_have_locked_and_moves_it_the_next_time(
    clean_engine: Engine,
) -> None:
    with Session(clean_engine) as session, session.begin():
        stage = Stage(session)
        org = stage.org()
        busy, free = stage.invitation(org).id, stage.invitation(org).id
    with Session(clean_engine) as session, session.begin():
        # Rather an error than a wait that never ends.
        session.execute(text("SET LOCAL lock_timeout = '10s'"))
        tenancy = Stage(session, OVERDUE).tenancy
        with locked(clean_engine, busy):
            assert tenancy.expire_invitations() == 1
            rows = snapshot(session)
            assert (rows[free]["status"], rows[busy]["status"]) == ("expired", "pending")
        assert tenancy.expire_invitations() == 1


def test_an_inbox_has_all_spellings_in_one_order_and_the_organizations_come_along(
    stage: Stage, session: Session
) -> None:
    spelled = ["Ann@example.com", "ann@example.com", "Ann@example.com", "bob@example.com"]
    orgs = [stage.org() for _ in spelled]
    made = [
        stage.tenancy.create_invitation(org.id, each, Role.GUEST, stage.user(), NOW + DAY).id
        for org, each in zip(orgs, spelled, strict=True)
    ]
    session.expunge_all()
    tenancy = TenancyRepository(session, clock=stage.clock, policy=Policy.recommended())
    with sent(session) as statements:
        page = tenancy.list_invitations_for("Ann@example.com", limit=2)
        listed = [(each.id, each.organization.id) for each in page]
    assert listed == list(zip(made[:2], [org.id for org in orgs[:2]], strict=True))
    assert len(statements) == 1
    rest = tenancy.list_invitations_for("Ann@example.com", cursor=page.next_cursor)
    assert ([each.id for each in rest], rest.next_cursor) == ([made[2]], None)
