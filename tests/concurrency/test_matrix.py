"""Every two operations that can get into each other's way, at once, by flush and by statement.

They must end as if one had come after the other, in either order. Above READ COMMITTED one may
also fail to serialize, and then it is as if it had never come. What each order leaves behind is
found out by running the two one after the other, by statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, product
from typing import Final, NamedTuple, TypeAlias

import pytest
from sqlalchemy import Connection, Engine

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.invariants import breaches
from tests.support.races import (
    COMPLETE,
    LEVELS,
    READ_COMMITTED,
    UNSERIALIZABLE,
    WAYS,
    Act,
    Ending,
    Races,
    acts,
)
from tests.support.scenes import Scene, State, stage
from tests.support.steps import STEPS, Step

READS: Final = (
    *("acting_as", "get_", "list_", "count_"),
    *("find_", "preview_", "require_", "role_"),
)
NEVER_CAME: Final = "never came"

Verdicts: TypeAlias = tuple[str, str]


def _at_once(races: Races, one: Act, other: Act) -> Ending:
    return races.clash(one, other)


def _into_open_transaction(races: Races, one: Act, other: Act) -> Ending:
    return races.against(one, other)


def _into_abandoned_transaction(races: Races, one: Act, other: Act) -> Ending:
    return Ending(NEVER_CAME, races.against(one, other, commit=False).second)


@dataclass(frozen=True)
class Meeting:
    """How two acts meet, which of the two is the first, and how each of them writes."""

    how: Callable[[Races, Act, Act], Ending]
    level: str
    way: str
    swapped: bool = False

    def __call__(self, races: Callable[[str], Races], one: Act, other: Act) -> Verdicts:
        both = (other, one) if self.swapped else (one, other)
        ending = self.how(races(self.level), *acts(self.way, *both))
        first, second = map(self._judged, ending.verdicts)
        return (second, first) if self.swapped else (first, second)

    def _judged(self, verdict: str) -> str:
        """Take a failure to serialize for what it is, where it is allowed at all."""
        failed = verdict in UNSERIALIZABLE and self.level != READ_COMMITTED
        return NEVER_CAME if failed else verdict

    def __str__(self) -> str:
        swapped = ", swapped" if self.swapped else ""
        return f"{self.how.__name__.strip('_')} at {self.level} {self.way}{swapped}"


MEETINGS: Final = [
    *(
        Meeting(_into_open_transaction, level, way, swapped)
        for level, (at, way), swapped in product(LEVELS, enumerate(WAYS), (False, True))
        # Above READ COMMITTED in one order at one level, in the other at the other.
        if level == READ_COMMITTED or swapped == (at + LEVELS.index(level)) % 2
    ),
    *(Meeting(_at_once, level, way) for level, way in product(LEVELS, WAYS)),
    *(
        Meeting(_into_abandoned_transaction, READ_COMMITTED, way, swapped=bool(at % 2))
        for at, way in enumerate(WAYS)
    ),
]


class Pair(NamedTuple):
    """Two steps, and how they meet."""

    one: Step
    other: Step
    meetings: list[Meeting]

    def __str__(self) -> str:
        return f"{self.one}-{self.other}"


PAIRS: Final = [
    Pair(one, other, MEETINGS if COMPLETE else [MEETINGS[number * 7 % len(MEETINGS)]])
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


def outcomes(
    one: Step, other: Step, setting: Setting, in_turn: InTurn
) -> Iterator[tuple[str, str, State]]:
    """Return what may come of two: either order, one without the other, or nothing at all."""
    (first, second), in_order = in_turn(setting, (one, other))
    yield first, second, in_order
    (second, first), in_reverse = in_turn(setting, (other, one))
    yield first, second, in_reverse
    (only_one,), without_other = in_turn(setting, (one,))
    yield only_one, NEVER_CAME, without_other
    (only_other,), without_one = in_turn(setting, (other,))
    yield NEVER_CAME, only_other, without_one
    _, untouched = in_turn(setting, ())
    yield NEVER_CAME, NEVER_CAME, untouched


def test_the_steps_are_all_operations_that_write() -> None:
    public = {name for name in dir(TenancyRepository) if not name.startswith(("_", *READS))}
    assert {step.operation for step in STEPS} == public


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_at_once_end_as_if_one_came_after_the_other(
    pair: Pair, races: Callable[[str], Races], in_turn: InTurn, race_engine: Engine
) -> None:
    one, other, meetings = pair
    setting = Setting.of(one, other)
    with race_engine.begin() as connection:
        scenes = setting.stage(connection, len(meetings))

    endings = [
        meeting(races, one.on(scene), other.on(scene))
        for meeting, scene in zip(meetings, scenes, strict=True)
    ]

    with race_engine.connect() as connection:
        surprising = [
            f"{meeting}: {verdicts}"
            for meeting, scene, verdicts in zip(meetings, scenes, endings, strict=True)
            if (*verdicts, setting.state(connection, scene))
            not in outcomes(one, other, setting, in_turn)
        ]
        org_ids = [org_id for scene in scenes for org_id in scene.org_ids]
        assert [*breaches(connection, org_ids), *surprising] == []
