"""Every operation, awaited: the same rows, errors and manners, whoever is gone meanwhile."""

from __future__ import annotations

import asyncio
import inspect
import re
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_type, cast

import pytest
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, joinedload, selectinload
from sqlalchemy.pool import NullPool, QueuePool

from flametrench_tenancy_sqlalchemy import (
    AcceptInvitationResult,
    Base,
    CreateOrgResult,
    InMemoryTenancyStore,
    InvalidIdError,
    Invitation,
    InvitationRequest,
    Membership,
    NewMember,
    NotLoadedError,
    Organization,
    OrgSlugConflictError,
    Outcome,
    Page,
    Policy,
    PreTuple,
    Role,
    RoleChange,
    SoleOwnerError,
    Status,
    TenancyChange,
    TenancyError,
    TenancyRepository,
    TenancyStore,
    TransferOwnershipResult,
    Tuple,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy.aio import (
    AsyncTenancyRepository,
    AsyncTenancyStore,
    unit_of_work,
)
from flametrench_tenancy_sqlalchemy.repository.kinds import Kind, kind_of
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.adopter import Note, Project
from tests.support.calls import CALLS
from tests.support.calls import call as call_operation
from tests.support.cluster import ASYNC_DRIVERS
from tests.support.counting import sent
from tests.support.operations import OPERATIONS, Operation, every_operation, representative
from tests.support.results import entities_in, unloaded_columns
from tests.support.rows import committed_rows, untruths_of
from tests.support.stage import NOW, Stage
from tests.support.statements import Strike, await_blocked, backend_pid, struck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from tests.support.operations import Call

AsyncCall: TypeAlias = Callable[[AsyncTenancyRepository | AsyncTenancyStore], Awaitable[Any]]
Factory: TypeAlias = async_sessionmaker[AsyncSession]
Run: TypeAlias = Callable[[Factory, AsyncCall], Awaitable[Any]]

AWAITED: Final = [AsyncTenancyRepository, AsyncTenancyStore]
DOORS: Final = [*AWAITED, TenancyStore, InMemoryTenancyStore]
KINDS: Final = {name: kind_of(getattr(TenancyRepository, name)) for name in CALLS}
READS: Final = [name for name, kind in KINDS.items() if kind is not Kind.WRITES]
# What may be done a second time.
AGAIN: Final = {
    *("update_org", "create_invitation", "create_invitations", "expire_invitations"),
    *("renew_invitation", "erase_identifier", "offboard_user"),
}


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's drivers know one event loop, asyncio's."""
    return "asyncio"


@pytest.fixture(params=ASYNC_DRIVERS)
async def async_engine(request: pytest.FixtureRequest, db: Engine) -> AsyncIterator[AsyncEngine]:
    """An asynchronous engine, on one driver and the other."""
    engine = create_async_engine(db.url.set(drivername=f"postgresql+{request.param}"))
    yield engine
    await engine.dispose()


@pytest.fixture(params=["by statement", "by flush"])
def factory(request: pytest.FixtureRequest, async_engine: AsyncEngine) -> Factory:
    """What makes the application's asynchronous Sessions, which write in one way or the other."""

    class HeardSession(Session):
        """A Session to which somebody may listen."""

    if request.param == "by flush":
        event.listen(HeardSession, "before_flush", lambda *_: None)
    return async_sessionmaker(async_engine, expire_on_commit=False, sync_session_class=HeardSession)


@pytest.fixture
def awaited(operation: Operation, db: Engine) -> AsyncCall:
    """The operation at hand, its stage set and committed."""
    with Session(db) as session, session.begin():
        return cast("AsyncCall", operation.stage(session))


async def in_the_callers_transaction(factory: Factory, call: AsyncCall) -> Any:
    async with factory() as session, session.begin():
        return await call(AsyncTenancyRepository(session))


async def in_a_unit_of_work(factory: Factory, call: AsyncCall) -> Any:
    async with unit_of_work(factory) as tenancy:
        return await call(tenancy)


async def standalone(factory: Factory, call: AsyncCall) -> Any:
    return await call(AsyncTenancyStore(factory))


FORMS: Final[list[Run]] = [in_the_callers_transaction, in_a_unit_of_work, standalone]


def public_functions(form: type) -> dict[str, Any]:
    functions = inspect.getmembers(form, inspect.isfunction)
    return {
        name: function for name, function in functions if not name.startswith(("_", "acting_as"))
    }


@pytest.mark.parametrize("form", DOORS)
def test_a_form_has_a_door_for_every_operation_and_no_other(form: type) -> None:
    assert public_functions(TenancyRepository).keys() == CALLS.keys()
    assert public_functions(form).keys() == CALLS.keys()
    for name, operation in public_functions(TenancyRepository).items():
        door = getattr(form, name)
        assert inspect.unwrap(door) is inspect.unwrap(operation)
        assert inspect.signature(door) == inspect.signature(operation)
        assert inspect.getdoc(door) == inspect.getdoc(operation)
        assert inspect.iscoroutinefunction(door) == (form in AWAITED)


async def what_type_checkers_see_of_organizations(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore,
) -> None:
    assert_type(await tenancy.create_org("usr_", name="Acme", slug="acme"), CreateOrgResult)
    assert_type(await tenancy.get_org("org_"), Organization)
    assert_type(await tenancy.get_org_by_slug("acme"), Organization)
    assert_type(await tenancy.update_org("org_", name=None), Organization)
    assert_type(await tenancy.suspend_org("org_"), Organization)
    assert_type(await tenancy.reinstate_org("org_"), Organization)
    assert_type(await tenancy.revoke_org("org_"), Organization)
    assert_type(await tenancy.list_orgs(limit=2, query="a"), Page[Organization])
    # Each of these comments is an error of its own once there is nothing to ignore.
    await tenancy.get_org()  # type: ignore[call-arg]  # the id is missing
    await tenancy.get_org(7)  # type: ignore[arg-type]  # ids are texts
    await tenancy.update_org("org_", nome="Acme")  # type: ignore[call-arg]  # it is name


async def what_type_checkers_see_of_memberships(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore,
) -> None:
    assert_type(await tenancy.add_member("org_", "usr_", Role.MEMBER), Membership)
    assert_type(await tenancy.get_membership("mem_"), Membership)
    assert_type(await tenancy.find_membership("org_", "usr_"), Membership | None)
    assert_type(await tenancy.require_role("org_", "usr_", Role.OWNER, "admin"), Membership)
    assert_type(await tenancy.list_members("org_", status=Status.ACTIVE), Page[Membership])
    assert_type(await tenancy.list_memberships("usr_"), Page[Membership])
    assert_type(await tenancy.change_role("mem_", Role.ADMIN), Membership)
    assert_type(await tenancy.suspend_membership("mem_"), Membership)
    assert_type(await tenancy.reinstate_membership("mem_"), Membership)
    assert_type(await tenancy.self_leave("mem_", transfer_to="usr_"), Membership)
    assert_type(await tenancy.admin_remove("mem_", "usr_"), Membership)
    assert_type(await tenancy.transfer_ownership("org_", "mem_", "mem_"), TransferOwnershipResult)


async def what_type_checkers_see_of_sets(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore, request: InvitationRequest
) -> None:
    added = await tenancy.add_members("org_", [("usr_", Role.OWNER), ("usr_", "admin")])
    assert_type(added, list[Outcome[Membership]])
    assert_type(added[0].unwrap(), Membership)
    invited = await tenancy.create_invitations("org_", [request], "usr_", all_or_nothing=True)
    assert_type(invited, list[Outcome[Invitation]])
    assert_type(await tenancy.change_roles({"mem_": "owner"}), list[Outcome[Membership]])
    rows: list[NewMember | dict[str, str]] = [NewMember("usr_", Role.OWNER, org_id="org_")]
    assert_type(await tenancy.add_members(members=rows), list[Outcome[Membership]])
    assert_type(await tenancy.create_invitations(requests=[request]), list[Outcome[Invitation]])
    changes = [RoleChange("mem_", "owner")]
    assert_type(await tenancy.change_roles(changes), list[Outcome[Membership]])
    await tenancy.add_members("org_")  # type: ignore[call-overload]
    await tenancy.add_members(members=[("usr_", "owner")])  # type: ignore[list-item]
    assert_type(await tenancy.remove_members(["mem_"], "usr_"), list[Outcome[Membership]])


async def what_type_checkers_see_of_invitations_and_tuples(
    tenancy: AsyncTenancyRepository | AsyncTenancyStore, later: datetime, grant: PreTuple
) -> None:
    assert_type(
        await tenancy.create_invitation(
            "org_", "newbie@example.com", Role.GUEST, "usr_", later, pre_tuples=[grant]
        ),
        Invitation,
    )
    assert_type(await tenancy.get_invitation("inv_"), Invitation)
    assert_type(await tenancy.list_invitations("org_"), Page[Invitation])
    assert_type(await tenancy.accept_invitation("inv_"), AcceptInvitationResult)
    assert_type(await tenancy.decline_invitation("inv_", as_usr_id="usr_"), Invitation)
    assert_type(await tenancy.revoke_invitation("inv_", "usr_"), Invitation)
    assert_type(await tenancy.expire_invitations(limit=10), int)
    assert_type(await tenancy.list_tuples_for_subject("usr", "usr_"), list[Tuple])
    assert_type(await tenancy.list_tuples_for_object("org", "org_", relation="owner"), list[Tuple])


@pytest.mark.anyio
@pytest.mark.parametrize("run", FORMS)
@every_operation
async def test_an_operation_commits_and_returns_what_stays_readable(
    db: Engine, factory: Factory, awaited: AsyncCall, run: Run
) -> None:
    before = committed_rows(db)

    result = await run(factory, awaited)

    truth = committed_rows(db)
    assert truth != before
    assert result in (2, 3) or entities_in(result)  # so many have expired, or are erased
    for entity in entities_in(result):
        assert unloaded_columns(entity) == set()
        assert untruths_of(entity, truth) == []
        assert repr(entity)


@pytest.mark.anyio
@pytest.mark.parametrize("name", READS)
async def test_a_read_goes_where_its_kind_goes_and_returns_what_stays_readable(
    db: Engine, async_engine: AsyncEngine, name: str
) -> None:
    with Session(db) as session, session.begin():
        given = CALLS[name](Stage(session))
    reads = create_async_engine(async_engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    elsewhere: Any = {KINDS[name].value: async_sessionmaker(reads)}
    store: Any = AsyncTenancyStore(async_sessionmaker(async_engine), clock=lambda: NOW, **elsewhere)

    with sent(async_engine.sync_engine) as written:
        result = await call_operation(store, name, given)

    assert written == []
    truth = committed_rows(db)
    for entity in entities_in(result):
        assert unloaded_columns(entity) == set()
        assert untruths_of(entity, truth) == []
        if name == "list_memberships":
            assert cast("Membership", entity).organization.id


@pytest.mark.anyio
@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.name not in AGAIN], ids=str)
async def test_an_operation_is_refused_as_the_repository_refuses_it(
    db: Engine, factory: Factory, awaited: AsyncCall
) -> None:
    await standalone(factory, awaited)
    before = committed_rows(db)
    with Session(db) as session, pytest.raises(TenancyError) as expected:
        cast("Call", awaited)(TenancyRepository(session))

    for run in FORMS:
        with pytest.raises(TenancyError) as refusal:
            await run(factory, awaited)

        assert type(refusal.value) is type(expected.value)
        assert vars(refusal.value) == vars(expected.value)
        assert str(refusal.value) == str(expected.value)
    assert committed_rows(db) == before
    with pytest.raises(InvalidIdError, match="org_id"):
        await AsyncTenancyStore(factory).get_org(new_id("usr"))


