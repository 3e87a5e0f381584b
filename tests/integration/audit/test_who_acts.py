"""Who acted, by what sign-in and in what circumstances: told for an operation, and for no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    PreconditionError,
    Reason,
    Role,
    TenancyRepository,
    TenancyStore,
    audit_context,
)
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyRepository
from tests.support.counting import sent
from tests.support.log import events_since, mark
from tests.support.raw import run, turn, withdraw
from tests.support.scenes import Scene, stage

SESSION: Final = {"kind": "session", "session_id": "ses_1"}
TOKEN: Final = {"kind": "pat", "pat_id": "pat_1"}
CRON: Final = {"kind": "system", "system_id": "nightly"}
AGENT: Final = {"agent_id": "assistant-7"}


@pytest.fixture
def scene(logged: Connection) -> Scene:
    (scene,) = stage(logged)
    return scene


@pytest.fixture
def position(logged: Connection, scene: Scene) -> int:
    return mark(logged)


@pytest.fixture(params=["by statement", "by flush"])
def tenancy(request: pytest.FixtureRequest, session: Session) -> TenancyRepository:
    """The repository, on a Session that writes in one way or the other."""
    if request.param == "by flush":
        event.listen(session, "before_flush", lambda *_: None)
    return TenancyRepository(session)


def who(connection: Connection, position: int, scene: Scene) -> list[tuple[Any, ...]]:
    """Return who has acted since, by their names in the scene, and with what operation."""
    names = {UUID(scene.uuid(name)): name for name in ("ann", "bob", "cyd", "dan", "max")}
    return [
        (names.get(e.actor_usr_id), e.auth, e.on_behalf, e.context, e.operation)
        for e in events_since(connection, position)
    ]


def test_each_operation_tells_its_own_and_nothing_is_left_for_what_follows(
    tenancy: TenancyRepository, logged: Connection, scene: Scene, position: int
) -> None:
    ann = tenancy.acting_as(scene["ann"], auth=SESSION, context={"ip": "192.0.2.1"})
    bob = tenancy.acting_as(scene["bob"], auth=TOKEN, on_behalf=AGENT)
    ann.suspend_membership(scene["eve@acme"])
    run(logged, scene, turn("dan@acme", "suspended"), withdraw("dan"))
    bob.reinstate_membership(scene["eve@acme"])
    tenancy.change_role(scene["cyd@acme"], Role.MEMBER)
    with audit_context(auth=CRON, context={"request_id": "r-1"}):
        tenancy.reinstate_membership(scene["sam@acme"])
        ann.suspend_membership(scene["sam@acme"])
    assert who(logged, position, scene) == [
        ("ann", SESSION, None, {"ip": "192.0.2.1"}, "suspend_membership"),
        (None, None, None, None, None),
        ("bob", TOKEN, AGENT, None, "reinstate_membership"),
        (None, None, None, None, "change_role"),
        (None, CRON, None, {"request_id": "r-1"}, "reinstate_membership"),
        (
            *("ann", SESSION, None),
            *({"ip": "192.0.2.1", "request_id": "r-1"}, "suspend_membership"),
        ),
    ]


def test_what_a_refused_operation_has_told_is_gone(
    tenancy: TenancyRepository, logged: Connection, scene: Scene, position: int
) -> None:
    ann = tenancy.acting_as(scene["ann"], auth=SESSION)
    with tenancy.session.begin_nested() as savepoint:
        ann.suspend_membership(scene["eve@acme"])
        savepoint.rollback()
    with pytest.raises(PreconditionError):
        ann.reinstate_membership(scene["eve@acme"])
    run(logged, scene, turn("dan@acme", "suspended"), withdraw("dan"))
    assert who(logged, position, scene) == [(None, None, None, None, None)]


def test_without_them_whoever_the_row_names_has_acted(
    tenancy: TenancyRepository, logged: Connection, scene: Scene, position: int
) -> None:
    tenancy.add_member(scene["acme"], scene["max"], "guest", invited_by=scene["cyd"])
    tenancy.admin_remove(scene["eve@acme"], scene["bob"])
    tenancy.revoke_invitation(scene["first@acme"], scene["dan"])
    tenancy.change_role(scene["dan@acme"], Role.GUEST)
    tenancy.self_leave(scene["cyd@acme"])
    names = [actor for actor, *_ in who(logged, position, scene)]
    assert names == ["cyd", "bob", "dan", None, None]


def test_other_clients_tell_it_for_a_transaction_by_hand(
    tenancy: TenancyRepository, logged: Connection, scene: Scene, position: int
) -> None:
    told = {
        "actor": scene["cyd"],
        "auth": '{"kind": "pat", "pat_id": "pat_1"}',
        "context": '{"ip": "192.0.2.7"}',
        "operation": "import",
    }
    for name, value in told.items():
        logged.execute(
            text("SELECT set_config(:name, :value, true)"),
            {"name": f"tenancy.{name}", "value": value},
        )
    run(logged, scene, turn("eve@acme", "suspended"), withdraw("eve"))
    tenancy.acting_as(scene["ann"]).reinstate_membership(scene["eve@acme"])
    tenancy.suspend_membership(scene["eve@acme"])
    ip = {"ip": "192.0.2.7"}
    assert who(logged, position, scene) == [
        ("cyd", TOKEN, None, ip, "import"),
        ("ann", None, None, ip, "reinstate_membership"),
        ("cyd", TOKEN, None, ip, "suspend_membership"),
    ]


def test_the_actor_is_the_one_of_the_moment_not_of_the_commit(
    logged: Connection, scene: Scene, position: int
) -> None:
    set_actor = text("SELECT set_config('tenancy.actor', :actor, true)")
    for actor, user in (("ann", "eve"), ("bob", "dan")):
        logged.execute(set_actor, {"actor": scene[actor]})
        run(logged, scene, turn(f"{user}@acme", "revoked"), withdraw(user))
    logged.execute(set_actor, {"actor": ""})
    run(logged, scene, "SET CONSTRAINTS ALL IMMEDIATE")
    assert [actor for actor, *_ in who(logged, position, scene)] == ["ann", "bob"]


@pytest.mark.parametrize("form", ["usr_{0.hex}", "{0.hex}", "{0}"])
def test_a_transaction_names_its_actor_by_any_form_of_the_id(
    form: str, logged: Connection, scene: Scene, position: int
) -> None:
    name_actor(logged, form, scene)
    run(logged, scene, turn("eve@acme", "suspended"), withdraw("eve"))
    assert [actor for actor, *_ in who(logged, position, scene)] == ["cyd"]


@pytest.mark.parametrize("form", ["org_{0.hex}", "usr_usr_{0.hex}", "usr_{0.hex}0", "cyd"])
def test_what_names_no_user_does_not_act(form: str, logged: Connection, scene: Scene) -> None:
    name_actor(logged, form, scene)
    with pytest.raises(DataError, match="type uuid"):
        run(logged, scene, turn("eve@acme", "suspended"))


def name_actor(connection: Connection, form: str, scene: Scene) -> None:
    """Say for the rest of the transaction that ``cyd`` acts, in a form of their id."""
    name = text("SELECT set_config('tenancy.actor', :actor, true)")
    connection.execute(name, {"actor": form.format(UUID(scene["cyd"][4:]))})


def test_each_form_tells_it(clean_engine: Engine) -> None:
    def recorded(act: Callable[[Scene], object]) -> list[tuple[Any, ...]]:
        with clean_engine.begin() as connection:
            (scene,) = stage(connection)
        with clean_engine.connect() as connection:
            position = mark(connection)
            act(scene)
            return who(connection, position, scene)

    async def awaited(scene: Scene) -> None:
        engine = create_async_engine(clean_engine.url.set(drivername="postgresql+asyncpg"))
        async with AsyncSession(engine) as session, session.begin():
            acting = AsyncTenancyRepository(session).acting_as(scene["ann"], auth=SESSION)
            await acting.suspend_membership(scene["eve@acme"])
        await engine.dispose()

    store = TenancyStore(sessionmaker(clean_engine))
    expected = [("ann", SESSION, None, None, "suspend_membership")]

    def alone(scene: Scene) -> None:
        store.acting_as(scene["ann"], auth=SESSION).suspend_membership(scene["eve@acme"])

    assert expected == recorded(alone)
    assert expected == recorded(lambda s: asyncio.run(awaited(s)))


def test_it_costs_no_statement_where_one_is_sent_anyway(session: Session, scene: Scene) -> None:
    tenancy = TenancyRepository(session)
    acting = tenancy.acting_as(scene["ann"], auth=SESSION, context={"ip": "192.0.2.1"})
    with sent(session) as by_statement:
        acting.suspend_membership(scene["eve@acme"])
    (telling,) = (each for each in by_statement if "set_config" in each)
    assert "UPDATE mem" in telling
    event.listen(session, "before_flush", lambda *_: None)
    with sent(session) as by_flush:
        acting.reinstate_membership(scene["eve@acme"])
    assert sum("set_config" in each for each in by_flush) == 2  # told, and taken back


def test_who_has_no_log_is_asked_once_for_a_connection(engine: Engine) -> None:
    with Session(engine) as session:
        event.listen(session, "before_flush", lambda *_: None)
        (scene,) = stage(session.connection())
        acting = TenancyRepository(session).acting_as(scene["ann"])
        session.connection().info.pop("flametrench_tenancy.no_log", None)
        with sent(session) as statements:
            acting.suspend_membership(scene["eve@acme"])
            acting.reinstate_membership(scene["eve@acme"])
        assert sum("set_config" in each for each in statements) == 1
        session.rollback()


@pytest.mark.parametrize(
    "argument, value, reason",
    [
        ("auth", {"kind": "password"}, Reason.AUTH_FORMAT),
        ("auth", {"kind": "pat", "session_id": "ses_1"}, Reason.AUTH_FORMAT),
        ("auth", SESSION | {"pat_id": "pat_1"}, Reason.AUTH_FORMAT),
        ("auth", {"kind": "pat", "pat_id": 1}, Reason.AUTH_FORMAT),
        ("auth", CRON, Reason.AUTH_FORMAT),
        ("auth", "session", Reason.AUTH_FORMAT),
        ("on_behalf", {}, Reason.ON_BEHALF_FORMAT),
        ("on_behalf", AGENT | {"mcp": True}, Reason.ON_BEHALF_FORMAT),
        ("context", {"email": "ann@example.com"}, Reason.CONTEXT_FORMAT),
        ("context", {"ip": 1}, Reason.CONTEXT_FORMAT),
        ("context", {"ip": "\x00"}, Reason.CONTEXT_FORMAT),
        ("context", {"user_agent": "\ud800"}, Reason.CONTEXT_FORMAT),
    ],
)
def test_what_is_malformed_is_refused_before_anything_is_asked(
    argument: str, value: Any, reason: Reason, session: Session, scene: Scene
) -> None:
    with pytest.raises(PreconditionError) as caught:
        TenancyRepository(session).acting_as(scene["ann"], **{argument: value})
    assert caught.value.reason == reason
    assert caught.value.details["parameter"] == argument
