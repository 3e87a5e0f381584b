"""History is what a model remembers, whatever happens, and says how far back it knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import (
    InvalidIdError,
    Membership,
    NotFoundError,
    PreconditionError,
    Role,
    Status,
    TenancyError,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy.audit import AuditLog, Span
from tests.support.stage import DAY, NOW, TICK, Stage

STATES: Final = 40
Roles = Mapping[str, Role]


@dataclass
class Past:
    """What happened to an organization at random, and what it was after each step."""

    stage: Stage
    random: Random
    states: list[tuple[datetime, Roles]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.org = self.stage.org()
        self.users = [self.stage.owner(self.org).usr_id, *(self.stage.user() for _ in range(5))]
        self.remember()

    def remember(self) -> None:
        members = self.stage.tenancy.list_members(self.org.id, status="active", limit=200)
        self.states.append((self.stage.clock.now, {m.usr_id: m.role for m in members}))

    def step(self) -> None:
        """Let something happen, or be refused, some time later."""
        self.stage.clock.now += timedelta(seconds=self.random.randint(1, 100_000))
        listed = self.stage.tenancy.list_members(self.org.id, limit=200)
        members = [
            m for m in listed if m.status is not Status.REVOKED or self.random.random() < 0.1
        ]
        one, other = (self.random.choice(members) for _ in range(2))
        try:
            self.act(self.stage.tenancy, one, other)
        except TenancyError:
            return
        self.remember()

    def act(self, tenancy: TenancyRepository, one: Membership, other: Membership) -> None:
        user, role = self.random.choice(self.users), self.random.choice(list(Role))
        match self.random.randint(0, 7):
            case 0 | 1:
                tenancy.add_member(self.org.id, user, role)
            case 2:
                tenancy.change_role(one.id, role)
            case 3:
                tenancy.suspend_membership(one.id)
            case 4:
                tenancy.reinstate_membership(one.id)
            case 5:
                tenancy.self_leave(one.id, transfer_to=other.usr_id)
            case 6:
                tenancy.admin_remove(one.id, other.usr_id)
            case 7:
                tenancy.transfer_ownership(self.org.id, one.id, other.id)

    def at(self, moment: datetime) -> Roles:
        return next((roles for at, roles in reversed(self.states) if at <= moment), {})

    def moments(self) -> Iterator[datetime]:
        """Yield the moments of some steps, those right before them, and some after."""
        for at, _ in self.random.sample(self.states, 12):
            yield from (at - TICK, at, at + timedelta(seconds=self.random.randint(1, 50_000)))


@pytest.fixture(params=range(4))
def past(request: pytest.FixtureRequest, stage: Stage) -> Past:
    past = Past(stage, Random(request.param))
    while len(past.states) < STATES:
        past.step()
    return past


def active_at(spans: list[Span], moment: datetime) -> Roles:
    return {
        span.usr_id: span.role
        for span in spans
        if span.status is Status.ACTIVE
        and span.since <= moment
        and (span.until is None or moment < span.until)
    }


def test_who_was_what_is_what_a_model_remembers(past: Past, log: AuditLog) -> None:
    spans = list(log.timeline(past.org.id))
    for moment in past.moments():
        expected = past.at(moment)
        assert log.members_at(past.org.id, moment).roles == expected
        assert active_at(spans, moment) == expected
        user = past.random.choice(past.users)
        assert log.role_at(past.org.id, user, moment).role == expected.get(user)


def test_the_timeline_is_of_one_user_oldest_first_and_has_no_gap(past: Past, log: AuditLog) -> None:
    spans = list(log.timeline(past.org.id))
    assert spans == sorted(spans, key=lambda span: (span.since, span.mem_id))
    for user in past.users:
        assert list(log.timeline(past.org.id, usr_id=user)) == [
            span for span in spans if span.usr_id == user
        ]
    for mem_id in {span.mem_id for span in spans}:
        own = [span for span in spans if span.mem_id == mem_id]
        assert [span.until for span in own[:-1]] == [span.since for span in own[1:]]


def test_members_end_with_their_organization(stage: Stage, log: AuditLog) -> None:
    org = stage.org()
    stage.member(org, status=Status.SUSPENDED)
    stage.clock.now += DAY
    stage.tenancy.revoke_org(org.id)

    assert log.members_at(org.id, NOW).roles.keys() == {stage.owner(org).usr_id}
    assert log.members_at(org.id, NOW + DAY).roles == {}
    assert {span.until for span in log.timeline(org.id)} == {NOW + DAY}


def forget_before(stage: Stage, moment: datetime) -> None:
    """Forget what happened before a moment, as retention does with whole months."""
    stage.session.flush()
    for statement in (
        "SET LOCAL session_replication_role = replica",
        f"DELETE FROM aud WHERE occurred_at < '{moment.isoformat()}'",
        "UPDATE aud SET recorded_at = occurred_at",
        "SET LOCAL session_replication_role = origin",
    ):
        stage.session.execute(text(statement))


def test_what_the_log_has_forgotten_of_suspensions_is_said_and_the_roles_stay(
    stage: Stage, log: AuditLog
) -> None:
    org = stage.org()
    owner = stage.owner(org)
    paused, back, gone = (stage.member(org, status=Status.SUSPENDED) for _ in range(3))
    unknown, known, later = (NOW + n * DAY for n in (1, 2, 3))
    stage.clock.now = known
    stage.tenancy.admin_remove(gone.id, owner.usr_id)
    stage.clock.now = later
    stage.tenancy.reinstate_membership(back.id)
    forget_before(stage, unknown)

    assert log.members_at(org.id, known).suspensions_since == known
    assert log.members_at(org.id, known).roles.keys() == {owner.usr_id}
    assert log.members_at(org.id, later).roles.keys() == {owner.usr_id, back.usr_id}
    # Of who is suspended still, their membership tells since when; of others, nobody.
    assert log.members_at(org.id, unknown).roles.keys() == {
        *(owner.usr_id, back.usr_id, gone.usr_id)
    }
    assert log.role_at(org.id, paused.usr_id, unknown).role is None
    spans = {span.mem_id: span for span in log.timeline(org.id)}
    assert not spans[owner.id].recorded
    assert (spans[back.id].status, spans[back.id].since) == ("active", later)
    assert spans[back.id].recorded


def test_without_a_single_event_memberships_tell_what_they_can(stage: Stage, log: AuditLog) -> None:
    org = stage.org()
    owner, paused = stage.owner(org), stage.member(org, status=Status.SUSPENDED)
    forget_before(stage, NOW + 1000 * DAY)

    then = log.members_at(org.id, NOW)
    assert then.roles == {owner.usr_id: Role.OWNER}
    assert then.suspensions_since is None
    assert [span.status for span in log.timeline(org.id, usr_id=paused.usr_id)] == ["suspended"]


@pytest.mark.parametrize("back", [timedelta(0), TICK, DAY], ids=["at once", "clocks", "a day"])
def test_who_is_back_by_a_clock_that_stands_still_or_is_behind_is_back(
    stage: Stage, log: AuditLog, back: timedelta
) -> None:
    org, later = stage.org(), NOW + 2 * DAY
    member = stage.member(org)
    stage.clock.now = later
    stage.tenancy.suspend_membership(member.id)
    stage.clock.now = later - back
    stage.tenancy.reinstate_membership(member.id)
    [span] = log.timeline(org.id, usr_id=member.usr_id)
    assert (span.status, span.since, span.until) == ("active", NOW, None)
    assert log.role_at(org.id, member.usr_id, later).role is Role.MEMBER

    stage.tenancy.suspend_membership(member.id)
    [_, span] = log.timeline(org.id, usr_id=member.usr_id)
    assert (span.status, span.since, span.until) == ("suspended", later, None)
    assert log.role_at(org.id, member.usr_id, later).role is None


def test_a_pause_that_is_over_before_its_membership_begins_by_another_clock_is_none(
    stage: Stage, log: AuditLog
) -> None:
    org = stage.org()
    stage.clock.now = NOW + DAY
    member = stage.member(org)
    stage.clock.now = NOW
    stage.tenancy.suspend_membership(member.id)
    stage.clock.now += TICK
    stage.tenancy.reinstate_membership(member.id)

    [span] = log.timeline(org.id, usr_id=member.usr_id)
    assert (span.status, span.since) == ("active", NOW + DAY)


def test_what_the_log_tells_first_may_be_that_somebody_is_back(stage: Stage, log: AuditLog) -> None:
    org = stage.org()
    back = stage.member(org, status=Status.SUSPENDED)
    stage.clock.now += DAY
    forget_before(stage, NOW + DAY)
    stage.tenancy.reinstate_membership(back.id)

    [span] = log.timeline(org.id, usr_id=back.usr_id)
    assert (span.status, span.until) == ("active", None)


def test_bad_input_is_named(stage: Stage, log: AuditLog) -> None:
    org_id, usr_id = stage.org().id, new_id("usr")
    with stage.refuses(InvalidIdError, parameter="org_id"):
        log.members_at(usr_id, NOW)
    with stage.refuses(NotFoundError, parameter="org_id"):
        log.timeline(new_id("org"))
    with stage.refuses(InvalidIdError, parameter="usr_id"):
        log.role_at(org_id, org_id, NOW)
    with stage.refuses(PreconditionError, "moment_format", parameter="at"):
        log.role_at(org_id, usr_id, NOW.replace(tzinfo=None))
    assert log.role_at(org_id, usr_id, NOW).role is None