@pytest.mark.anyio
async def test_our_own_rows_share_the_transaction(
    db: Engine, async_engine: AsyncEngine, factory: Factory
) -> None:
    with Session(db) as staging, staging.begin():
        owner = TenancyRepository(staging).list_members(make_org(staging, slug="acme").id).data[0]
        owner_id, usr_id, org_id = owner.id, owner.usr_id, owner.org_id
    before, commits = committed_rows(db), list[object]()

    async with factory() as session:
        session.add_all([User(id=(founder := new_id("usr"))), Note(text="mine")])
        tenancy = AsyncTenancyRepository(session)
        await tenancy.create_org(founder)
        await session.rollback()
        assert (await session.scalars(select(Note))).all() == []
    assert committed_rows(db) == before

    event.listen(async_engine.sync_engine, "commit", commits.append)
    with struck(async_engine.sync_engine, 0) as seen:
        async with factory() as session:
            tenancy = AsyncTenancyRepository(session)
            await tenancy.suspend_org(org_id)
            with pytest.raises(SoleOwnerError):
                await tenancy.self_leave(owner_id)
            assert commits == []
            session.add(Note(text="mine"))
            with pytest.raises(OrgSlugConflictError):
                await tenancy.create_org(usr_id, slug="acme")
            created = await tenancy.create_org(usr_id, slug="bolt")
            session.add(Project(name="Barn roof", organization=created.org))
            savepoint = await session.begin_nested()
            await tenancy.revoke_org(created.org.id)
            await savepoint.rollback()
            await session.refresh(created.org)
            assert created.org.status == "active"
            await session.commit()

    about = [s for s in seen.statements if "SAVEPOINT ft_" in s]
    assert [re.sub(r"_[0-9a-f]{8}$", "", statement) for statement in about][:5] == [
        "SAVEPOINT ft_suspend_org",
        "RELEASE SAVEPOINT ft_suspend_org",
        "SAVEPOINT ft_self_leave",
        "ROLLBACK TO SAVEPOINT ft_self_leave",
        "RELEASE SAVEPOINT ft_self_leave",
    ]
    with Session(db) as reader:
        assert reader.scalars(select(Note.text)).all() == ["mine"]
        project = reader.scalars(select(Project)).one()
        assert project.organization
        assert project.organization.slug == "bolt"


