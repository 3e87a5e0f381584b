"""Every two operations that can get into each other's way, at once, at three isolation levels.

They must end as if one had come after the other, in either order. Above READ COMMITTED one may
also fail to serialize, and then it is as if it had never come. What each order leaves behind is
found out by running the two one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final, TypeAlias

import pytest
from sqlalchemy import Connection, Engine

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.invariants import breaches
from tests.support.races import LEVELS, READ_COMMITTED, SERIALIZATION_FAILURE, Act, Races
from tests.support.scenes import Scene, State, stage
from tests.support.steps import STEPS, Step

REPEATS: Final = int(os.environ.get("TENANCY_RACE_REPEATS", "1"))
"""How often each two race in each way."""

READS: Final = ("get_", "list_", "find_", "require_")
NEVER_CAME: Final = "never came"

PAIRS = [
    pytest.param(one, other, id=f"{one}-{other}")
    for one, other in combinations_with_replacement(STEPS, 2)
    if one.meets(other)
]

Verdicts: TypeAlias = tuple[str, str]
Outcome: TypeAlias = tuple[Verdicts, State]


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


WAYS = [
    *(Way(_at_once, level) for level in LEVELS),
    *(Way(_into_open_transaction, level, swapped) for level in LEVELS for swapped in (False, True)),
    Way(_into_abandoned_transaction, READ_COMMITTED),
]


def test_the_steps_are_all_operations_that_write() -> None:
    public = {name for name in dir(TenancyRepository) if not name.startswith(("_", *READS))}
    assert {step.operation for step in STEPS} == public


@pytest.mark.parametrize("one, other", PAIRS)
def test_two_at_once_end_as_if_one_came_after_the_other(
    one: Step, other: Step, races: Callable[[str], Races], race_engine: Engine
) -> None:
    ways = [way for way in WAYS if not (way.swapped and one is other)] * REPEATS
    pair = Pair(one, other)
    with race_engine.begin() as connection:
        *stages, nothing = pair.stage(connection, 5)
        scenes = pair.stage(connection, len(ways))
    with race_engine.connect() as connection:
        allowed = [
            *pair.orders(races(READ_COMMITTED), connection, stages),
            pair.outcome(connection, nothing, (NEVER_CAME, NEVER_CAME)),
        ]
        surprises = [
            f"{way}: {verdicts}"
            for way, scene in zip(ways, scenes, strict=True)
            for verdicts in [way(races, one.on(scene), other.on(scene))]
            if pair.outcome(connection, scene, verdicts) not in allowed
        ]
        org_ids = [org_id for scene in scenes for org_id in scene.org_ids]
        assert breaches(connection, org_ids) == []
    assert surprises == []


@dataclass(frozen=True)
class Pair:
    """Two steps that meet again and again, each time on a scene of its own."""

    one: Step
    other: Step

    def stage(self, connection: Connection, number: int) -> list[Scene]:
        """Write scenes on which both steps make sense."""
        return stage(
            connection,
            number,
            suspended="reinstate_org" in self._operations,
            sole_owner="self_leave ann for bob" in (self.one.name, self.other.name),
        )

    def orders(
        self, races: Races, connection: Connection, scenes: list[Scene]
    ) -> Iterator[Outcome]:
        """Run the two one after the other in either order, and each without the other."""
        ahead, behind, one_only, other_only = scenes
        one, other = self.one, self.other
        first, second = races.alone(one.on(ahead)), races.alone(other.on(ahead))
        yield self.outcome(connection, ahead, (first, second))
        second, first = races.alone(other.on(behind)), races.alone(one.on(behind))
        yield self.outcome(connection, behind, (first, second))
        yield self.outcome(connection, one_only, (races.alone(one.on(one_only)), NEVER_CAME))
        yield self.outcome(connection, other_only, (NEVER_CAME, races.alone(other.on(other_only))))

    def outcome(self, connection: Connection, scene: Scene, verdicts: Verdicts) -> Outcome:
        """Return how the two ended and what is in the tables now."""
        state = scene.state(connection)
        if "expire_invitations" in self._operations:
            # It leaves what somebody has locked for the next time, when it is as overdue as now.
            state = [tuple("expired" if v == "pending" else v for v in row) for row in state]
        return verdicts, state

    @property
    def _operations(self) -> set[str]:
        return {self.one.operation, self.other.operation}
