"""What is promised while somebody leaves: by another organization to them, or by them to others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Final

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Policy, TenancyRepository
from tests.support.invariants import breaches
from tests.support.races import (
    DONE,
    LEVELS,
    READ_COMMITTED,
    SERIALIZABLE,
    SERIALIZATION_FAILURE,
    WAYS,
    Act,
    Races,
    acts,
)
from tests.support.scenes import Scene, stage
from tests.support.steps import BY_NAME

WITHDRAWS: Final = Policy(departure_withdraws_grants=True)
ACCEPT: Final = BY_NAME["accept_invitation by max"]
ACCEPT_TO_BOLT: Final = BY_NAME["accept_invitation to bolt by max"]
OFFBOARD: Final = BY_NAME["offboard_user max"]

# Each membership of theirs with the number of its tuples: its own, and three that are promised.
_HELD: Final = text(
    """
    SELECT (SELECT count(*) FROM mem WHERE usr_id = CAST(:usr AS uuid) AND status = 'active'
        AND org_id = CAST(:org AS uuid)) AS memberships,
        (SELECT count(*) FROM tup WHERE subject_id = CAST(:usr AS uuid) AND relation = 'editor'
        AND object_type IN ('doc', 'memo', 'plan')) AS promised,
        (SELECT count(*) FROM tup WHERE subject_id = CAST(:usr AS uuid) AND object_type = 'org'
        AND object_id = CAST(:org AS uuid)) AS own
    """
)


def leave(name: str, scene: Scene) -> Act:
    def act(session: Session) -> None:
        tenancy = TenancyRepository(session, policy=WITHDRAWS)
        membership = tenancy.require_role(scene[name], scene["max"])
        tenancy.self_leave(membership.id)

    return act


DEPARTURES: Final[dict[str, Callable[[Scene], Act]]] = {
    "leave": partial(leave, "bolt"),
    "offboard": OFFBOARD.on,
}


def held(connection: Connection, scene: Scene) -> tuple[int, int, int]:
    given = {"usr": scene.uuid("max"), "org": scene.uuid("acme")}
    memberships, promised, own = connection.execute(_HELD, given).one()
    return memberships, promised, own


@pytest.mark.parametrize("way", WAYS)
# On one snapshot of REPEATABLE READ nobody sees what the other promises; no rule depends on it.
@pytest.mark.parametrize("level", [READ_COMMITTED, SERIALIZABLE])
@pytest.mark.parametrize("departure", DEPARTURES)
def test_who_joins_where_the_same_is_promised_has_it_whatever_they_leave_meanwhile(
    departure: str, level: str, way: str, races: Callable[[str], Races]
) -> None:
    race = races(level)
    with race.engine.begin() as connection:
        scenes = stage(connection, 5)
    for scene in scenes:
        joined = ACCEPT_TO_BOLT.on(scene)
        assert races(READ_COMMITTED).alone(joined) == DONE
    leaves = [DEPARTURES[departure](scene) for scene in scenes]
    accepts = [ACCEPT.on(scene) for scene in scenes]
    endings = [
        race.against(*acts(way, accepts[0], leaves[0])),
        race.against(*acts(way, leaves[1], accepts[1])),
        race.behind(*acts(way, accepts[2], leaves[2])),
        race.behind(*acts(way, leaves[3], accepts[3])),
        race.clash(*acts(way, accepts[4], leaves[4])),
    ]
    failed = {SERIALIZATION_FAILURE} if level != READ_COMMITTED else set()
    assert {told for ending in endings for told in ending.verdicts} <= {DONE} | failed
    with race.engine.connect() as connection:
        found = [held(connection, scene) for scene in scenes]
    # All of them, or, where they have left everything after it, nothing at all.
    assert set(found) <= {(1, 3, 1), (0, 0, 0), (0, 3, 0)}, found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", LEVELS)
def test_what_two_have_promised_is_gone_once_both_are_left(
    level: str, way: str, races: Callable[[str], Races]
) -> None:
    race = races(level)
    with race.engine.begin() as connection:
        scenes = stage(connection, 5)
    for scene, joined in product(scenes, (ACCEPT_TO_BOLT, ACCEPT)):
        assert races(READ_COMMITTED).alone(joined.on(scene)) == DONE
    both = [[leave(name, scene) for name in ("acme", "bolt")] for scene in scenes]
    endings = [
        race.against(*acts(way, *both[0])),
        race.against(*acts(way, *reversed(both[1]))),
        race.behind(*acts(way, *both[2])),
        race.behind(*acts(way, *reversed(both[3]))),
        race.clash(*acts(way, *both[4])),
    ]
    may_fail = {SERIALIZATION_FAILURE} if level != READ_COMMITTED else set()
    for scene, ending in zip(scenes, endings, strict=True):
        left = ending.verdicts.count(DONE)
        assert left
        assert set(ending.verdicts) <= {DONE} | may_fail
        with race.engine.connect() as connection:
            assert held(connection, scene)[1] == (0 if left == 2 else 3)


@pytest.mark.parametrize("way", WAYS)
def test_who_is_made_a_member_while_they_leave_everywhere_is_one(
    way: str, races: Callable[[str], Races], scene: Scene
) -> None:
    race = races(READ_COMMITTED)
    assert race.alone(ACCEPT_TO_BOLT.on(scene)) == DONE
    join = BY_NAME["add_member max"].on(scene)

    def hold_bolt(session: Session) -> None:
        BY_NAME["update_org bolt"].on(scene)(session)
        # Whoever leaves waits by then, and has looked for the organizations that they leave.
        event.listen(session, "before_commit", lambda _: race.alone(join))

    ending = race.against(*acts(way, hold_bolt, OFFBOARD.on(scene)))
    assert ending.verdicts == (DONE, DONE)
    assert ending.waited
    with race.engine.connect() as connection:
        assert held(connection, scene) == (1, 0, 1)
        assert breaches(connection, scene.org_ids) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", LEVELS)
def test_an_offer_that_came_first_goes_with_whoever_made_it(
    level: str, way: str, races: Callable[[str], Races]
) -> None:
    # Whoever may offer whatever they are may have been demoted before, for all that anybody sees.
    policy = Policy(departure_revokes_offers=True, inviter_authority=True)
    race = races(level)
    offer, demote = (
        partial(BY_NAME[name].on, policy=policy)
        for name in ("create_invitation", "change_role ann")
    )
    with race.engine.begin() as connection:
        scenes = stage(connection, 2)
    one, other = (acts(way, offer(scene), demote(scene)) for scene in scenes)
    endings = [race.against(*one), race.behind(*other)]
    may_fail = {SERIALIZATION_FAILURE} if level != READ_COMMITTED else set()
    for scene, ending in zip(scenes, endings, strict=True):
        assert ending.first == DONE
        assert ending.second in {DONE} | may_fail
        with Session(race.engine) as session:
            open_ = TenancyRepository(session).list_invitations(scene["acme"], status="pending")
            assert ending.second != DONE or not open_.data
