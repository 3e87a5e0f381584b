"""Every operation, awaited: the same rows, the same errors, and results that need no database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import InvalidIdError, TenancyError, TenancyRepository, new_id
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyRepository, AsyncTenancyStore
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org
from tests.support.asynchrony import (
    AsyncCall,
    Factory,
    Run,
    in_a_unit_of_work,
    in_every_way,
    in_the_callers_transaction,
    standalone,
)
from tests.support.calls import CALLS
from tests.support.calls import call as call_operation
from tests.support.operations import OPERATIONS, every_operation
from tests.support.results import entities_in, unloaded_columns
from tests.support.rows import committed_rows, untruths_of
from tests.support.stage import NOW, Stage

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.support.operations import Call

pytestmark = pytest.mark.anyio

READS: Final = [n for n in CALLS if n.startswith(("get_", "find_", "list_", "count_", "require_"))]
# What may be done a second time.
AGAIN: Final = {"update_org", "create_invitation", "create_invitations", "expire_invitations"}


def staged(engine: Engine, operation: str) -> dict[str, Any]:
    """Return arguments that an operation accepts, their stage set and committed."""
    with Session(engine) as session, session.begin():
        return CALLS[operation](Stage(session))


@in_every_way
@every_operation
async def test_an_operation_commits_and_returns_what_stays_readable(
    clean_engine: Engine, factory: Factory, call: AsyncCall, run: Run
) -> None:
    before = committed_rows(clean_engine)

    result = await run(factory, call)

    truth = committed_rows(clean_engine)
    assert truth != before
    assert result == 2 or entities_in(result)  # two invitations have expired
    for entity in entities_in(result):
        assert unloaded_columns(entity) == set()
        assert untruths_of(entity, truth) == []
        assert repr(entity)


@pytest.mark.parametrize("operation", READS)
async def test_a_read_returns_what_stays_readable(
    clean_engine: Engine, factory: Factory, operation: str
) -> None:
    arguments = staged(clean_engine, operation)
    async with factory() as session:
        tenancy = cast("TenancyRepository", AsyncTenancyRepository(session, clock=lambda: NOW))
        result = await call_operation(tenancy, operation, arguments)
        await session.commit()

    truth = committed_rows(clean_engine)
    for entity in entities_in(result):
        assert unloaded_columns(entity) == set()
        assert untruths_of(entity, truth) == []


async def test_listed_memberships_come_with_their_organizations(
    clean_engine: Engine, factory: Factory
) -> None:
    with Session(clean_engine) as session, session.begin():
        usr_id = make_member(session, make_org(session, name="Acme")).usr_id

    page = await AsyncTenancyStore(factory).list_memberships(usr_id)

    assert [membership.organization.name for membership in page.data] == ["Acme"]


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.name not in AGAIN], ids=str)
async def test_an_operation_is_refused_as_the_repository_refuses_it(
    clean_engine: Engine, factory: Factory, call: AsyncCall
) -> None:
    await standalone(factory, call)
    before = committed_rows(clean_engine)
    with Session(clean_engine) as session, pytest.raises(TenancyError) as expected:
        cast("Call", call)(TenancyRepository(session))

    for run in (in_the_callers_transaction, in_a_unit_of_work, standalone):
        with pytest.raises(TenancyError) as refusal:
            await run(factory, call)

        assert type(refusal.value) is type(expected.value)
        assert vars(refusal.value) == vars(expected.value)
        assert str(refusal.value) == str(expected.value)
    assert committed_rows(clean_engine) == before


async def test_a_malformed_id_is_refused_by_name(factory: Factory) -> None:
    with pytest.raises(InvalidIdError) as refusal:
        await AsyncTenancyStore(factory).get_org(new_id("usr"))

    assert refusal.value.parameter == "org_id"
