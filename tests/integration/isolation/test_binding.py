"""A Session stays bound to its tenant, whatever becomes of its transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, event, func, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.orm.exc import ObjectDeletedError
from sqlalchemy.pool import StaticPool

from flametrench_tenancy_sqlalchemy import (
    InvalidIdError,
    Membership,
    NotFoundError,
    Policy,
    Role,
    SeatLimitError,
    TenancyRepository,
    TenancyStore,
    bind_tenant,
)
from tests.support.counting import sent
from tests.support.drivers import DRIVERS, Driver
from tests.support.scenes import Scene

from .conftest import Engines

ACME, BOLT = 6, 2


def members(session: Session) -> int:
    """Return how many memberships are to be seen."""
    return session.scalars(select(func.count()).select_from(Membership)).one()


@pytest.fixture
def one_connection(engines: Engines) -> Iterator[sessionmaker[Session]]:
    """Makes Sessions that take turns on one connection, as behind a pooler."""
    engine = create_engine(engines["app"].url, poolclass=StaticPool)
    yield sessionmaker(engine)
    engine.dispose()


def test_it_is_bound_through_commits_rollbacks_and_savepoints(scene: Scene, app: Session) -> None:
    bind_tenant(app, org_id=scene["acme"])
    for end in (app.commit, app.rollback, app.close):
        assert members(app) == ACME
        with app.begin_nested() as savepoint:
            assert members(app) == ACME
            savepoint.rollback()
        assert members(app) == ACME
        end()
    assert members(app) == ACME


def test_what_a_commit_has_put_out_of_sight_says_how_to_keep_it(scene: Scene, app: Session) -> None:
    org = TenancyRepository(app).get_org(scene["acme"])
    app.commit()
    with pytest.raises(ObjectDeletedError) as gone:
        _ = org.name
    assert "expire_on_commit=False" in gone.value.__notes__[0]


def test_it_may_be_bound_anew_in_a_transaction(scene: Scene, app: Session) -> None:
    assert members(app) == 0
    bind_tenant(app, org_id=scene["acme"])
    assert members(app) == ACME
    bind_tenant(app)
    assert members(app) == 0


def test_a_savepoint_that_is_rolled_back_does_not_take_it_along(scene: Scene, app: Session) -> None:
    bind_tenant(app, org_id=scene["acme"])
    assert members(app) == ACME
    savepoint = app.begin_nested()
    bind_tenant(app, org_id=scene["bolt"])
    assert members(app) == BOLT
    savepoint.rollback()
    assert members(app) == BOLT
    app.rollback()
    assert members(app) == BOLT


def test_nothing_of_it_is_left_on_a_shared_connection(
    scene: Scene, one_connection: sessionmaker[Session]
) -> None:
    with one_connection() as session:
        bind_tenant(session, org_id=scene["acme"])
        assert members(session) == ACME
        session.commit()
    with one_connection() as other:
        assert members(other) == 0
        bind_tenant(other, org_id=scene["bolt"])
        assert members(other) == BOLT


def test_an_async_session_is_bound(scene: Scene, engines: Engines) -> None:
    async def run() -> list[int]:
        engine = create_async_engine(engines["app"].url)
        async with AsyncSession(engine) as session:
            await session.run_sync(bind_tenant, org_id=scene["acme"])
            seen = [await session.run_sync(members)]
            savepoint = await session.begin_nested()
            await session.run_sync(bind_tenant, org_id=scene["bolt"])
            await savepoint.rollback()
            seen.append(await session.run_sync(members))
            await session.rollback()
            seen.append(await session.run_sync(members))
        await engine.dispose()
        return seen

    assert asyncio.run(run()) == [ACME, BOLT, BOLT]


def test_a_scoped_session_and_a_store_of_bound_sessions_are_confined(
    scene: Scene, engines: Engines
) -> None:
    scoped = scoped_session(sessionmaker(engines["app"]))
    bind_tenant(scoped, org_id=scene["acme"])
    assert members(scoped()) == ACME
    scoped.remove()

    def factory() -> Session:
        session = Session(engines["app"])
        bind_tenant(session, org_id=scene["bolt"])
        return session

    store = TenancyStore(factory)
    assert store.role_of(scene["bolt"], scene["ann"]) is Role.OWNER
    with pytest.raises(NotFoundError):
        store.add_member(scene["acme"], scene["liz"], Role.GUEST)


def test_an_organization_stays_in_sight_after_an_operation_and_what_is_refused_does_not(
    scene: Scene, app: Session
) -> None:
    acting = TenancyRepository(app).acting_as(scene["ann"])
    acting.require_role(scene["acme"])
    assert members(app) == ACME
    with pytest.raises(NotFoundError):
        TenancyRepository(app).acting_as(scene["liz"]).get_org(scene["bolt"])
    assert members(app) == ACME
    app.commit()
    assert members(app) == 0


def test_operations_say_it_once_for_each_transaction(scene: Scene, app: Session) -> None:
    tenancy = TenancyRepository(app).acting_as(scene["ann"])
    tenancy.require_role(scene["acme"])
    with sent(app) as statements:
        tenancy.require_role(scene["acme"])
        tenancy.list_members(scene["acme"])
        tenancy.add_member(scene["acme"], scene["liz"], Role.GUEST)
        tenancy.require_role(scene["acme"])
    assert not [each for each in statements if "set_config('tenancy.org'" in each]


def test_an_operation_of_the_owner_says_nothing(scene: Scene, owner: Session) -> None:
    tenancy = TenancyRepository(owner)
    tenancy.get_org(scene["acme"])
    with sent(owner) as statements:
        tenancy.get_org(scene["acme"])
    assert len(statements) == 1


def test_what_flushes_is_isolated_as_what_is_one_statement_is(scene: Scene, app: Session) -> None:
    event.listen(app, "before_flush", lambda *_: None)
    tenancy = TenancyRepository(app)
    accepted = tenancy.accept_invitation(scene["first@acme"])
    assert len(accepted.materialized_tuples) == 3
    tenancy.offboard_user(accepted.membership.usr_id)
    app.commit()


def test_what_an_application_raises_while_it_reads_leaves_nothing_in_sight(
    scene: Scene, app: Session
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not today")

    bind_tenant(app, org_id=scene["acme"])
    event.listen(Membership, "load", refuse)
    try:
        with pytest.raises(ValueError, match="not today"):
            TenancyRepository(app).acting_as(scene["eve"]).list_memberships()
    finally:
        event.remove(Membership, "load", refuse)
    assert members(app) == ACME


@pytest.mark.parametrize("acting", [False, True], ids=["the system", "a user"])
@pytest.mark.parametrize("known", [True, False], ids=["there", "unknown"])
def test_what_an_application_asks_within_an_operation_leaves_it_its_sight(
    acting: bool, known: bool, scene: Scene, app: Session, owner: Session
) -> None:
    """What it could not see it would not write, and of whom it could not see it would not count."""

    def elsewhere(session: Session, *_: object) -> int:
        other = TenancyRepository(session)
        asked = other.acting_as(scene["eve"]) if acting else other
        if known:
            asked.get_org(scene["bolt"])
        else:
            with pytest.raises(NotFoundError):
                asked.update_org(scene["nova"], name="Nova")
        return 8

    asking = Policy(seats=elsewhere, on_change=elsewhere)
    tenancy = TenancyRepository(app, policy=asking).acting_as(scene["ann"])
    tenancy.add_member(scene["acme"], scene["liz"], Role.GUEST)
    with pytest.raises(SeatLimitError):
        tenancy.add_member(scene["acme"], scene["max"], Role.GUEST)
    tenancy.change_roles([(scene["cyd@acme"], Role.MEMBER), (scene["dan@acme"], Role.GUEST)])
    assert members(app) == ACME + 3
    app.commit()
    assert TenancyRepository(owner).role_of(scene["acme"], scene["liz"]) is Role.GUEST


def test_sessions_on_one_connection_do_not_mistake_each_others_sight(
    scene: Scene, engines: Engines
) -> None:
    with engines["app"].connect() as connection, connection.begin():
        one, other = (
            Session(connection, join_transaction_mode="create_savepoint") for _ in range(2)
        )
        for session, name in ((one, "acme"), (other, "bolt"), (one, "acme")):
            bind_tenant(session, org_id=scene[name])
            assert TenancyRepository(session).get_org(scene[name]).id == scene[name]
        assert TenancyRepository(other).get_org(scene["bolt"]).id == scene["bolt"]
        assert TenancyRepository(one).get_org(scene["acme"]).id == scene["acme"]
        other.close()  # its savepoint lies within the other's
        one.close()


def test_a_plan_that_is_kept_shows_each_tenant_its_own(scene: Scene, engines: Engines) -> None:
    engine = create_engine(
        engines["app"].url, poolclass=StaticPool, connect_args={"prepare_threshold": 0}
    )
    for bound in ("acme", "bolt", "acme", None):
        with Session(engine) as session:
            session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
            bind_tenant(session, org_id=None if bound is None else scene[bound])
            assert members(session) == {"acme": ACME, "bolt": BOLT}.get(str(bound), 0)
    engine.dispose()


@pytest.mark.parametrize("driver", DRIVERS, ids=str)
def test_every_driver_tells_it(driver: Driver, scene: Scene, engines: Engines) -> None:
    role = f"{engines['owner'].url.database}_app"
    with engines["owner"].begin() as connection:
        connection.execute(text(f"ALTER ROLE \"{role}\" LOGIN PASSWORD 'of a test'"))
    client = driver.client(engines["owner"].url.set(username=role, password="of a test"))

    def act(session: Session) -> int:
        tenancy = TenancyRepository(session)
        tenancy.accept_invitation(scene["first@acme"])
        tenancy.offboard_user(scene["eve"])
        tenancy.list_invitations_for(scene.address)
        session.commit()
        bind_tenant(session, org_id=scene["acme"])
        return members(session)

    assert client.visit(act) == ACME + 1


def test_it_needs_a_transaction(scene: Scene, engines: Engines) -> None:
    engine = engines["app"].execution_options(isolation_level="AUTOCOMMIT")
    with Session(engine) as session, pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
        TenancyRepository(session).get_org(scene["acme"])


def test_what_is_no_id_binds_nothing(scene: Scene, app: Session) -> None:
    with pytest.raises(InvalidIdError, match="org_id"):
        bind_tenant(app, org_id=scene["ann"])
    with pytest.raises(InvalidIdError, match="usr_id"):
        bind_tenant(app, usr_id=scene["acme"])
    assert members(app) == 0
