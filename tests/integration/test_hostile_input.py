"""Whatever an operation is given, of any type and size: a typed error, little memory, no trace."""

from __future__ import annotations

from contextlib import suppress
from inspect import signature
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from flametrench_tenancy_sqlalchemy import (
    ActingTenancy,
    CreateOrgResult,
    InMemoryTenancyStore,
    Organization,
    Role,
    TenancyError,
    bind_tenant,
    new_id,
)
from tests.support.calls import CALLS, Arguments, call, parameters
from tests.support.hostile import FEW, anything, survived
from tests.support.stage import IDENTIFIER, Stage

ACTING: Final = sorted(
    name
    for name, member in vars(ActingTenancy).items()
    if callable(member) and not name.startswith("_")
)
# For nobody; and a row that names another inviter.
REFUSED: Final = {"list_orgs", "expire_invitations", "erase_identifier", "add_members"}
WHO: Final = ("usr_id", "identifier", "auth", "on_behalf", "context")


@pytest.mark.parametrize("operation", CALLS)
@FEW
@given(data=st.data())
def test_hostile_arguments_get_a_typed_error_and_leave_no_trace(
    operation: str, data: st.DataObject, stage: Stage
) -> None:
    names = st.sampled_from(parameters(operation))
    spoiled = data.draw(st.dictionaries(names, anything, max_size=3))
    savepoint = stage.session.begin_nested()
    arguments = CALLS[operation](stage) | spoiled
    with survived(stage.session) as survives:
        survives(lambda: call(stage.tenancy, operation, arguments))
    savepoint.rollback()


def of_a_user(stage: Stage, operation: str) -> tuple[Arguments, str]:
    """Arrange an operation for a user who may do it; return what it takes, and who they are."""
    arranged = CALLS[operation](stage) if operation in CALLS else {}
    match operation:
        case "offboard_user":
            usr_id = arranged["usr_id"]
        case "self_leave":
            usr_id = stage.tenancy.get_membership(arranged["mem_id"]).usr_id
        case "reinstate_org":
            usr_id = stage.owner(stage.session.get_one(Organization, arranged["org_id"])).usr_id
        case "accept_invitation" | "decline_invitation":
            usr_id = stage.user()
        case _:
            usr_id = stage.user()
            for org in stage.session.scalars(select(Organization)).all():
                stage.member(org, Role.OWNER, usr_id=usr_id)
    taken = signature(getattr(ActingTenancy, operation)).parameters
    return {name: value for name, value in arranged.items() if name in taken}, usr_id


@pytest.mark.parametrize("operation", ACTING)
@settings(FEW, max_examples=12)
@given(data=st.data())
def test_so_do_those_of_acting_users_and_what_is_said_of_them(
    operation: str, data: st.DataObject, stage: Stage
) -> None:
    names = [*signature(getattr(ActingTenancy, operation)).parameters][1:]
    spoiled = data.draw(st.dictionaries(st.sampled_from([*names, *WHO]), anything, max_size=3))
    savepoint = stage.session.begin_nested()
    arguments, usr_id = of_a_user(stage, operation)
    who: Arguments = {"usr_id": usr_id, "identifier": IDENTIFIER}
    who |= {name: spoiled[name] for name in WHO if name in spoiled}
    arguments |= {name: spoiled[name] for name in names if name in spoiled}

    with survived(stage.session) as survives:
        refusal = survives(lambda: call(stage.tenancy.acting_as(**who), operation, arguments))
    assert spoiled or (refusal is not None) == (operation in REFUSED)
    savepoint.rollback()


@settings(FEW, max_examples=50)
@given(tenant=st.fixed_dictionaries({}, optional={"org_id": anything, "usr_id": anything}))
def test_so_does_what_a_session_is_bound_to(tenant: Arguments, stage: Stage) -> None:
    with survived(stage.session) as survives:
        survives(lambda: bind_tenant(stage.session, **tenant))
    bind_tenant(stage.session)


@pytest.fixture(scope="module")
def in_memory() -> tuple[InMemoryTenancyStore, CreateOrgResult]:
    store = InMemoryTenancyStore()
    return store, store.create_org(new_id("usr"))


@pytest.mark.parametrize("operation", CALLS)
@FEW
@given(data=st.data())
def test_so_does_a_store_in_memory(
    operation: str, data: st.DataObject, in_memory: tuple[InMemoryTenancyStore, CreateOrgResult]
) -> None:
    store, created = in_memory
    org, owner = created.org, created.owner_membership
    there = st.sampled_from([org.id, owner.id, owner.usr_id, Role.MEMBER])
    arguments = {name: data.draw(there | anything) for name in parameters(operation)}
    with suppress(TenancyError):
        call(store, operation, arguments)
    assert store.get_org(org.id).id == org.id