@pytest.mark.anyio
async def test_what_options_load_stays_readable(db: Engine, factory: Factory) -> None:
    with Session(db) as session, session.begin():
        org_id = make_org(session, owner=make_user(session, display_name="Ann")).id
    options = [selectinload(Membership.user), joinedload(Membership.organization)]
    roles = [Role.OWNER, Role.ADMIN]
    for narrowed in ({"newest_first": True}, {"roles": roles}):
        page = await AsyncTenancyStore(factory).list_members(org_id, options=options, **narrowed)
        (owner,) = page
        assert (owner.user.display_name, owner.organization.id) == ("Ann", org_id)


@pytest.mark.anyio
async def test_what_is_not_loaded_says_how_to_ask_for_it(
    db: Engine, async_engine: AsyncEngine
) -> None:
    with Session(db) as session, session.begin():
        mem_id = (stage := Stage(session)).owner(stage.org()).id
    how = r"options=\[joinedload\(Membership.user\)\]"
    async with AsyncSession(async_engine) as expiring:
        membership = await AsyncTenancyRepository(expiring).get_membership(mem_id)
        with pytest.raises(NotLoadedError, match=how):
            _ = membership.user
        assert (await expiring.run_sync(lambda _: membership.user)).id  # where it may, it loads
        await expiring.commit()
        with pytest.raises(NotLoadedError, match="expire_on_commit=False"):
            _ = membership.role


