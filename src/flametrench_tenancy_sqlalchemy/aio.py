"""The async door to the same repository: every operation, awaited.

There is no second copy of anything here. An operation runs as it is, in the greenlet that
SQLAlchemy's asyncio extension provides (extra ``asyncio``), and its database calls are awaited.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import stamina
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session

from . import neighbours, replicas
from ._integrity import is_transient
from .audit import AuditLog
from .audit.base import STREAMED
from .authority import Actor
from .clock import Clock, utc_now
from .policy import LETTER, Policy
from .repository import TenancyRepository
from .repository.acting import ActingTenancy, ActsForUsers, ForOneUser, for_actor
from .repository.operation import Kind, Unit, kind_of
from .store import ATTEMPTS, WAITS, may_try_again
from .transactions.own import commit, committed, own, require_factory, rules_in_our_words
from .transactions.savepoint import savepoint
from .transactions.sessions import AnySession, connection_of, in_transaction

if TYPE_CHECKING:
    import psycopg

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

AsyncSessionFactory = Callable[[], AsyncSession]
AnyAsyncSession = AsyncSession | async_scoped_session[AsyncSession]


def _itself(session: AnyAsyncSession) -> AsyncSession:
    """Return the Session that a scoped one stands for."""
    return session() if isinstance(session, async_scoped_session) else session


class _Door(Protocol[T_co]):
    """Whatever can run an operation and await its result."""

    async def _run(
        self,
        operation: Callable[Concatenate[T_co, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...


def _awaited(
    method: Callable[Concatenate[T, P], R],
) -> Callable[Concatenate[_Door[T], P], Coroutine[Any, Any, R]]:
    """Make an operation of the repository one that is awaited, signature and all."""

    @functools.wraps(method)
    async def call(self: _Door[T], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(method, *args, **kwargs)

    return call


def _streamed(
    method: Callable[Concatenate[T, P], Iterator[R]],
) -> Callable[Concatenate[_Door[T], P], AsyncIterator[R]]:
    """Make what returns an iterator one whose rows are awaited, a thousand at a time."""

    @functools.wraps(method)
    async def stream(self: _Door[T], /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        rows = await self._run(method, *args, **kwargs)
        while held := await self._run(lambda _: [*islice(rows, STREAMED)]):
            for row in held:
                yield row

    return stream


class AsyncActingTenancy(ForOneUser):
    """The operations of `ActingTenancy`, awaited."""

    def __init__(self, door: _Door[TenancyRepository], actor: Actor) -> None:
        self._door = door
        self._actor = actor

    create_org = _awaited(ActingTenancy.create_org)
    get_org = _awaited(ActingTenancy.get_org)
    get_org_by_slug = _awaited(ActingTenancy.get_org_by_slug)
    update_org = _awaited(ActingTenancy.update_org)
    suspend_org = _awaited(ActingTenancy.suspend_org)
    reinstate_org = _awaited(ActingTenancy.reinstate_org)
    revoke_org = _awaited(ActingTenancy.revoke_org)
    list_orgs = _awaited(ActingTenancy.list_orgs)

    list_memberships = _awaited(ActingTenancy.list_memberships)
    require_role = _awaited(ActingTenancy.require_role)
    role_of = _awaited(ActingTenancy.role_of)
    list_members = _awaited(ActingTenancy.list_members)
    count_members = _awaited(ActingTenancy.count_members)
    count_seats = _awaited(ActingTenancy.count_seats)
    get_membership = _awaited(ActingTenancy.get_membership)
    find_membership = _awaited(ActingTenancy.find_membership)
    add_member = _awaited(ActingTenancy.add_member)
    add_members = _awaited(ActingTenancy.add_members)
    change_role = _awaited(ActingTenancy.change_role)
    change_roles = _awaited(ActingTenancy.change_roles)
    suspend_membership = _awaited(ActingTenancy.suspend_membership)
    reinstate_membership = _awaited(ActingTenancy.reinstate_membership)
    self_leave = _awaited(ActingTenancy.self_leave)
    admin_remove = _awaited(ActingTenancy.admin_remove)
    remove_members = _awaited(ActingTenancy.remove_members)
    transfer_ownership = _awaited(ActingTenancy.transfer_ownership)
    offboard_user = _awaited(ActingTenancy.offboard_user)

    create_invitation = _awaited(ActingTenancy.create_invitation)
    create_invitations = _awaited(ActingTenancy.create_invitations)
    get_invitation = _awaited(ActingTenancy.get_invitation)
    list_invitations = _awaited(ActingTenancy.list_invitations)
    accept_invitation = _awaited(ActingTenancy.accept_invitation)
    decline_invitation = _awaited(ActingTenancy.decline_invitation)
    revoke_invitation = _awaited(ActingTenancy.revoke_invitation)
    renew_invitation = _awaited(ActingTenancy.renew_invitation)
    preview_invitation = _awaited(ActingTenancy.preview_invitation)
    inbox = _awaited(ActingTenancy.inbox)
    erase_identifier = _awaited(ActingTenancy.erase_identifier)
    expire_invitations = _awaited(ActingTenancy.expire_invitations)

    async def _run(
        self,
        operation: Callable[Concatenate[ActingTenancy, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        return await self._door._run(for_actor(self._actor, operation), *args, **kwargs)


class _Operations(ActsForUsers[AsyncActingTenancy]):
    """The operations of `TenancyRepository`, awaited."""

    create_org = _awaited(TenancyRepository.create_org)
    get_org = _awaited(TenancyRepository.get_org)
    get_org_by_slug = _awaited(TenancyRepository.get_org_by_slug)
    update_org = _awaited(TenancyRepository.update_org)
    suspend_org = _awaited(TenancyRepository.suspend_org)
    reinstate_org = _awaited(TenancyRepository.reinstate_org)
    revoke_org = _awaited(TenancyRepository.revoke_org)
    list_orgs = _awaited(TenancyRepository.list_orgs)

    add_member = _awaited(TenancyRepository.add_member)
    get_membership = _awaited(TenancyRepository.get_membership)
    find_membership = _awaited(TenancyRepository.find_membership)
    require_role = _awaited(TenancyRepository.require_role)
    list_members = _awaited(TenancyRepository.list_members)
    count_members = _awaited(TenancyRepository.count_members)
    count_seats = _awaited(TenancyRepository.count_seats)
    role_of = _awaited(TenancyRepository.role_of)
    list_memberships = _awaited(TenancyRepository.list_memberships)
    change_role = _awaited(TenancyRepository.change_role)
    suspend_membership = _awaited(TenancyRepository.suspend_membership)
    reinstate_membership = _awaited(TenancyRepository.reinstate_membership)
    self_leave = _awaited(TenancyRepository.self_leave)
    admin_remove = _awaited(TenancyRepository.admin_remove)
    offboard_user = _awaited(TenancyRepository.offboard_user)
    transfer_ownership = _awaited(TenancyRepository.transfer_ownership)

    create_invitation = _awaited(TenancyRepository.create_invitation)
    get_invitation = _awaited(TenancyRepository.get_invitation)
    list_invitations = _awaited(TenancyRepository.list_invitations)
    accept_invitation = _awaited(TenancyRepository.accept_invitation)
    decline_invitation = _awaited(TenancyRepository.decline_invitation)
    revoke_invitation = _awaited(TenancyRepository.revoke_invitation)
    renew_invitation = _awaited(TenancyRepository.renew_invitation)
    expire_invitations = _awaited(TenancyRepository.expire_invitations)
    preview_invitation = _awaited(TenancyRepository.preview_invitation)
    list_invitations_for = _awaited(TenancyRepository.list_invitations_for)
    erase_identifier = _awaited(TenancyRepository.erase_identifier)

    add_members = _awaited(TenancyRepository.add_members)
    create_invitations = _awaited(TenancyRepository.create_invitations)
    change_roles = _awaited(TenancyRepository.change_roles)
    remove_members = _awaited(TenancyRepository.remove_members)

    list_tuples_for_subject = _awaited(TenancyRepository.list_tuples_for_subject)
    list_tuples_for_object = _awaited(TenancyRepository.list_tuples_for_object)

    @abstractmethod
    async def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...

    def _for(self, actor: Actor) -> AsyncActingTenancy:
        return AsyncActingTenancy(self, actor)


def _cancellable(unit: Unit) -> Unit:
    """Return a unit of work that may be cancelled at any statement.

    SQLAlchemy gives up a connection whose statement was cancelled, so that none in an unknown
    state comes back to the pool. psycopg hides some cancellations from it: one that meets the
    start of an ``executemany`` ends in an `AssertionError`, with the connection left in pipeline
    mode.
    """

    @contextmanager
    def cancellable(session: AnySession, operation: str) -> Iterator[None]:
        connection = connection_of(session)
        with unit(session, operation):
            try:
                yield
                session.flush()
            except AssertionError as exc:
                if not isinstance(exc.__context__, CancelledError):
                    raise
                connection.invalidate(exc)
                raise exc.__context__ from None

    return cancellable


_savepoint, _own = _cancellable(savepoint), _cancellable(own)


class AsyncTenancyRepository(_Operations):
    """Organizations, memberships and invitations, inside the caller's async transaction.

    The same promises as `TenancyRepository`: savepoints of the caller's transaction, flushed, and
    never committed, rolled back or closed. What an operation returns is fully loaded; to read it
    after a commit, make the Session with ``expire_on_commit=False``.

    Args:
        session: the caller's ``AsyncSession``, or an ``async_scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """

    def __init__(
        self, session: AnyAsyncSession, *, clock: Clock = utc_now, policy: Policy = LETTER
    ) -> None:
        self.session = session
        self._repository = partial(
            TenancyRepository._within, _savepoint, clock=clock, policy=policy
        )

    async def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        def run(session: Session) -> R:
            return operation(self._repository(session), *args, **kwargs)

        return await _itself(self.session).run_sync(run)


