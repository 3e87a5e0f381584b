"""Crowds: forty who want the same few places at once, and many who invite the same person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle
from threading import Barrier
from typing import Any, Final, TypeAlias

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationRequest,
    Policy,
    Role,
    SeatCount,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyStore
from tests.support.cluster import on_one_server
from tests.support.invariants import breaches
from tests.support.races import (
    COMPLETE,
    DEADLINE,
    DONE,
    LEVELS,
    READ_COMMITTED,
    SERIALIZATION_FAILURE,
    heard,
    verdict,
)
from tests.support.sql import bare
from tests.support.stage import DAY, Stage

Call: TypeAlias = Callable[[Any], Any]
"""An operation on a repository or a store, synchronous or not."""

CROWD: Final = 40
FREE: Final = 5
NO_SEAT: Final = "conflict.seat_limit"
DUPLICATE: Final = "conflict.duplicate_invitation"
WAYS: Final = {"by statement": [False], "by flush": [True], "both ways": [False, True]}

courses = pytest.mark.parametrize(
    "level, way",
    [
        (level, way)
        for at, level in enumerate(LEVELS)
        for turn, way in enumerate(WAYS)
        if COMPLETE or at == turn
    ],
)


@pytest.fixture(scope="module")
def crowded(race_engine: Engine) -> Iterator[Engine]:
    """An engine with a connection for each of a crowd."""
    engine = create_engine(race_engine.url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def crowd() -> Iterator[ThreadPoolExecutor]:
    """A thread for each of a crowd."""
    with ThreadPoolExecutor(CROWD) as threads:
        yield threads


class Venue:
    """An organization that many want to join, by all kinds of operations."""

    def __init__(self, session: Session) -> None:
        self.stage = Stage(session, datetime.now(UTC))
        self.org = self.stage.org()
        self.owner = self.stage.owner(self.org).usr_id
        self.expires_at = self.stage.clock.now + DAY

    def invited(self, identifier: str, *, days_ago: int = 0) -> Invitation:
        """Return an invitation that was good for a day."""
        made_at = self.stage.clock.now - days_ago * DAY
        return self.stage.at(made_at).create_invitation(
            self.org.id, identifier, Role.GUEST, self.owner, made_at + DAY
        )

    def add_member(self, number: int) -> Call:
        org_id, usr_id = self.org.id, self.stage.user()
        return lambda tenancy: tenancy.add_member(org_id, usr_id, Role.GUEST)

    def create_invitation(self, number: int, identifier: str = "") -> Call:
        offer = (identifier or f"new-{number}@example.com", Role.GUEST, self.owner, self.expires_at)
        org_id = self.org.id
        return lambda tenancy: tenancy.create_invitation(org_id, *offer)

    def add_members(self, number: int) -> Call:
        org_id, rows = self.org.id, [(self.stage.user(), Role.GUEST)]
        return lambda tenancy: tenancy.add_members(org_id, rows, all_or_nothing=True)

    def create_invitations(self, number: int) -> Call:
        offer = (f"row-{number}@example.com", Role.GUEST)
        rows = [InvitationRequest(*offer, expires_at=self.expires_at)]
        org_id, by = self.org.id, self.owner
        return lambda tenancy: tenancy.create_invitations(org_id, rows, by, all_or_nothing=True)

    def renew_invitation(self, number: int, identifier: str = "") -> Call:
        inv_id = self.invited(identifier or f"late-{number}@example.com", days_ago=2).id
        return lambda tenancy: tenancy.renew_invitation(inv_id, self.expires_at)

    def accept_invitation(self, number: int) -> Call:
        inv_id = self.invited(f"guest-{number}@example.com").id
        return lambda tenancy: tenancy.accept_invitation(inv_id)

    def joins(self) -> list[Call]:
        """Return what a crowd does; whoever accepts holds a seat already."""
        one_by_one = [self.add_member, self.create_invitation, self.renew_invitation]
        kinds = cycle([*one_by_one, self.add_members, self.create_invitations])
        accepts = [self.accept_invitation(number) for number in range(CROWD // 10)]
        others = (
            kind(number) for number, kind in zip(range(CROWD - len(accepts)), kinds, strict=False)
        )
        return [*accepts, *others]


def limited(venue: Venue) -> tuple[Policy, int]:
    """Return a policy that has few seats free, and how many there are."""
    seats = venue.stage.tenancy.count_seats(venue.org.id).taken + FREE
    return Policy(seats=lambda session, org: seats), seats


def arranged(engine: Engine, arrange: Callable[[Venue], Any]) -> tuple[str, Any]:
    """Set a venue up and commit it; return its id, and what else is arranged there."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        venue = Venue(session)
        return venue.org.id, arrange(venue)


def rush(
    threads: ThreadPoolExecutor, engine: Engine, level: str, calls: list[Call], **how: Any
) -> list[str]:
    """Call everything at once, each in a transaction of its own that has begun already."""
    at_level = engine.execution_options(isolation_level=level)
    barrier = Barrier(len(calls), timeout=DEADLINE)
    acts = zip(calls, cycle(WAYS[how["way"]]), strict=False)

    def run(call: Call, listened_to: bool) -> str:
        with Session(at_level) as session:
            session.connection()
            barrier.wait()
            return verdict(lambda: committed(session, call, listened_to, how["policy"]))

    return list(threads.map(run, *zip(*acts, strict=True)))


