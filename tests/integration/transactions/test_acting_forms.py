"""The operations for one user in all forms: the same doors, signatures, verdicts and units."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, assert_type

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    ActingTenancy,
    ActingTenancyStore,
    CreateOrgResult,
    InMemoryTenancyStore,
    InvalidIdError,
    Membership,
    Outcome,
    Page,
    Role,
    TenancyError,
    TenancyRepository,
    TenancyStore,
    new_id,
)
from flametrench_tenancy_sqlalchemy.aio import (
    AsyncActingTenancy,
    AsyncTenancyRepository,
    AsyncTenancyStore,
)
from flametrench_tenancy_sqlalchemy.authority import RULES
from flametrench_tenancy_sqlalchemy.repository.kinds import kind_of
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.calls import CALLS
from tests.support.cluster import ASYNC_DRIVERS
from tests.support.stage import DAY

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Who acts is no parameter; nor is who is asked about, where that is the user.
WHO: Final = {"creator", "invited_by", "admin_usr_id", "as_usr_id", "accepting_identifier"}
ABOUT: Final = {
    "require_role": "usr_id",
    "role_of": "usr_id",
    "list_memberships": "usr_id",
    "transfer_ownership": "from_mem_id",
    "list_invitations_for": "identifier",
}
# Of tuples the authorization layer decides.
NOT_OFFERED: Final = {"list_tuples_for_subject", "list_tuples_for_object"}
NAMES: Final = {name: name for name in CALLS.keys() - NOT_OFFERED} | {
    "list_invitations_for": "inbox"
}

# Of the log, which is opt-in, the endpoint asks.
READ_BESIDES: Final = {"list_events"}


def functions(form: type) -> dict[str, Any]:
    return {n: f for n, f in inspect.getmembers(form, inspect.isfunction) if not n.startswith("_")}


def test_the_table_knows_every_operation_and_no_other() -> None:
    assert RULES.keys() == {*NAMES, *READ_BESIDES}
    assert functions(ActingTenancy).keys() == {*NAMES.values()}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_operation_takes_what_the_repositorys_takes_but_for_who_acts(name: str) -> None:
    mine = inspect.signature(getattr(ActingTenancy, NAMES[name]))
    its = inspect.signature(getattr(TenancyRepository, name))
    left_out = WHO | {ABOUT.get(name, "")}
    assert list(mine.parameters.values()) == [
        parameter for parameter in its.parameters.values() if parameter.name not in left_out
    ]
    assert mine.return_annotation == its.return_annotation
    assert kind_of(getattr(ActingTenancy, NAMES[name])) == kind_of(getattr(TenancyRepository, name))


@pytest.mark.parametrize("form", [ActingTenancyStore, AsyncActingTenancy])
def test_a_form_has_a_door_for_every_operation_and_no_other(form: type) -> None:
    assert functions(form).keys() == functions(ActingTenancy).keys()
    for name, operation in functions(ActingTenancy).items():
        door = getattr(form, name)
        assert inspect.unwrap(door) is inspect.unwrap(operation)
        assert inspect.signature(door) == inspect.signature(operation)
        assert inspect.iscoroutinefunction(door) == (form is AsyncActingTenancy)


def what_type_checkers_see(tenancy: TenancyRepository, store: TenancyStore) -> None:
    assert_type(tenancy.acting_as("usr_"), ActingTenancy)
    assert_type(store.acting_as("usr_", context={"ip": "::1"}), ActingTenancyStore)
    acting = store.acting_as("usr_")
    assert_type(acting.create_org(name="Acme"), CreateOrgResult)
    assert_type(acting.list_memberships(), Page[Membership])
    assert_type(acting.change_roles({}), list[Outcome[Membership]])
    # Each of these comments is an error of its own once there is nothing to ignore.
    acting.get_org()  # type: ignore[call-arg]  # the id is missing
    acting.admin_remove("mem_", "usr_")  # type: ignore[call-arg]  # nobody says who they are


async def what_type_checkers_see_of_the_awaited(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore,
) -> None:
    assert_type(tenancy.acting_as("usr_"), AsyncActingTenancy)
    assert_type(await tenancy.acting_as("usr_").create_org(name="Acme"), CreateOrgResult)
    await tenancy.acting_as("usr_").get_org()  # type: ignore[call-arg]  # the id is missing


async def story(tenancy: Any, users: Sequence[str]) -> list[str]:
    """Let three users go through the life of an organization; return how each call ended."""
    proven = [f"{usr_id}@example.com" for usr_id in users]
    ann, bob, eve = (
        tenancy.acting_as(usr_id, identifier=identifier)
        for usr_id, identifier in zip(users, proven, strict=True)
    )
    endings = []

    async def told(result: Callable[[], Any]) -> Any:
        try:
            value = result()
            value = await value if inspect.isawaitable(value) else value
        except TenancyError as exc:
            endings.append(exc.code)
        else:
            endings.append("done")
            return value

    org_id = (await told(lambda: ann.create_org(name="Acme"))).org.id
    await told(lambda: eve.get_org(org_id))
    tomorrow = datetime.now(UTC) + DAY
    await told(lambda: ann.create_invitation(org_id, proven[1], Role.ADMIN, tomorrow))
    (invitation,) = await told(bob.inbox)
    await told(lambda: eve.accept_invitation(invitation.id))
    bobs = (await told(lambda: bob.accept_invitation(invitation.id))).membership
    eves = await told(lambda: bob.add_member(org_id, users[2], Role.GUEST))
    await told(lambda: bob.change_role(eves.id, Role.OWNER))
    await told(lambda: eve.update_org(org_id, name="Eve"))
    await told(lambda: bob.transfer_ownership(org_id, eves.id))
    await told(lambda: eve.transfer_ownership(new_id("org"), bobs.id))
    await told(lambda: ann.transfer_ownership(org_id, bobs.id))
    await told(lambda: ann.suspend_org(org_id))
    await told(lambda: bob.suspend_org(org_id))
    await told(lambda: ann.list_members(org_id))
    await told(lambda: eve.self_leave(eves.id))
    await told(lambda: eve.get_org(org_id))
    return endings


ENDINGS: Final = [
    *("done", "not_found", "done", "done", "not_found", "done", "done"),
    *("forbidden", "forbidden", "forbidden", "not_found", "done", "forbidden", "done"),
    *("precondition.org_not_active", "done", "not_found"),
]


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's drivers know one event loop, asyncio's."""
    return "asyncio"


