"""The races that everybody thinks of first: with the schema's rules, and without their help."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import permutations
from typing import Final

import pytest
from sqlalchemy import Engine

from tests.support.invariants import breaches
from tests.support.named_races import OWNERS, RACES, Race
from tests.support.races import (
    DONE,
    LEVELS,
    READ_COMMITTED,
    REPEATABLE_READ,
    SERIALIZATION_FAILURE,
    Races,
)
from tests.support.scenes import stage
from tests.support.steps import BY_NAME

REPEATS: Final = 3 * int(os.environ.get("TENANCY_RACE_REPEATS", "1"))
"""How often each two meet at the barrier."""

every_level = pytest.mark.parametrize("level", LEVELS)
every_race = pytest.mark.parametrize("race", RACES, ids=str)
owners = pytest.mark.parametrize("race", OWNERS, ids=str)


@every_level
@every_race
def test_the_first_wins_and_the_other_is_told_why(
    race: Race, level: str, races: Callable[[str], Races]
) -> None:
    run(race, races(level))


@every_race
def test_it_takes_no_rules_of_the_schema(race: Race, bare_races: Callable[[str], Races]) -> None:
    run(race, bare_races(READ_COMMITTED))


@every_level
@owners
def test_it_takes_no_rules_of_the_schema_to_keep_an_owner(
    race: Race, level: str, bare_races: Callable[[str], Races]
) -> None:
    run(race, bare_races(level))


@owners
@pytest.mark.parametrize("early, late", [*permutations(LEVELS, 2)])
def test_an_owner_remains_where_callers_choose_different_levels(
    race: Race, early: str, late: str, races: Callable[[str], Races], race_engine: Engine
) -> None:
    with race_engine.begin() as connection:
        (scene,) = stage(connection)
    one, other = BY_NAME[race.one].on(scene), BY_NAME[race.other].on(scene)
    ending = races(late).behind(one, other, ahead=races(early))
    assert ending.verdicts in failed_above(late, (DONE, race.other_late))
    with race_engine.connect() as connection:
        assert breaches(connection, scene.org_ids) == []


def run(race: Race, races: Races) -> None:
    """Let two steps meet in every way."""
    one, other = BY_NAME[race.one], BY_NAME[race.other]
    with races.engine.begin() as connection:
        scenes = stage(connection, REPEATS + 4)
    left = iter(scenes)
    before = failed_above(races.level, (DONE, race.other_late))
    after = failed_above(races.level, (race.one_late, DONE))

    scene = next(left)
    assert races.against(one.on(scene), other.on(scene)).verdicts in before
    scene = next(left)
    assert races.against(other.on(scene), one.on(scene)).verdicts[::-1] in after
    scene = next(left)
    ending = races.behind(one.on(scene), other.on(scene), seen=scene.entities)
    assert ending.verdicts in before
    scene = next(left)
    ending = races.behind(other.on(scene), one.on(scene), seen=scene.entities)
    assert ending.verdicts[::-1] in after
    at_once = before | after
    if races.level == REPEATABLE_READ:
        # Two who join on snapshots of the same time both give way, rather than deadlock.
        at_once |= {(SERIALIZATION_FAILURE, SERIALIZATION_FAILURE)}
    for scene in left:
        assert races.clash(one.on(scene), other.on(scene)).verdicts in at_once

    org_ids = [org_id for scene in scenes for org_id in scene.org_ids]
    with races.engine.connect() as connection:
        assert breaches(connection, org_ids) == []


def failed_above(level: str, ending: tuple[str, str]) -> set[tuple[str, str]]:
    """Return an ending, and those in its place where one of the two may fail to serialize."""
    if level == READ_COMMITTED:
        return {ending}
    return {ending, (DONE, SERIALIZATION_FAILURE), (SERIALIZATION_FAILURE, DONE)}
