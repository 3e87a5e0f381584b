"""Every two operations that can get into each other's way, at once, at three isolation levels.

They must end as if one had come after the other, in either order. Above READ COMMITTED one may
also fail to serialize, and then it is as if it had never come. What each order leaves behind is
found out by running the two one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Engine

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.races import LEVELS, READ_COMMITTED, SERIALIZATION_FAILURE, Act, Races
from tests.support.scenes import Scene
from tests.support.serial import NEVER_CAME, InTurn, Verdicts, surprises
from tests.support.steps import STEPS, Step

REPEATS: Final = int(os.environ.get("TENANCY_RACE_REPEATS", "0"))
"""How often each two race in every way there is; else in one at each level, and at once."""

READS: Final = ("get_", "list_", "count_", "find_", "require_")


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


def test_the_steps_are_all_operations_that_write() -> None:
    public = {name for name in dir(TenancyRepository) if not name.startswith(("_", *READS))}
    assert {step.operation for step in STEPS} == public


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_at_once_end_as_if_one_came_after_the_other(
    pair: Pair, races: Callable[[str], Races], in_turn: InTurn, race_engine: Engine
) -> None:
    one, other, ways = pair

    def meet(way: Way, scene: Scene) -> Verdicts:
        return way(races, one.on(scene), other.on(scene))

    assert surprises(one, other, ways, meet, in_turn=in_turn, engine=race_engine) == []
