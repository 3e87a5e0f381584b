"""Invitations whose time is over: how lists count them, and expire_invitations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    InvitationExpiredError,
    InvitationStatus,
    TenancyRepository,
)
from tests.support.sql import bare, everything, stored
from tests.support.stage import DAY, NOW, TICK, Stage

OVERDUE = NOW + DAY + TICK
TERMINAL = [status for status in InvitationStatus if status is not InvitationStatus.PENDING]


@pytest.mark.parametrize(
    "time, counts_as",
    [(NOW + DAY, InvitationStatus.PENDING), (OVERDUE, InvitationStatus.EXPIRED)],
    ids=["at the last moment", "after it"],
)
@pytest.mark.parametrize("wanted", InvitationStatus)
def test_a_pending_invitation_counts_as_expired_once_its_time_is_over(
    wanted: InvitationStatus,
    time: datetime,
    counts_as: InvitationStatus,
    stage: Stage,
    tenancy: TenancyRepository,
) -> None:
    invitation = stage.invitation(stage.org())
    stage.clock.now = time
    page = tenancy.list_invitations(invitation.org_id, status=wanted)
    assert page.data == ([invitation] if wanted is counts_as else [])
    assert tenancy.list_invitations(invitation.org_id).data == [invitation]
    assert stored(stage.session, "inv", invitation.id)["status"] == "pending"


@pytest.mark.parametrize("late", [False, True])
def test_a_terminal_invitation_counts_as_what_it_is(
    late: bool, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    ended = {status: stage.invitation(org, status=status) for status in TERMINAL}
    stage.clock.now = OVERDUE if late else NOW
    for status, invitation in ended.items():
        assert tenancy.list_invitations(org.id, status=status).data == [invitation]


def test_expiring_moves_what_is_overdue_in_nobodys_name(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    overdue = [stage.invitation(stage.org()) for _ in range(3)]
    rows = [stored(stage.session, "inv", invitation.id) for invitation in overdue]
    stage.clock.now = OVERDUE
    assert tenancy.expire_invitations() == 3
    assert [stored(stage.session, "inv", invitation.id) for invitation in overdue] == [
        row | {"status": "expired", "terminal_at": OVERDUE, "terminal_by": None} for row in rows
    ]
    assert {invitation.status for invitation in overdue} == {InvitationStatus.EXPIRED}
    assert tenancy.expire_invitations() == 0


def test_expiring_leaves_what_is_in_time_or_terminal(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    for status in InvitationStatus:
        stage.invitation(org, status=status)
    rows = everything(stage.session)
    stage.clock.now = NOW + DAY
    assert tenancy.expire_invitations() == 0
    assert everything(stage.session) == rows


@pytest.mark.parametrize(
    "limit, moved", [(-1, 1), (0, 1), (1, 1), (2, 2), (3, 3), (10_000, 3), (2**64, 3)]
)
def test_no_more_are_moved_than_the_limit_says_and_the_oldest_first(
    limit: int, moved: int, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    ids = [stage.invitation(org).id for _ in range(3)]
    stage.clock.now = OVERDUE
    assert tenancy.expire_invitations(limit=limit) == moved
    statuses = [stored(stage.session, "inv", id_)["status"] for id_ in ids]
    assert statuses == ["expired"] * moved + ["pending"] * (3 - moved)


def test_an_overdue_invitation_is_refused_before_and_after_it_is_moved(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org())
    stage.clock.now = OVERDUE
    with stage.refuses(InvitationExpiredError, inv_id=invitation.id):
        tenancy.accept_invitation(invitation.id)
    tenancy.expire_invitations()
    assert tenancy.get_invitation(invitation.id).status is InvitationStatus.EXPIRED


@contextmanager
def _locked(engine: Engine, inv_id: str) -> Iterator[None]:
    with engine.connect() as other, other.begin():
        lock = text("SELECT FROM inv WHERE id = CAST(:id AS uuid) FOR NO KEY UPDATE")
        other.execute(lock, {"id": bare(inv_id)})
        yield


def test_expiring_skips_what_others_have_locked_and_moves_it_the_next_time(
    clean_engine: Engine,
) -> None:
    with Session(clean_engine) as session, session.begin():
        stage = Stage(session)
        org = stage.org()
        locked, free = stage.invitation(org).id, stage.invitation(org).id
    with Session(clean_engine) as session, session.begin():
        # Rather an error than a wait that never ends.
        session.execute(text("SET LOCAL lock_timeout = '10s'"))
        tenancy = TenancyRepository(session, clock=lambda: OVERDUE + timedelta(days=1))
        with _locked(clean_engine, locked):
            assert tenancy.expire_invitations() == 1
            assert stored(session, "inv", free)["status"] == "expired"
            assert stored(session, "inv", locked)["status"] == "pending"
        assert tenancy.expire_invitations() == 1
        assert stored(session, "inv", locked)["status"] == "expired"
