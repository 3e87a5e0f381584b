"""Manners in an asynchronous Session: savepoints of the caller's transaction, and no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, event, select, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Membership,
    OrgSlugConflictError,
    SoleOwnerError,
    TenancyRepository,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy.aio import (
    AsyncTenancyRepository,
    AsyncTenancyStore,
    unit_of_work,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.adopter import AdopterBase, Note, Project
from tests.support.rows import committed_rows
from tests.support.statements import struck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.asynchrony import Factory

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _adopter_tables(clean_engine: Engine) -> Iterator[None]:
    AdopterBase.metadata.create_all(clean_engine)
    yield
    with clean_engine.begin() as connection:
        for table in reversed(AdopterBase.metadata.sorted_tables):
            connection.execute(delete(table))
    AdopterBase.metadata.drop_all(clean_engine)


@pytest.fixture
def owner(clean_engine: Engine) -> Membership:
    """The only owner of an organization."""
    with Session(clean_engine, expire_on_commit=False) as session, session.begin():
        return TenancyRepository(session).list_members(make_org(session, slug="acme").id).data[0]


async def test_our_own_rows_commit_with_an_organization(
    clean_engine: Engine, factory: Factory
) -> None:
    async with factory() as session, session.begin():
        founder = User(id=new_id("usr"))
        session.add(founder)
        created = await AsyncTenancyRepository(session).create_org(founder.id, slug="acme")
        session.add(Project(name="Barn roof", organization=created.org))

    with Session(clean_engine) as reader:
        project = reader.scalars(select(Project)).one()
        assert project.organization
        assert project.organization.slug == "acme"


async def test_our_own_rows_roll_back_with_an_organization(
    clean_engine: Engine, factory: Factory
) -> None:
    before = committed_rows(clean_engine)
    async with factory() as session:
        founder = User(id=new_id("usr"))
        session.add_all([founder, Note(text="mine")])
        await AsyncTenancyRepository(session).create_org(founder.id)
        await session.rollback()

        assert (await session.scalars(select(Note))).all() == []
    assert committed_rows(clean_engine) == before


async def test_our_own_rows_outlive_a_refusal(
    clean_engine: Engine, factory: Factory, owner: Membership
) -> None:
    async with factory() as session, session.begin():
        session.add(Note(text="mine"))
        with pytest.raises(SoleOwnerError):
            await AsyncTenancyRepository(session).self_leave(owner.id)
        session.add(Note(text="mine, too"))

    with Session(clean_engine) as reader:
        assert reader.scalars(select(Note.text)).all() == ["mine", "mine, too"]


async def test_a_constraint_that_fires_is_a_refusal_with_the_transaction_alive(
    clean_engine: Engine, factory: Factory, owner: Membership
) -> None:
    async with factory() as session, session.begin():
        tenancy = AsyncTenancyRepository(session)
        with pytest.raises(OrgSlugConflictError):
            await tenancy.create_org(owner.usr_id, slug="acme")

        assert (await tenancy.create_org(owner.usr_id, slug="bolt")).org.slug == "bolt"


async def test_a_rollback_to_a_savepoint_of_ours_leaves_objects_that_can_be_refreshed(
    factory: Factory, owner: Membership
) -> None:
    async with factory() as session:
        tenancy = AsyncTenancyRepository(session)
        org = await tenancy.get_org(owner.org_id)
        savepoint = await session.begin_nested()
        await tenancy.suspend_org(org.id)
        await savepoint.rollback()

        await session.refresh(org)
        assert org.status == "active"


async def test_an_operation_is_a_savepoint_that_is_named_and_released(
    async_engine: AsyncEngine, factory: Factory, owner: Membership
) -> None:
    commits: list[object] = []
    event.listen(async_engine.sync_engine, "commit", commits.append)
    with struck(async_engine.sync_engine, 0) as seen:
        async with factory() as session:
            tenancy = AsyncTenancyRepository(session)
            await tenancy.suspend_org(owner.org_id)
            with pytest.raises(SoleOwnerError):
                await tenancy.self_leave(owner.id)

    about = [s for s in seen.statements if "SAVEPOINT" in s]
    assert [re.sub(r"_[0-9a-f]{8}$", "", statement) for statement in about] == [
        "SAVEPOINT ft_suspend_org",
        "RELEASE SAVEPOINT ft_suspend_org",
        "SAVEPOINT ft_self_leave",
        "ROLLBACK TO SAVEPOINT ft_self_leave",
        "RELEASE SAVEPOINT ft_self_leave",
    ]
    assert commits == []


async def test_a_unit_of_work_is_one_transaction(clean_engine: Engine, factory: Factory) -> None:
    with Session(clean_engine) as session, session.begin():
        alice, bob = make_user(session).id, make_user(session).id
    before = committed_rows(clean_engine)

    async def fail() -> None:
        async with unit_of_work(factory) as tenancy:
            created = await tenancy.create_org(alice)
            await tenancy.add_member(created.org.id, bob, "admin")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert committed_rows(clean_engine) == before

    async with unit_of_work(factory) as tenancy:
        created = await tenancy.create_org(alice)
        tenancy.session.add(Note(text="mine"))
        await tenancy.add_member(created.org.id, bob, "admin")
    after = committed_rows(clean_engine)
    assert [row.role for row in after["mem"]] == ["owner", "admin"]
    with Session(clean_engine) as reader:
        assert reader.scalars(select(Note.text)).all() == ["mine"]


async def test_a_connection_begins_transactions_again_after_a_statement_that_stood_alone(
    clean_engine: Engine, async_engine: AsyncEngine, factory: Factory, owner: Membership
) -> None:
    async with async_engine.connect():
        pass  # so that the engine knows its server
    store = AsyncTenancyStore(factory)
    await store.suspend_org(owner.org_id)
    before = committed_rows(clean_engine)

    async with async_engine.connect() as connection:
        assert await connection.scalar(text("SHOW transaction_isolation")) == "read committed"
        await connection.execute(delete(Membership))
        await connection.rollback()

    assert committed_rows(clean_engine) == before
    assert before["org"][0].status == "suspended"