class AsyncAuditLog:
    """The audit log, inside the caller's async transaction; see `AuditLog`.

    Args:
        session: the caller's ``AsyncSession``, or an ``async_scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
    """

    def __init__(self, session: AnyAsyncSession, *, clock: Clock = utc_now) -> None:
        self.session = session
        self._clock = clock

    write = _awaited(AuditLog.write)
    get = _awaited(AuditLog.get)
    query = _awaited(AuditLog.query)
    count = _awaited(AuditLog.count)
    export = _streamed(AuditLog.export)
    follow = _awaited(AuditLog.follow)
    behind = _awaited(AuditLog.behind)
    skip = _awaited(AuditLog.skip)
    lag = _awaited(AuditLog.lag)
    members_at = _awaited(AuditLog.members_at)
    role_at = _awaited(AuditLog.role_at)
    timeline = _streamed(AuditLog.timeline)

    async def _run(
        self,
        operation: Callable[Concatenate[AuditLog, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        def run(session: Session) -> R:
            return operation(AuditLog(session, clock=self._clock), *args, **kwargs)

        return await _itself(self.session).run_sync(run)


@asynccontextmanager
async def unit_of_work(
    session_factory: AsyncSessionFactory, *, clock: Clock = utc_now, policy: Policy = LETTER
) -> AsyncIterator[AsyncTenancyRepository]:
    """Run several operations in one transaction, committed at the end of the block.

    Args:
        session_factory: returns a new ``AsyncSession``; an ``async_sessionmaker`` does.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.

    Yields:
        A repository; its ``session`` takes the caller's own rows into the same transaction.

    Raises:
        TypeError: ``session_factory`` is an ``async_scoped_session``, whose Session is in use.
        TenancyError: at the commit; what was written breaks a rule that the schema upholds, or a
            lock was not to be had in time.
        OutcomeUnknownError: the connection was lost at the commit.
    """
    require_factory(session_factory, "session_factory", async_scoped_session)
    async with session_factory() as session:
        with rules_in_our_words():
            async with session.begin():
                yield AsyncTenancyRepository(session, clock=clock, policy=policy)
                if session.in_transaction():  # which the block may have ended itself
                    await session.run_sync(commit)


class AsyncTenancyStore(_Operations):
    """The operations of tenancy, each awaited in a transaction of its own.

    What an operation returns is detached and stays readable. A serialization failure or deadlock
    is tried again, at once and then after growing, jittered waits; the last one is raised as it is.
    What has waited too long, for a lock or a connection, is not: the caller has waited already.
    Nor is what may have been committed: of all errors, `OutcomeUnknownError` alone leaves it open.

    Args:
        session_factory: returns a new ``AsyncSession`` for each call; an ``async_sessionmaker``
            does.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
        attempts: how often an operation is tried at the most.
        reads: returns a new ``AsyncSession`` for each operation that only reads, say on a replica
            or an engine in AUTOCOMMIT; the same factory, if no other is given.
        guards: returns a new ``AsyncSession`` for each operation that lets requests pass
            (``require_role``, ``role_of``, ``find_membership``), which no replica can answer; the
            first factory, if no other is given, say one on the primary in AUTOCOMMIT.

    Raises:
        TypeError: a factory is an ``async_scoped_session``, whose Session is in use.
    """

    def __init__(
        self,
        session_factory: AsyncSessionFactory,
        *,
        clock: Clock = utc_now,
        policy: Policy = LETTER,
        attempts: int = ATTEMPTS,
        reads: AsyncSessionFactory | None = None,
        guards: AsyncSessionFactory | None = None,
    ) -> None:
        require_factory(session_factory, "session_factory", async_scoped_session)
        require_factory(reads, "reads", async_scoped_session)
        require_factory(guards, "guards", async_scoped_session)
        self._session_factory = session_factory
        self._elsewhere = {Kind.READS: reads, Kind.GUARDS: guards}
        self._repository = partial(TenancyRepository._within, _own, clock=clock, policy=policy)
        self._attempts = attempts

    async def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        attempts = self._attempts
        if not stamina.is_testing():  # which counts attempts by itself
            attempts -= 1
            try:
                return await self._once(operation, *args, **kwargs)
            except DBAPIError as exc:
                if not may_try_again(exc, attempts):
                    raise
        # Only now: preparing for retries takes longer than many an operation.
        again = stamina.AsyncRetryingCaller(attempts=attempts, **WAITS).on(is_transient)
        return await again(self._once, operation, *args, **kwargs)

    async def _once(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        kind = kind_of(operation)

        def run(session: Session) -> R:
            with committed(session, writes=kind is Kind.WRITES):
                return operation(self._repository(session), *args, **kwargs)

        factory = self._elsewhere.get(kind) or self._session_factory
        async with factory() as session:
            return await session.run_sync(run)


async def position(session: AnyAsyncSession) -> str:
    """Return how far the primary has come, as ``replicas.position`` does."""
    return await _itself(session).run_sync(replicas.position)


async def wait_for(
    session: AnyAsyncSession, position: str, *, timeout: float = replicas.TIMEOUT
) -> None:
    """Wait until a replica shows all that was committed before a position.

    As ``replicas.wait_for`` does, with the same arguments and errors.
    """
    await _itself(session).run_sync(replicas.wait_for, position, timeout=timeout)


@asynccontextmanager
async def neighbour(session: AnyAsyncSession) -> AsyncIterator[Any]:
    """Lend a Session's connection to somebody who speaks to the driver, inside its transaction.

    As the synchronous one does. What the Session holds is to be refreshed before it is read
    again, all but the keys.

    Args:
        session: the caller's ``AsyncSession``, or an ``async_scoped_session``.

    Yields:
        The driver's own connection: psycopg's ``AsyncConnection``, or asyncpg's.

    Raises:
        InvalidRequestError: there is no transaction to take part in; SQLAlchemy's error.
    """
    session = _itself(session)
    lending = neighbours.neighbour(session.sync_session)

    def end(_: Session, *exc_info: Any) -> bool | None:
        return lending.__exit__(*exc_info)

    async with AsyncExitStack() as stack:
        connection = await session.run_sync(lambda _: lending.__enter__())
        stack.push_async_exit(partial(session.run_sync, end))
        yield connection


def repository_on(
    connection: psycopg.AsyncConnection[Any], *, clock: Clock = utc_now, policy: Policy = LETTER
) -> AsyncTenancyStore:
    """Return the operations of tenancy on a psycopg connection that others own.

    Each is to the connection what its own ``transaction()`` is: a savepoint where a transaction is
    open, which it never ends, or else a transaction of its own. What it returns is detached and
    stays readable. In pipeline mode operations are refused.

    Args:
        connection: the connection, in autocommit or not.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.

    Raises:
        TypeError: it is no ``psycopg.AsyncConnection``.
    """
    return _AsyncVisitor(connection, clock=clock, policy=policy)


class _AsyncVisitor(AsyncTenancyStore):
    """The operations of tenancy in the transaction that is open, or each in one of its own."""

    def __init__(self, host: psycopg.AsyncConnection[Any], *, clock: Clock, policy: Policy) -> None:
        from .transactions import visits  # noqa: PLC0415 - needs psycopg, an extra

        visits.require_connection(host, "AsyncConnection")
        super().__init__(async_sessionmaker(_engine()), clock=clock, policy=policy)
        self._host, self._visit = host, partial(visits.at, host)
        self._joining = partial(TenancyRepository._within, _savepoint, clock=clock, policy=policy)

    async def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        def join(session: Session) -> R:
            with committed(session):
                return operation(self._joining(session), *args, **kwargs)

        with self._visit():
            if not in_transaction(self._host):
                return await super()._run(operation, *args, **kwargs)
            async with self._session_factory() as session:
                return await session.run_sync(join)


@functools.cache
def _engine() -> AsyncEngine:
    """Return the engine of all visits: one dialect, one cache of statements."""
    from .transactions import visits  # noqa: PLC0415 - needs psycopg, an extra

    async def nothing() -> None:
        pass

    async def arrive() -> visits.Guest:
        return visits.Guest(visits.AsyncCursor, nothing)

    engine = create_async_engine(visits.URL, async_creator=arrive, **visits.OPTIONS)
    visits.begin_and_end(engine.sync_engine)
    return engine