@pytest.mark.anyio
async def test_a_user_of_an_asynchronous_session_is_taken_for_their_id(factory: Factory) -> None:
    async with factory() as session, session.begin():
        session.add(user := User())
        await session.flush()
        tenancy = AsyncTenancyRepository(session)
        org = (await tenancy.create_org(user)).org
        assert await tenancy.role_of(org.id, user) is Role.OWNER
        assert [m.usr_id for m in await tenancy.acting_as(user).list_memberships()] == [user.id]


@pytest.mark.anyio
async def test_a_unit_of_work_is_one_transaction(db: Engine, factory: Factory) -> None:
    with Session(db) as session, session.begin():
        session.add(User(id=(alice := new_id("usr"))))
    before = committed_rows(db)

    async def fail() -> None:
        async with unit_of_work(factory) as tenancy:
            await tenancy.create_org(alice)
            tenancy.session.add(Note(text="mine"))
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert committed_rows(db) == before


@pytest.mark.anyio
async def test_a_scoped_session_is_a_session_and_no_factory(db: Engine, factory: Factory) -> None:
    with Session(db) as session, session.begin():
        session.add(User(id=(alice := new_id("usr"))))
    scoped = async_scoped_session(factory, asyncio.current_task)

    for factories in ({"session_factory": scoped}, {"session_factory": factory, "reads": scoped}):
        with pytest.raises(TypeError, match="async_scoped_session"):
            AsyncTenancyStore(**factories)
    with pytest.raises(TypeError, match="async_scoped_session"):
        async with unit_of_work(scoped):
            """Never come here."""

    await AsyncTenancyRepository(scoped).create_org(alice)
    assert committed_rows(db)["org"] == []
    await scoped.commit()
    await scoped.remove()
    assert len(committed_rows(db)["org"]) == 1


