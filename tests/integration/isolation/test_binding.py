"""A Session stays bound to its tenant, whatever becomes of its transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, event, func, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

from flametrench_tenancy_sqlalchemy import (
    InvalidIdError,
    Membership,
    NotFoundError,
    Role,
    TenancyRepository,
    TenancyStore,
    bind_tenant,
)
from tests.support.counting import sent
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
