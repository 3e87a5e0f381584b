"""The races that everybody thinks of first: with the schema's rules, and without their help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Engine

from flametrench_tenancy_sqlalchemy import Policy
from flametrench_tenancy_sqlalchemy.policy import LETTER
from tests.support.invariants import breaches
from tests.support.races import (
    COMPLETE,
    DONE,
    LEVELS,
    READ_COMMITTED,
    REPEATABLE_READ,
    SERIALIZATION_FAILURE,
    WAYS,
    Races,
    acts,
    heard,
)
from tests.support.scenes import Scene, stage
from tests.support.steps import BY_NAME

SOLE_OWNER: Final = "forbidden.sole_owner"
DUPLICATE: Final = "conflict.duplicate_membership"
NOT_PENDING: Final = "conflict.invitation_not_pending"
SLUG_TAKEN: Final = "conflict.org_slug"
NOT_ACTIVE: Final = "precondition.mem_not_active"
ORG_NOT_ACTIVE: Final = "precondition.org_not_active"
TO_NOT_ACTIVE: Final = "precondition.to_not_active"
FROM_NOT_ACTIVE: Final = "precondition.from_not_active"
FORBIDDEN: Final = "forbidden"
NOT_ENTITLED: Final = "precondition.inviter_not_entitled"
DUPLICATE_OFFER: Final = "conflict.duplicate_invitation"
DUPLICATE_ORG: Final = "conflict.duplicate_org"
DUPLICATE_ID: Final = "conflict.duplicate_invitation_id"
NO_SEAT: Final = "conflict.seat_limit"


class Race(NamedTuple):
    """Two steps, and how each ends when it comes second."""

    one: str
    other: str
    one_late: str
    other_late: str
    policy: Policy = LETTER

    def __str__(self) -> str:
        return f"{self.one}-{self.other}"


OWNERS: Final = [
    Race(one, other, SOLE_OWNER, SOLE_OWNER)
    for one, other in [
        ("self_leave ann", "self_leave bob"),
        ("change_role ann", "change_role bob"),
        ("suspend_membership ann", "suspend_membership bob"),
        ("self_leave ann", "change_role bob"),
        ("self_leave ann", "suspend_membership bob"),
        ("change_role ann", "suspend_membership bob"),
    ]
]
ACCEPT: Final = "accept_invitation by max"
SECOND: Final = "accept_invitation second by max"
TO_BOB, TO_ANN = "transfer_ownership ann to bob", "transfer_ownership bob to ann"
TO_EVE: Final = "transfer_ownership ann to eve"
REMOVE: Final = "admin_remove eve by cyd"
RACES: Final = [
    *OWNERS,
    Race(TO_EVE, REMOVE, TO_NOT_ACTIVE, NOT_ACTIVE),
    Race(TO_BOB, TO_ANN, TO_NOT_ACTIVE, TO_NOT_ACTIVE),
    Race(TO_EVE, TO_BOB, FROM_NOT_ACTIVE, FROM_NOT_ACTIVE),
    # An organization that ends, or is suspended, while somebody is about to come.
    Race("add_member max", "revoke_org", ORG_NOT_ACTIVE, DONE),
    Race(ACCEPT, "revoke_org", NOT_PENDING, DONE),
    Race("create_invitation", "revoke_org", ORG_NOT_ACTIVE, DONE),
    Race("reinstate_membership sam", "revoke_org", "precondition.invalid_transition", DONE),
    Race("add_members sam, liz, max or none", "revoke_org", ORG_NOT_ACTIVE, DONE),
    Race("add_member max", "suspend_org", ORG_NOT_ACTIVE, DONE),
    Race(ACCEPT, "suspend_org", ORG_NOT_ACTIVE, DONE),
    Race("reinstate_membership sam", "suspend_org", ORG_NOT_ACTIVE, DONE),
    # One invitation, or two of one user.
    Race(ACCEPT, "accept_invitation second by max", DUPLICATE, DUPLICATE),
    Race(ACCEPT, ACCEPT, NOT_PENDING, NOT_PENDING),
    Race(ACCEPT, "accept_invitation by a new user", NOT_PENDING, NOT_PENDING),
    Race(ACCEPT, "decline_invitation", NOT_PENDING, NOT_PENDING),
    Race(ACCEPT, "revoke_invitation by cyd", NOT_PENDING, NOT_PENDING),
    Race(ACCEPT, "expire_invitations", NOT_PENDING, DONE),
    # One slug, one membership.
    Race("create_org", "create_org", SLUG_TAKEN, SLUG_TAKEN),
    Race("create_org", "update_org", SLUG_TAKEN, SLUG_TAKEN),
    Race("create_org by its id", "create_org", SLUG_TAKEN, SLUG_TAKEN),
    Race("create_org by its id", "create_org by its id", DUPLICATE_ORG, DUPLICATE_ORG),
    Race("create_invitation by its id", "create_invitation by its id", DUPLICATE_ID, DUPLICATE_ID),
    Race("update_org", "update_org bolt", SLUG_TAKEN, SLUG_TAKEN),
    Race("add_member max", "add_member max", DUPLICATE, DUPLICATE),
    Race("add_member max", ACCEPT, DUPLICATE, DUPLICATE),
    Race("reinstate_membership sam", "add_member sam", DUPLICATE, DUPLICATE),
    Race("change_role eve", REMOVE, NOT_ACTIVE, NOT_ACTIVE),
    # Sets, in opposite order and across each other.
    Race("add_members sam, liz, max or none", "add_members max, liz, sam", DUPLICATE, DONE),
    Race("remove_members sam, eve by ann or none", "change_role eve", NOT_ACTIVE, NOT_ACTIVE),
    Race("change_roles bob, cyd or none", "change_roles ann, eve, bob", SOLE_OWNER, DONE),
    # Administrators who are none any more.
    Race(REMOVE, "change_role cyd", FORBIDDEN, DONE),
    Race("revoke_invitation by cyd", "change_role cyd", FORBIDDEN, DONE),
    Race("admin_remove cyd by dan", "admin_remove dan by cyd", FORBIDDEN, FORBIDDEN),
]


_ENTITLED: Final = Policy(inviter_authority=True)
_ONE_LIVE: Final = Policy(pending_invitations="refuse")
_SEATS: Final = Policy(seats=lambda session, org: 8)
OFFER, RETRIED = "create_invitation", "create_invitation by its id"
UNDER_POLICIES: Final = [
    # Inviters who are none any more.
    *(
        Race(ACCEPT, ended, NOT_ENTITLED, DONE, _ENTITLED)
        for ended in ("change_role ann", "suspend_membership ann", "self_leave ann")
    ),
    *(
        Race(OFFER, ended, FORBIDDEN, DONE, _ENTITLED)
        for ended in ("change_role ann", "suspend_membership ann", "self_leave ann")
    ),
    Race(ACCEPT, "suspend_membership ann", NOT_PENDING, DONE, Policy.recommended()),
    # One offer that is open, or one seat.
    Race(OFFER, OFFER, DUPLICATE_OFFER, DUPLICATE_OFFER, _ONE_LIVE),
    # One offer that is sent again is no second one.
    *(
        Race(RETRIED, RETRIED, DUPLICATE_ID, DUPLICATE_ID, policy)
        for policy in (Policy.recommended(), _ENTITLED, _ONE_LIVE)
    ),
    Race(ACCEPT, SECOND, NOT_PENDING, NOT_PENDING, Policy(accept_ends_others=True)),
    Race("add_member max", "add_member liz", NO_SEAT, NO_SEAT, _SEATS),
    Race("add_member max", OFFER, NO_SEAT, NO_SEAT, _SEATS),
    Race("add_member liz", ACCEPT, DONE, DONE, _SEATS),
]


class Course(NamedTuple):
    """A race at an isolation level, and how each of the two writes."""

    race: Race
    level: str
    way: str

    def __str__(self) -> str:
        return f"{self.race} at {self.level} {self.way}"


def courses(*levels: str, races: list[Race] = RACES) -> list[Course]:
    """Return the courses at some levels: in all ways, or each in another one."""
    return [
        Course(race, level, way)
        for number, race in enumerate(races)
        for at, level in enumerate(levels)
        for turn, way in enumerate(WAYS)
        if COMPLETE or turn == (number + at) % len(WAYS)
    ]


@pytest.mark.parametrize(
    "course", [*courses(*LEVELS), *courses(*LEVELS, races=UNDER_POLICIES)], ids=str
)
def test_the_first_wins_and_the_other_is_told_why(
    course: Course, races: Callable[[str], Races]
) -> None:
    run(course, races(course.level))


@pytest.mark.parametrize(
    "course", [*courses(READ_COMMITTED), *courses(*LEVELS[1:], races=OWNERS)], ids=str
)
def test_it_takes_no_rules_of_the_schema(
    course: Course, bare_races: Callable[[str], Races]
) -> None:
    run(course, bare_races(course.level))


@pytest.mark.parametrize("by_flush", [False, True])
@pytest.mark.parametrize("race", OWNERS, ids=str)
@pytest.mark.parametrize("early, late", [*permutations(LEVELS, 2)])
def test_an_owner_remains_where_callers_choose_different_levels(
    race: Race,
    early: str,
    late: str,
    by_flush: bool,
    *,
    races: Callable[[str], Races],
    race_engine: Engine,
    scene: Scene,
) -> None:
    one, other = (heard(BY_NAME[name].on(scene), by_flush) for name in race[:2])
    ending = races(late).behind(one, other, ahead=races(early))
    assert ending.verdicts in failed_above(late, (DONE, race.other_late))
    with race_engine.connect() as connection:
        assert breaches(connection, scene.org_ids) == []


def run(course: Course, races: Races) -> None:
    """Let two steps meet in every way."""
    race, level, way = course
    with races.engine.begin() as connection:
        scenes = stage(connection, 5)
    before = failed_above(level, (DONE, race.other_late))
    after = failed_above(level, (DONE, race.one_late))
    one, other = (partial(BY_NAME[name].on, policy=race.policy) for name in race[:2])
    steps = [(one, other), (other, one)]

    for scene, (first, second), allowed in zip(scenes, steps, (before, after), strict=False):
        both = acts(way, first(scene), second(scene))
        assert races.against(*both).verdicts in allowed
    for scene, (first, second), allowed in zip(scenes[2:], steps, (before, after), strict=False):
        both = acts(way, first(scene), second(scene))
        assert races.behind(*both, seen=scene.entities).verdicts in allowed
    at_once = before | {(second, first) for first, second in after}
    if level == REPEATABLE_READ:
        # Two who join on snapshots of the same time both give way, rather than deadlock.
        at_once |= {(SERIALIZATION_FAILURE, SERIALIZATION_FAILURE)}
    both = acts(way, one(scenes[4]), other(scenes[4]))
    assert races.clash(*both).verdicts in at_once

    org_ids = [org_id for scene in scenes for org_id in scene.org_ids]
    with races.engine.connect() as connection:
        assert breaches(connection, org_ids) == []


def failed_above(level: str, ending: tuple[str, str]) -> set[tuple[str, str]]:
    """Return an ending, and those in its place where one of the two may fail to serialize."""
    if level == READ_COMMITTED:
        return {ending}
    return {ending, (DONE, SERIALIZATION_FAILURE), (SERIALIZATION_FAILURE, DONE)}