def committed(session: Session, call: Call, listened_to: bool, policy: Policy) -> None:
    heard(lambda s: call(TenancyRepository(s, policy=policy)), listened_to)(session)
    session.commit()


def again(
    verdicts: list[str],
    threads: ThreadPoolExecutor,
    engine: Engine,
    level: str,
    calls: list[Call],
    **how: Any,
) -> list[str]:
    """Let those who have failed to serialize try again, all at once, until none does."""
    while SERIALIZATION_FAILURE in verdicts:
        losers = [n for n, told in enumerate(verdicts) if told == SERIALIZATION_FAILURE]
        tried = rush(threads, engine, level, [calls[n] for n in losers], **how)
        ended = dict(zip(losers, tried, strict=True))
        verdicts = [ended.get(n, told) for n, told in enumerate(verdicts)]
    return verdicts


def assert_sound(engine: Engine, org_id: str) -> None:
    with engine.connect() as connection:
        assert breaches(connection, [bare(org_id)]) == []


def seats_taken(engine: Engine, org_id: str) -> SeatCount:
    with Session(engine) as session:
        return TenancyRepository(session).count_seats(org_id)


@courses
def test_a_crowd_takes_the_seats_that_are_free_and_no_more(
    level: str, way: str, crowded: Engine, crowd: ThreadPoolExecutor
) -> None:
    org_id, (calls, (policy, seats)) = arranged(crowded, lambda v: (v.joins(), limited(v)))
    verdicts = rush(crowd, crowded, level, calls, way=way, policy=policy)
    told = {DONE, NO_SEAT} | ({SERIALIZATION_FAILURE} if level != READ_COMMITTED else set())
    assert set(verdicts) <= told
    assert seats_taken(crowded, org_id).taken <= seats
    verdicts = again(verdicts, crowd, crowded, level, calls, way=way, policy=policy)
    assert verdicts.count(DONE) == CROWD // 10 + FREE
    assert verdicts.count(NO_SEAT) == CROWD - CROWD // 10 - FREE
    assert seats_taken(crowded, org_id).taken == seats
    assert_sound(crowded, org_id)


@courses
@on_one_server("asyncpg has another way to name a search path")
def test_an_awaited_crowd_takes_them_too(level: str, way: str, crowded: Engine) -> None:
    org_id, (calls, (policy, seats)) = arranged(crowded, lambda v: (v.joins(), limited(v)))

    class Heard(Session):
        """A Session to which somebody may listen."""

    if way != "by statement":
        event.listen(Heard, "before_flush", lambda *_: None)

    async def run() -> list[str]:
        url = crowded.url.set(drivername="postgresql+asyncpg")
        engine = create_async_engine(url, poolclass=NullPool, isolation_level=level)
        factories = [
            async_sessionmaker(engine, sync_session_class=kind, expire_on_commit=False)
            for kind in (Heard, Session if way == "both ways" else Heard)
        ]
        stores = cycle(
            AsyncTenancyStore(factory, policy=policy, attempts=10 * CROWD) for factory in factories
        )
        endings = await asyncio.gather(
            *(call(store) for call, store in zip(calls, stores, strict=False)),
            return_exceptions=True,
        )
        await engine.dispose()
        return [getattr(ending, "code", DONE) for ending in endings]

    verdicts = asyncio.run(run())
    assert verdicts.count(DONE) == CROWD // 10 + FREE
    assert verdicts.count(NO_SEAT) == CROWD - CROWD // 10 - FREE
    assert seats_taken(crowded, org_id).taken == seats
    assert_sound(crowded, org_id)


@courses
@pytest.mark.parametrize("pending", ["replace", "refuse"])
def test_of_many_who_invite_the_same_person_one_invitation_is_open(
    pending: Any, level: str, way: str, crowded: Engine, crowd: ThreadPoolExecutor
) -> None:
    def arrange(venue: Venue) -> list[Call]:
        who = "somebody@example.com"
        return [
            kind(number, who)
            for number in range(5)
            for kind in (venue.create_invitation, venue.renew_invitation)
        ]

    org_id, calls = arranged(crowded, arrange)
    policy = Policy(pending_invitations=pending)
    verdicts = rush(crowd, crowded, level, calls, way=way, policy=policy)
    assert len(live(crowded, org_id)) == 1
    told = {DONE, SERIALIZATION_FAILURE} if pending == "replace" else {DONE, DUPLICATE}
    assert set(verdicts) <= told | ({SERIALIZATION_FAILURE} if level != READ_COMMITTED else set())
    if pending == "refuse":
        assert verdicts.count(DONE) == 1
    again(verdicts, crowd, crowded, level, calls, way=way, policy=policy)
    assert len(live(crowded, org_id)) == 1


def live(engine: Engine, org_id: str) -> list[Invitation]:
    """Return an organization's invitations that are open."""
    with Session(engine, expire_on_commit=False) as session:
        return TenancyRepository(session).list_invitations(org_id, limit=200, status="pending").data