Interruptible: TypeAlias = tuple["asyncio.Task[Any]", Callable[[], object]]
Start: TypeAlias = Callable[[], Interruptible]


def cancelled(work: Awaitable[Any]) -> Interruptible:
    """Start work, and return how to cancel it."""

    async def run() -> Any:
        return await work

    task = asyncio.create_task(run())
    return task, task.cancel


def timed_out(work: Awaitable[Any]) -> Interruptible:
    """Start work, and return how to let its time be up."""
    timeout = asyncio.timeout(None)

    async def run() -> Any:
        async with timeout:
            return await work

    return asyncio.create_task(run()), lambda: timeout.reschedule(0)


@pytest.fixture(params=["cancelled in the caller's transaction", "standalone, and timed out"])
def start(request: pytest.FixtureRequest, factory: Factory, awaited: AsyncCall) -> Start:
    """Starts the operation at hand, and tells how to interrupt it."""
    if request.param.startswith("cancelled"):
        return lambda: cancelled(in_the_callers_transaction(factory, awaited))
    return lambda: timed_out(standalone(factory, awaited))


async def interrupted(engine: AsyncEngine, start: Start, at: int) -> tuple[Strike, Any]:
    """Interrupt an operation at a statement; return whether there was one, and how it ended."""
    with struck(engine.sync_engine, at, before=lambda _: interrupt()) as strike:
        task, interrupt = start()
        (ending,) = await asyncio.gather(task, return_exceptions=True)
    return strike, ending


async def assert_usable(engine: AsyncEngine) -> None:
    """Expect no connection to be kept from the pool, and the next one to work."""
    pool = engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


@pytest.mark.anyio
@representative
async def test_a_cancellation_at_any_statement_leaves_nothing(
    db: Engine, async_engine: AsyncEngine, start: Start
) -> None:
    before, at = committed_rows(db), 1
    strike, ending = await interrupted(async_engine, start, at)
    while strike.fell and not met_the_commit(ending):
        assert isinstance(ending, asyncio.CancelledError | TimeoutError)
        await assert_usable(async_engine)
        assert committed_rows(db) == before
        at += 1
        strike, ending = await interrupted(async_engine, start, at)

    assert at > 1
    if not met_the_commit(ending):  # of which nobody knows whether it came through
        assert not isinstance(ending, BaseException)
        assert committed_rows(db) != before


def met_the_commit(ending: Any) -> bool:
    """Tell whether an operation's time was up only when it was being committed."""
    cause = getattr(ending, "__context__", None)
    frames = traceback.extract_tb(cause.__traceback__) if cause else ()
    return any(frame.name == "do_commit" for frame in frames)


@pytest.mark.anyio
@representative
async def test_a_cancellation_while_it_waits_for_a_lock_leaves_nothing(
    db: Engine, async_engine: AsyncEngine, start: Start
) -> None:
    before = committed_rows(db)
    begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @event.listens_for(async_engine.sync_engine, "before_cursor_execute")
    def remember(connection: Connection, *_: object) -> None:
        if not begun.done():
            begun.set_result(backend_pid(connection))

    observer = create_engine(db.url, poolclass=NullPool)
    with observer.begin() as other:
        for table in Base.metadata.sorted_tables:
            other.execute(select(table.c.id).with_for_update())
        task, interrupt = start()
        await asyncio.to_thread(await_blocked, observer, await begun)
        interrupt()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await task

    assert committed_rows(db) == before
    await assert_usable(async_engine)
    again, _ = start()
    await again
    assert committed_rows(db) != before


@pytest.mark.anyio
async def test_what_the_application_raises_at_a_change_undoes_it_behind_the_awaited_door(
    factory: Factory, db: Engine
) -> None:
    told: list[str] = []

    def refuse(session: Session, change: TenancyChange) -> None:
        told.append(change.operation)
        raise LookupError

    with Session(db) as setting, setting.begin():
        user = Stage(setting).user()
    async with factory() as session, session.begin():
        tenancy = AsyncTenancyRepository(session, policy=Policy(on_change=refuse))
        with pytest.raises(LookupError):
            await tenancy.create_org(user, slug="unwanted")
        await AsyncTenancyRepository(session).create_org(user, slug="wanted")
    assert told == ["create_org"]
    with Session(db) as reader:
        assert [org.slug for org in TenancyRepository(reader).list_orgs()] == ["wanted"]
