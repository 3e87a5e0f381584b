"""What acting users are refused is recorded apart, and in no other organization's log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    ForbiddenError,
    NotFoundError,
    Policy,
    Role,
    RoleHierarchyError,
    TenancyError,
    TenancyRepository,
    TenancyStore,
    new_id,
)
from flametrench_tenancy_sqlalchemy.repository import ActingTenancy
from tests.support.log import events_since, mark
from tests.support.scenes import Scene, stage


@pytest.fixture
def scene(clean_engine: Engine) -> Scene:
    with clean_engine.begin() as connection:
        (scene,) = stage(connection)
    return scene


@pytest.fixture
def tenancy(clean_engine: Engine) -> Iterator[TenancyRepository]:
    """The repository, in a transaction that is rolled back."""
    policy = Policy(denials=sessionmaker(clean_engine))
    with Session(clean_engine) as session:
        yield TenancyRepository(session, policy=policy)


def denied_since(engine: Engine, position: int) -> list[Any]:
    with engine.connect() as connection:
        return [e for e in events_since(connection, position) if e.outcome == "denied"]


def position_in(engine: Engine) -> int:
    with engine.connect() as connection:
        return mark(connection)


Attempt = Callable[[ActingTenancy, Scene], object]
Refused = tuple[str, Attempt, str, str | None, type[TenancyError]]
# Who tries what, on what, in whose log it is told, and what they get.
REFUSED: Final[list[Refused]] = [
    ("eve", lambda t, s: t.update_org(s["acme"], name="X"), "acme", "acme", ForbiddenError),
    ("max", lambda t, s: t.update_org(s["acme"], name="X"), "acme", None, NotFoundError),
    ("sam", lambda t, s: t.update_org(s["acme"], name="X"), "acme", None, NotFoundError),
    ("sam", lambda t, s: t.list_members(s["acme"]), "acme", None, NotFoundError),
    ("eve", lambda t, s: t.list_invitations(s["acme"]), "acme", "acme", ForbiddenError),
    ("max", lambda t, s: t.get_org(s["acme"]), "acme", None, NotFoundError),
    (
        *("cyd", lambda t, s: t.change_role(s["bob@acme"], Role.MEMBER)),
        *("bob@acme", "acme", ForbiddenError),
    ),
    ("cyd", lambda t, s: t.admin_remove(s["bob@acme"]), "bob@acme", "acme", RoleHierarchyError),
    ("max", lambda t, s: t.accept_invitation(s["first@acme"]), "first@acme", None, NotFoundError),
    ("eve", lambda t, s: t.require_role(s["acme"], Role.OWNER), "acme", "acme", ForbiddenError),
    ("max", lambda t, s: t.require_role(s["acme"]), "acme", None, ForbiddenError),
    ("ann", lambda t, s: t.list_orgs(), "ann", None, ForbiddenError),
    ("ann", lambda t, s: t.offboard_user(s["bob"]), "bob", None, ForbiddenError),
]


@pytest.mark.parametrize("refused", REFUSED, ids=range(len(REFUSED)))
def test_a_refusal_outlives_the_transaction_that_it_happened_in(
    refused: Refused, tenancy: TenancyRepository, clean_engine: Engine, scene: Scene
) -> None:
    user, attempt, target, org, error = refused
    position = position_in(clean_engine)
    acting = tenancy.acting_as(
        scene[user],
        identifier="somebody@example.com",
        auth={"kind": "pat", "pat_id": "pat_1"},
        context={"ip": "192.0.2.1"},
    )
    with pytest.raises(error):
        attempt(acting, scene)
    tenancy.session.rollback()
    (event,) = denied_since(clean_engine, position)
    assert event.target_id == scene[target]
    assert event.scope_id == (org and scene[org])
    assert event.actor_usr_id.hex == scene.uuid(user)
    assert (event.auth["pat_id"], event.context) == ("pat_1", {"ip": "192.0.2.1"})
    assert event.action == f"tenancy.{event.operation}"
    assert event.metadata["reason"] == error.code


def test_a_set_tells_of_each_row_once_it_has_let_go(
    tenancy: TenancyRepository, clean_engine: Engine, scene: Scene
) -> None:
    position = position_in(clean_engine)
    cyd = tenancy.acting_as(scene["cyd"])
    outcomes = cyd.change_roles(
        {scene[name]: Role.GUEST for name in ("ann@acme", "eve@acme", "ann@bolt")}
    )
    assert sum(outcome.error is None for outcome in outcomes) == 1
    told = {(e.target_id, e.scope_id) for e in denied_since(clean_engine, position)}
    assert told == {(scene["ann@acme"], scene["acme"]), (scene["ann@bolt"], None)}


def test_what_is_permitted_or_not_there_or_the_systems_is_no_refusal(
    tenancy: TenancyRepository, clean_engine: Engine, scene: Scene
) -> None:
    position = position_in(clean_engine)
    tenancy.acting_as(scene["ann"]).get_org(scene["acme"])
    with pytest.raises(NotFoundError):
        tenancy.acting_as(scene["ann"]).get_membership(new_id("mem"))
    with pytest.raises(ForbiddenError):
        tenancy.admin_remove(scene["dan@acme"], scene["eve"])
    tenancy.session.rollback()
    assert denied_since(clean_engine, position) == []


def test_the_standalone_form_tells_too_and_without_the_policy_nobody_does(
    clean_engine: Engine, scene: Scene
) -> None:
    factory = sessionmaker(clean_engine)
    for policy, told in ((Policy(denials=factory), 1), (Policy(), 0)):
        position = position_in(clean_engine)
        eve = TenancyStore(factory, policy=policy).acting_as(scene["eve"])
        with pytest.raises(ForbiddenError):
            eve.suspend_org(scene["acme"])
        assert len(denied_since(clean_engine, position)) == told
