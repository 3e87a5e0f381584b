"""What may come of two steps that meet: as if one had come after the other, in either order.

What each order leaves behind is found out by running the two one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine

from tests.support.invariants import breaches
from tests.support.scenes import Scene, State, stage
from tests.support.steps import Step

NEVER_CAME: Final = "never came"

Verdicts: TypeAlias = tuple[str, str]
Way = TypeVar("Way")


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

    def scene(self, engine: Engine) -> Scene:
        """Write one, and commit it."""
        with engine.begin() as connection:
            (scene,) = self.stage(connection, 1)
        return scene

    def state(self, connection: Connection, scene: Scene) -> State:
        """Return what is in the tables now."""
        state = scene.state(connection)
        if self.expiring:
            # It leaves what somebody has locked for the next time, when it is as overdue as now.
            return [tuple("expired" if v == "pending" else v for v in row) for row in state]
        return state


InTurn: TypeAlias = Callable[[Setting, tuple[Step, ...]], tuple[list[str], State]]


def surprises(
    one: Step,
    other: Step,
    ways: Sequence[Way],
    meet: Callable[[Way, Scene], Verdicts],
    *,
    in_turn: InTurn,
    engine: Engine,
) -> list[str]:
    """Let two steps meet in some ways, and return what did not end as it does in turn.

    Args:
        one: a step.
        other: another, or the same.
        ways: how they meet, each on a scene of its own.
        meet: lets them, and returns how each ended.
        in_turn: runs steps one after the other.
        engine: the database.

    Returns:
        What broke a rule, and each way that ended as none may.
    """
    setting = Setting.of(one, other)
    allowed = outcomes(one, other, setting, in_turn)
    with engine.begin() as connection:
        scenes = setting.stage(connection, len(ways))
    with engine.connect() as connection:
        surprising = [
            f"{way}: {verdicts}"
            for way, scene in zip(ways, scenes, strict=True)
            for verdicts in [meet(way, scene)]
            if (*verdicts, setting.state(connection, scene)) not in allowed
        ]
        org_ids = [org_id for scene in scenes for org_id in scene.org_ids]
        return [*map(str, breaches(connection, org_ids)), *surprising]


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
