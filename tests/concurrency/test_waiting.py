"""Who waits for whom: joins not for each other, and the application's own rows for nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Base,
    Membership,
    Organization,
    OrgSlugConflictError,
    Role,
    TenancyRepository,
    new_id,
)
from tests.support.races import (
    DONE,
    LEVELS,
    READ_COMMITTED,
    REPEATABLE_READ,
    SERIALIZABLE,
    SERIALIZATION_FAILURE,
    WAYS,
    Act,
    Ending,
    Races,
    acts,
    heard,
)
from tests.support.raw import join, run
from tests.support.scenes import Scene, write
from tests.support.steps import BY_NAME, STEPS, Step

JOINS = [
    BY_NAME["add_member liz"],
    BY_NAME["create_invitation"],
    BY_NAME["accept_invitation by a new user"],
]
OTHER_JOINS = [
    BY_NAME["add_member max"],
    BY_NAME["create_invitation"],
    Step("accept_invitation second", lambda t, s: t.accept_invitation(s["second@acme"])),
]

joining = pytest.mark.parametrize("join", JOINS, ids=str)
also_joining = pytest.mark.parametrize("other", OTHER_JOINS, ids=str)
each_way = pytest.mark.parametrize("way", WAYS)
by_flush_too = pytest.mark.parametrize("by_flush", [False, True])


@joining
@also_joining
@each_way
def test_joins_to_one_organization_do_not_wait_for_each_other(
    join: Step, other: Step, way: str, races: Callable[[str], Races], scene: Scene
) -> None:
    ending = races(READ_COMMITTED).against(*acts(way, join.on(scene), other.on(scene)))
    assert ending == Ending(DONE, DONE, waited=False)


@joining
@also_joining
def test_nor_do_they_wait_where_the_database_may_find_that_they_cannot_be_put_in_order(
    join: Step, other: Step, races: Callable[[str], Races], scene: Scene
) -> None:
    ending = races(SERIALIZABLE).against(join.on(scene), other.on(scene))
    assert not ending.waited
    assert DONE in ending.verdicts
    assert {*ending.verdicts} <= {DONE, SERIALIZATION_FAILURE}


@joining
@also_joining
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "rollback"])
def test_joins_on_one_snapshot_fail_after_each_other_lest_a_revocation_overlooks_one(
    join: Step, other: Step, races: Callable[[str], Races], scene: Scene, commit: bool
) -> None:
    ending = races(REPEATABLE_READ).against(join.on(scene), other.on(scene), commit=commit)
    assert ending == Ending(DONE, SERIALIZATION_FAILURE if commit else DONE, waited=True)


@joining
@each_way
@pytest.mark.parametrize("transition", ["suspend_org", "revoke_org"])
def test_an_organization_changes_when_those_who_are_joining_are_through(
    join: Step, transition: str, way: str, races: Callable[[str], Races], scene: Scene
) -> None:
    both = acts(way, join.on(scene), BY_NAME[transition].on(scene))
    ending = races(READ_COMMITTED).against(*both)
    assert ending == Ending(DONE, DONE, waited=True)


@each_way
def test_an_organization_that_ends_waits_for_invitations_that_are_expiring(
    way: str, races: Callable[[str], Races], scene: Scene
) -> None:
    """Who lets them expire does not lock their organization."""
    both = acts(way, BY_NAME["expire_invitations"].on(scene), BY_NAME["revoke_org"].on(scene))
    assert races(READ_COMMITTED).against(*both) == Ending(DONE, DONE, waited=True)


@by_flush_too
@pytest.mark.parametrize("level", [REPEATABLE_READ, SERIALIZABLE])
def test_a_suspension_that_a_snapshot_does_not_show_makes_an_acceptance_fail(
    level: str, by_flush: bool, races: Callable[[str], Races], scene: Scene
) -> None:
    accept = heard(BY_NAME["accept_invitation by max"].on(scene), by_flush)
    ending = races(level).behind(come_and_be_suspended(scene), accept)
    assert ending == Ending(DONE, SERIALIZATION_FAILURE)


@each_way
def test_tuples_in_common_are_written_in_one_order(
    way: str, races: Callable[[str], Races], scene: Scene
) -> None:
    """Each would hold what the other waits for, if each took its invitation's order."""

    def hold_the_middle_one(session: Session) -> None:
        middle = {"relation": "editor", "object_type": "memo", "object_id": scene.uuid("memo")}
        tup = insert(Base.metadata.tables["tup"])
        session.execute(
            tup, {"id": new_id("tup"), "subject_type": "usr", "subject_id": scene["max"], **middle}
        )

    both = [BY_NAME[f"accept_invitation {which}by max"].on(scene) for which in ("", "to bolt ")]
    ended = races(READ_COMMITTED).pile_up(hold_the_middle_one, *acts(way, *both))
    assert ended == [DONE, DONE]


def test_sets_of_members_are_written_in_one_order(
    races: Callable[[str], Races], scene: Scene
) -> None:
    """Each would hold what the other waits for, if each took its caller's order."""
    sets = BY_NAME["add_members max, liz, sam"], BY_NAME["add_members sam, liz, max or none"]
    both = [each.on(scene) for each in sets]

    def hold_the_middle_one(session: Session) -> None:
        run(session.connection(), scene, join("liz"))

    ended = races(READ_COMMITTED).pile_up(hold_the_middle_one, *both)
    assert ended[0] == DONE
    assert ended[1] in (DONE, "conflict.duplicate_membership")


