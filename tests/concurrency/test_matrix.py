"""Every two operations that can get into each other's way, at once, at three isolation levels.

They must end as if one had come after the other, in either order. Above READ COMMITTED one may
also fail to serialize, and then it is as if it had never come. What each order leaves behind is
found out by running the two one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from typing import Final, NamedTuple, TypeAlias

import pytest
from sqlalchemy import Connection, Engine

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.invariants import breaches
from tests.support.races import LEVELS, READ_COMMITTED, SERIALIZATION_FAILURE, Act, Races
from tests.support.scenes import Scene, State, stage
from tests.support.steps import STEPS, Step

REPEATS: Final = int(os.environ.get("TENANCY_RACE_REPEATS", "0"))
"""How often each two race in every way there is; else in one at each level, and at once."""

READS: Final = ("get_", "list_", "count_", "find_", "require_")
NEVER_CAME: Final = "never came"

Verdicts: TypeAlias = tuple[str, str]


def _at_once(races: Races, one: Act, other: Act) -> Verdicts:
    return races.clash(one, other).verdicts


def _into_open_transaction(races: Races, one: Act, other: Act) -> Verdicts:
    return races.against(one, other).verdicts


def _into_abandoned_transaction(races: Races, one: Act, other: Act) -> Verdicts:
    return NEVER_CAME, races.against(one, other, commit=False).second


@dataclass(frozen=True)
class Way:
    """How two acts meet, and which of the two is the first."""

    meeting: Callable[[Races, Act, Act], Verdicts]
    level: str
    swapped: bool = False

    def __call__(self, races: Callable[[str], Races], one: Act, other: Act) -> Verdicts:
        first, second = (other, one) if self.swapped else (one, other)
        ended = [
            self._judged(verdict) for verdict in self.meeting(races(self.level), first, second)
        ]
        one_ended, other_ended = reversed(ended) if self.swapped else ended
        return one_ended, other_ended

    def _judged(self, verdict: str) -> str:
        """Take a failure to serialize for what it is, where it is allowed at all."""
        failed = verdict == SERIALIZATION_FAILURE and self.level != READ_COMMITTED
        return NEVER_CAME if failed else verdict

    def __str__(self) -> str:
        swapped = ", swapped" if self.swapped else ""
        return f"{self.meeting.__name__.strip('_')} at {self.level}{swapped}"


def ways(number: int) -> list[Way]:
    """Return the ways in which a pair meets: all, or a few that are others for the next pair."""
    meetings = (_at_once, _into_open_transaction, _into_abandoned_transaction)
    every = [Way(m, level, swap) for m in meetings for level in LEVELS for swap in (False, True)]
    if REPEATS:
        return every * REPEATS
    return [
        Way(_at_once, LEVELS[number % 3]),
        *(
            Way(_into_open_transaction, level, swapped=bool((number + at) % 2))
            for at, level in enumerate(LEVELS)
        ),
    ]


class Pair(NamedTuple):
    """Two steps, and the ways in which they meet."""

    one: Step
    other: Step
    ways: list[Way]

    def __str__(self) -> str:
        return f"{self.one}-{self.other}"


PAIRS = [
    Pair(one, other, ways(number))
    for number, (one, other) in enumerate(combinations_with_replacement(STEPS, 2))
    if one.meets(other)
]


@dataclass(frozen=True)
class Setting:
    """What two steps need to make sense, and how one looks at what they did."""

    suspended: bool
    sole_owner: bool
    expiring: bool

    @classmethod
    def of(cls, *steps: Step) -> Setting:
        """Return the setting for some steps."""
        operations = {step.operation for step in steps}
        return cls(
            suspended="reinstate_org" in operations,
            sole_owner="self_leave ann for bob" in (step.name for step in steps),
            expiring="expire_invitations" in operations,
        )

    def stage(self, connection: Connection, number: int) -> list[Scene]:
        """Write scenes."""
        return stage(connection, number, suspended=self.suspended, sole_owner=self.sole_owner)

    def state(self, connection: Connection, scene: Scene) -> State:
        """Return what is in the tables now."""
        state = scene.state(connection)
        if self.expiring:
            # It leaves what somebody has locked for the next time, when it is as overdue as now.
            return [tuple("expired" if v == "pending" else v for v in row) for row in state]
        return state


InTurn: TypeAlias = Callable[[Setting, tuple[Step, ...]], tuple[list[str], State]]


@pytest.fixture(scope="session")
def in_turn(races: Callable[[str], Races], race_engine: Engine) -> InTurn:
    """Runs steps one after the other, and tells how each ended and what they left."""

    @cache
    def run(setting: Setting, steps: tuple[Step, ...]) -> tuple[list[str], State]:
        with race_engine.begin() as connection:
            (scene,) = setting.stage(connection, 1)
        verdicts = [races(READ_COMMITTED).alone(step.on(scene)) for step in steps]
        with race_engine.connect() as connection:
            return verdicts, setting.state(connection, scene)

    return run


def test_the_steps_are_all_operations_that_write() -> None:
    public = {name for name in dir(TenancyRepository) if not name.startswith(("_", *READS))}
    assert {step.operation for step in STEPS} == public


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_at_once_end_as_if_one_came_after_the_other(
    pair: Pair, races: Callable[[str], Races], in_turn: InTurn, race_engine: Engine
) -> None:
    one, other, ways = pair
    setting = Setting.of(one, other)
    allowed = outcomes(one, other, setting, in_turn)
    with race_engine.begin() as connection:
        scenes = setting.stage(connection, len(ways))
    with race_engine.connect() as connection:
        surprises = [
            f"{way}: {verdicts}"
            for way, scene in zip(ways, scenes, strict=True)
            for verdicts in [way(races, one.on(scene), other.on(scene))]
            if (*verdicts, setting.state(connection, scene)) not in allowed
        ]
        org_ids = [org_id for scene in scenes for org_id in scene.org_ids]
        assert breaches(connection, org_ids) == []
    assert surprises == []


def outcomes(
    one: Step, other: Step, setting: Setting, in_turn: InTurn
) -> list[tuple[str, str, State]]:
    """Return what may come of two: either order, one without the other, or nothing at all."""
    (first, second), in_order = in_turn(setting, (one, other))
    (earlier, later), in_reverse = in_turn(setting, (other, one))
    (only_one,), without_other = in_turn(setting, (one,))
    (only_other,), without_one = in_turn(setting, (other,))
    _, untouched = in_turn(setting, ())
    return [
        (first, second, in_order),
        (later, earlier, in_reverse),
        (only_one, NEVER_CAME, without_other),
        (NEVER_CAME, only_other, without_one),
        (NEVER_CAME, NEVER_CAME, untouched),
    ]
