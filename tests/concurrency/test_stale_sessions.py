"""A Session that holds rows as they were before others changed them still decides by what is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Role, TenancyRepository
from tests.support.races import DONE, READ_COMMITTED, Ending, Races, heard
from tests.support.rows import committed_rows, untruths_of
from tests.support.scenes import Scene
from tests.support.steps import BY_NAME, Step


def suspend(name: str) -> Step:
    """Return the step that suspends a member of acme."""
    return Step(f"suspend_membership {name}", lambda t, s: t.suspend_membership(s[f"{name}@acme"]))


def reinstate(name: str) -> Step:
    """Return the step that brings them back."""
    return Step(
        f"reinstate_membership {name}", lambda t, s: t.reinstate_membership(s[f"{name}@acme"])
    )


@pytest.mark.parametrize("by_flush", [False, True])
@pytest.mark.parametrize(
    "back, step, verdict",
    [
        ("bob", "self_leave ann", DONE),
        ("cyd", "admin_remove eve by cyd", DONE),
        ("cyd", "revoke_invitation by cyd", DONE),
        ("sam", "accept_invitation by sam", "conflict.duplicate_membership"),
    ],
)
def test_who_was_suspended_when_the_session_saw_them_and_is_back_counts(
    back: str,
    step: str,
    verdict: str,
    by_flush: bool,
    *,
    races: Callable[[str], Races],
    scene: Scene,
) -> None:
    race = races(READ_COMMITTED)
    if back != "sam":
        assert race.alone(suspend(back).on(scene)) == DONE
    late = heard(BY_NAME[step].on(scene), by_flush)
    ending = race.behind(reinstate(back).on(scene), late, seen=scene.entities)
    assert ending == Ending(DONE, verdict)


@pytest.mark.parametrize("by_flush", [False, True])
def test_who_revokes_an_organization_learns_what_others_had_ended_before(
    by_flush: bool, race_engine: Engine, scene: Scene
) -> None:
    with Session(race_engine, expire_on_commit=False) as late:
        seen = scene.entities(late)
        late.commit()
        with Session(race_engine) as early, early.begin():
            tenancy = TenancyRepository(early)
            tenancy.admin_remove(scene["eve@acme"], scene["cyd"])
            tenancy.change_role(scene["bob@acme"], Role.GUEST)
            tenancy.decline_invitation(scene["first@acme"])
            tenancy.accept_invitation(scene["second@acme"])

        heard(BY_NAME["revoke_org"].on(scene), by_flush)(late)
        late.commit()

        truth = committed_rows(race_engine)
        assert [lie for entity in seen for lie in untruths_of(entity, truth)] == []
