"""Clients that know nothing of our locks race each other and ours: the schema holds them apart."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Role, TenancyRepository
from flametrench_tenancy_sqlalchemy._integrity import broken_rule
from tests.support.foreign_hands import INVITE
from tests.support.invariants import breaches
from tests.support.races import (
    DEADLINE,
    DONE,
    LEVELS,
    READ_COMMITTED,
    REPEATABLE_READ,
    SERIALIZABLE,
    SERIALIZATION_FAILURE,
    UNSERIALIZABLE,
    Act,
    Ending,
    Races,
    heard,
    refusals,
)
from tests.support.raw import grant, join, run, turn, withdraw
from tests.support.scenes import Scene, stage
from tests.support.steps import BY_NAME

SOLE_OWNER = "forbidden.sole_owner"
ORG_NOT_ACTIVE = "precondition.org_not_active"

FOREIGN = {
    "join": (join("max"), grant("max", "member")),
    "invite": (INVITE,),
    "grant": (grant("eve", "member"),),
    "return": (turn("sam@acme", "active"), grant("sam", "member")),
    **{
        f"{user} leaves": (turn(f"{user}@acme", "revoked"), withdraw(user))
        for user in ("ann", "bob")
    },
    **{
        f"{user} is demoted": (
            *(turn(f"{user}@acme", "revoked"), withdraw(user)),
            *(join(user, "guest", replaces=f"{user}@acme"), grant(user, "guest")),
        )
        for user in ("ann", "bob")
    },
}

# Who comes first, who comes meanwhile, and how it ends for the second.
RACES = [
    ("join", "revoke_org", DONE),
    ("invite", "revoke_org", DONE),
    ("return", "revoke_org", DONE),
    ("ann is demoted", "revoke_org", DONE),
    ("revoke_org", "join", ORG_NOT_ACTIVE),
    ("revoke_org", "invite", ORG_NOT_ACTIVE),
    ("ann leaves", "bob leaves", SOLE_OWNER),
    ("ann leaves", "bob is demoted", SOLE_OWNER),
    ("ann is demoted", "bob leaves", SOLE_OWNER),
    ("ann is demoted", "bob is demoted", SOLE_OWNER),
    ("ann leaves", "self_leave bob", SOLE_OWNER),
    ("self_leave ann", "bob leaves", SOLE_OWNER),
    ("change_role ann", "bob is demoted", SOLE_OWNER),
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("first, second, verdict", RACES)
def test_who_comes_second_waits_and_is_told(
    first: str,
    second: str,
    verdict: str,
    level: str,
    *,
    races: Callable[[str], Races],
    race_engine: Engine,
) -> None:
    with race_engine.begin() as connection:
        (scene,) = stage(connection)
    ending = races(level).against(act(first, scene), act(second, scene))
    allowed = {verdict} if verdict == DONE else refusals(verdict)
    assert ending.second in allowed | (set() if level == READ_COMMITTED else UNSERIALIZABLE)
    assert ending == Ending(DONE, ending.second, waited=True)
    with race_engine.connect() as connection:
        assert breaches(connection, scene.org_ids) == []


@pytest.mark.parametrize(
    "level, verdict",
    [
        (READ_COMMITTED, "precondition.membership_tuple"),
        (REPEATABLE_READ, SERIALIZATION_FAILURE),
        (SERIALIZABLE, SERIALIZATION_FAILURE),
    ],
)
def test_a_role_is_not_granted_on_the_word_of_an_old_snapshot(
    level: str, verdict: str, races: Callable[[str], Races], race_engine: Engine
) -> None:
    with race_engine.begin() as connection:
        (scene,) = stage(connection)
    ending = races(level).behind(act("self_leave eve", scene), act("grant", scene))
    assert ending.first == DONE
    assert ending.second in refusals(verdict)


def test_two_who_hand_their_roles_on_do_not_deadlock_at_commit(
    races: Callable[[str], Races], race_engine: Engine
) -> None:
    """Above READ COMMITTED they may: each looks at the other's row as well."""
    with race_engine.begin() as connection:
        (scene,) = stage(connection)
    unchecked = act("ann is demoted", scene, checked=False)
    ending = races(READ_COMMITTED).against(unchecked, act("bob is demoted", scene))
    assert ending == Ending(DONE, ending.second, waited=True)
    assert ending.second in refusals(SOLE_OWNER)


@pytest.mark.parametrize("relation", ["member", "admin"])
def test_a_tuple_that_somebody_is_deleting_is_waited_for_by_flush(
    relation: str, bare_races: Callable[[str], Races], bare_engine: Engine
) -> None:
    """The one that goes with the old role, and one that is there before the new role."""
    with bare_engine.begin() as connection:
        (scene,) = stage(connection)
        if relation == "admin":
            run(connection, scene, grant("eve", relation))

    def delete(session: Session) -> None:
        run(session.connection(), scene, f"{withdraw('eve')} AND relation = '{relation}'")

    promote = heard(BY_NAME["change_role eve"].on(scene))
    assert bare_races(READ_COMMITTED).against(delete, promote) == Ending(DONE, DONE, waited=True)
    with bare_engine.connect() as connection:
        assert breaches(connection, scene.org_ids) == []


@pytest.mark.parametrize("by_flush", [False, True])
@pytest.mark.parametrize(
    "index, twice, refusal",
    [
        (
            "mem_unique_active",
            lambda tenancy, scene: tenancy.add_member(scene["acme"], scene["max"], Role.GUEST),
            "conflict.duplicate_membership",
        ),
        (
            "org_slug_unique",
            lambda tenancy, scene: tenancy.create_org(scene["ann"], slug=scene["slug"]),
            "conflict.org_slug",
        ),
    ],
)
def test_a_duplicate_is_refused_while_its_index_is_being_rebuilt_under_another_name(
    index: str,
    twice: Callable[[TenancyRepository, Scene], object],
    refusal: str,
    by_flush: bool,
    *,
    races: Callable[[str], Races],
    race_engine: Engine,
    threads: ThreadPoolExecutor,
    scene: Scene,
) -> None:
    race = races(READ_COMMITTED)
    act = heard(lambda session: twice(TenancyRepository(session), scene), by_flush)
    assert race.alone(act) == DONE
    outside = race_engine.execution_options(isolation_level="AUTOCOMMIT")
    renamed = text("SELECT to_regclass(:name)").bindparams(name=f"{index}_ccold")
    with outside.connect() as operator, outside.connect() as observer, race_engine.connect() as one:
        # Whoever has used the old index may do so until the end of their transaction.
        one.execute(text("LOCK mem, org IN ACCESS SHARE MODE"))
        rebuild = threads.submit(operator.exec_driver_sql, f"REINDEX INDEX CONCURRENTLY {index}")
        while observer.scalar(renamed) is None:
            assert not rebuild.done()
        assert race.alone(act) == refusal
        assert observer.scalar(renamed) is not None
        one.rollback()
        rebuild.result(DEADLINE)


def act(name: str, scene: Scene, *, checked: bool = True) -> Act:
    """Return one of our steps, or what a foreign client does, checked as if it were committed."""
    if name in BY_NAME:
        return BY_NAME[name].on(scene)

    def foreign(session: Session) -> None:
        try:
            run(session.connection(), scene, *FOREIGN[name])
            if checked:
                session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        except DBAPIError as exc:
            raise broken_rule(exc) or exc from exc

    return foreign