def test_memberships_of_two_organizations_are_locked_in_one_order(
    races: Callable[[str], Races], race_engine: Engine
) -> None:
    """Each would hold what the other waits for, if each took the order of its query's plan."""
    scene = a_scene_of_two_orders(race_engine)
    mem_ids = [scene["ann@acme"], scene["ann@bolt"]]

    def hold_both(session: Session) -> None:
        session.scalars(select(Membership).where(Membership.id.in_(mem_ids)).with_for_update())

    def mix_up(*plan: str) -> Act:
        def act(session: Session) -> None:
            for kind in ("hashjoin", "mergejoin", "bitmapscan", *plan):
                session.execute(text(f"SET LOCAL enable_{kind} = off"))
            TenancyRepository(session).transfer_ownership(scene["acme"], *mem_ids)

        return act

    both = mix_up("indexscan", "indexonlyscan"), mix_up("seqscan")
    endings = races(READ_COMMITTED).pile_up(hold_both, *both)
    assert endings == ["precondition.org_mismatch"] * 2


def come_and_be_suspended(scene: Scene) -> Act:
    """Return the act by which somebody who is invited joins otherwise, and is suspended."""

    def act(session: Session) -> None:
        tenancy = TenancyRepository(session)
        membership = tenancy.add_member(scene["acme"], scene["max"], Role.GUEST)
        tenancy.suspend_membership(membership.id)

    return act


def a_scene_of_two_orders(engine: Engine) -> Scene:
    """Return a scene whose rows of acme come first in the tables and last by their ids."""
    scenes = iter(Scene.new, None)
    scene = next(s for s in scenes if s["bolt"] < s["acme"] and s["ann@bolt"] < s["ann@acme"])
    with engine.begin() as connection:
        write(connection, [scene])
    return scene


@by_flush_too
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_no_operation_keeps_the_applications_own_rows_waiting(
    step: Step,
    by_flush: bool,
    races: Callable[[str], Races],
    scene: Scene,
    application_table: None,
) -> None:
    ending = races(READ_COMMITTED).against(heard(step.on(scene), by_flush), _application_row(scene))
    assert ending.second == DONE
    assert not ending.waited


@pytest.fixture(scope="session")
def application_table(race_engine: Engine) -> None:
    """A table of the application's own, with a foreign key to each of ours."""
    with race_engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE application (org_id uuid REFERENCES org, mem_id uuid REFERENCES mem, "
            "inv_id uuid REFERENCES inv, usr_id uuid REFERENCES usr)"
        )


def _application_row(scene: Scene) -> Act:
    """Return the writing of rows that refer to everything that an operation may have locked."""
    rows = [
        {"org": scene.uuid("acme"), "mem": scene.uuid(mem), "inv": scene.uuid(inv), "usr": usr}
        for mem in ("ann@acme", "bob@acme", "cyd@acme", "dan@acme", "eve@acme", "sam@acme")
        for inv in ("first@acme", "second@acme")
        for usr in (scene.uuid(mem[:3]), scene.uuid("max"))
    ]
    statement = text("INSERT INTO application VALUES (:org, :mem, :inv, :usr)")

    def write(session: Session) -> None:
        session.execute(statement, rows)

    return write


@by_flush_too
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name, holder", [("acme", "bolt"), ("bolt", "acme")])
@pytest.mark.parametrize("held_up_by", ["a new slug", "a suspension", "somebody who joins"])
def test_who_asks_for_a_slug_that_is_held_waits_for_nobody(
    name: str,
    holder: str,
    level: str,
    by_flush: bool,
    *,
    held_up_by: str,
    races: Callable[[str], Races],
    scene: Scene,
) -> None:
    """Or two that ask for each other's would wait for each other."""
    race = races(level)
    assert race.alone(lambda session: give_slug(session, scene, holder, scene["slug"])) == DONE
    acts: dict[str, Act] = {
        "a new slug": lambda session: give_slug(session, scene, holder, f"{scene['slug']}-2"),
        "a suspension": lambda session: suspend(session, scene, holder),
        "somebody who joins": lambda session: lock_to_join(session, scene, holder),
    }

    ending = race.against(
        heard(acts[held_up_by], by_flush),
        heard(lambda session: give_slug(session, scene, name, scene["slug"]), by_flush),
    )

    assert ending == Ending(DONE, "conflict.org_slug", waited=False)


@by_flush_too
@pytest.mark.parametrize(
    "ask",
    [
        lambda tenancy, scene: tenancy.update_org(scene["acme"], slug=scene["slug"]),
        lambda tenancy, scene: tenancy.create_org(scene["ann"], slug=scene["slug"]),
    ],
    ids=["update_org", "create_org"],
)
def test_nor_does_its_holder_wait_for_who_has_asked(
    ask: Callable[[TenancyRepository, Scene], object],
    by_flush: bool,
    races: Callable[[str], Races],
    scene: Scene,
) -> None:
    race = races(READ_COMMITTED)
    held = race.alone(lambda session: give_slug(session, scene, "bolt", scene["slug"]))
    assert held == DONE

    def ask_in_vain(session: Session) -> None:
        with pytest.raises(OrgSlugConflictError):
            ask(TenancyRepository(session), scene)

    ending = race.against(
        heard(ask_in_vain, by_flush),
        heard(lambda session: suspend(session, scene, "bolt"), by_flush),
    )

    assert ending == Ending(DONE, DONE, waited=False)


def give_slug(session: Session, scene: Scene, name: str, slug: str) -> None:
    """Give an organization a slug."""
    TenancyRepository(session).update_org(scene[name], slug=slug)


def suspend(session: Session, scene: Scene, name: str) -> None:
    """Suspend an organization."""
    TenancyRepository(session).suspend_org(scene[name])


def lock_to_join(session: Session, scene: Scene, name: str) -> None:
    """Lock an organization as those do who join it."""
    org = select(Organization).where(Organization.id == scene[name])
    session.execute(org.with_for_update(read=True)).all()