@pytest.fixture
def users(clean_engine: Engine) -> Sequence[str]:
    """Three users, committed."""
    with Session(clean_engine) as session, session.begin():
        return tuple(make_user(session).id for _ in range(3))


@pytest.mark.anyio
async def test_users_are_told_the_same_in_the_callers_transaction(
    session: Session,
) -> None:
    users = tuple(make_user(session).id for _ in range(3))
    assert await story(TenancyRepository(session), users) == ENDINGS


@pytest.mark.anyio
async def test_users_are_told_the_same_in_transactions_of_their_own(
    users: Sequence[str], clean_engine: Engine
) -> None:
    assert await story(TenancyStore(sessionmaker(clean_engine)), users) == ENDINGS


@pytest.mark.anyio
async def test_users_are_told_the_same_in_memory() -> None:
    users = tuple(new_id("usr") for _ in range(3))
    assert await story(InMemoryTenancyStore(), users) == ENDINGS


@pytest.mark.anyio
@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
async def test_users_are_told_the_same_where_it_is_awaited(
    driver: str, users: Sequence[str], clean_engine: Engine
) -> None:
    engine = create_async_engine(clean_engine.url.set(drivername=f"postgresql+{driver}"))
    factory = async_sessionmaker(engine, expire_on_commit=False)
    try:
        assert await story(AsyncTenancyStore(factory), users) == ENDINGS
        async with factory() as session:
            assert await story(AsyncTenancyRepository(session), users) == ENDINGS
    finally:
        await engine.dispose()


@pytest.mark.parametrize("form", ["usr", "org_", f"org_{32 * '0'}", "", None, 7])
def test_nobody_acts_who_is_no_user(form: Any) -> None:
    with pytest.raises(InvalidIdError) as caught:
        InMemoryTenancyStore().acting_as(form)
    assert caught.value.parameter == "usr_id"


def test_what_only_reads_or_guards_does_so_elsewhere_for_a_user_too(
    users: Sequence[str], clean_engine: Engine
) -> None:
    reading = sessionmaker(clean_engine.execution_options(isolation_level="AUTOCOMMIT"))
    writing = sessionmaker(clean_engine)
    org_id = TenancyStore(writing).acting_as(users[0]).create_org().org.id

    def no_writing() -> Session:
        raise AssertionError("it reads")

    acting = TenancyStore(no_writing, reads=reading).acting_as(users[0])
    assert acting.get_org(org_id).id == org_id
    with pytest.raises(AssertionError, match="it reads"):
        acting.role_of(org_id)
    acting = TenancyStore(no_writing, guards=reading).acting_as(users[0])
    assert acting.role_of(org_id) is Role.OWNER
