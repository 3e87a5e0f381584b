"""The standalone forms: a transaction for each call, or one for several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Concatenate, Final, ParamSpec, Protocol, TypedDict, TypeVar

import stamina
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ._integrity import is_transient
from .authority import Actor
from .clock import Clock, utc_now
from .policy import LETTER, Policy
from .repository import TenancyRepository
from .repository.acting import ActingTenancy, for_actor
from .repository.actors import ActsForUsers, ForOneUser
from .repository.kinds import Kind, kind_of
from .transactions.own import commit, committed, own, require_factory, rules_in_our_words

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

SessionFactory = Callable[[], Session]

ATTEMPTS: Final = 5


class Waits(TypedDict):
    """How long to wait between attempts, in seconds."""

    timeout: float | None
    wait_initial: float
    wait_max: float
    wait_jitter: float


WAITS: Final[Waits] = {"timeout": None, "wait_initial": 0.01, "wait_max": 1, "wait_jitter": 0.05}


@contextmanager
def unit_of_work(
    session_factory: SessionFactory, *, clock: Clock = utc_now, policy: Policy = LETTER
) -> Iterator[TenancyRepository]:
    """Run several operations in one transaction, committed at the end of the block.

    Args:
        session_factory: returns a new Session; a ``sessionmaker`` does.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.

    Yields:
        A repository; its ``session`` takes the caller's own rows into the same transaction.

    Raises:
        TypeError: ``session_factory`` is a ``scoped_session``, whose Session is in use.
        TenancyError: at the commit; what was written breaks a rule that the schema upholds, or a
            lock was not to be had in time.
        OutcomeUnknownError: the connection was lost at the commit.
    """
    require_factory(session_factory, "session_factory")
    with session_factory() as session, rules_in_our_words(), session.begin():
        yield TenancyRepository(session, clock=clock, policy=policy)
        if session.in_transaction():  # which the block may have ended itself
            commit(session)


def may_try_again(exc: DBAPIError, attempts: int) -> bool:
    """Tell whether an operation that failed may be tried again, with so many attempts left."""
    return attempts > 0 and stamina.is_active() and is_transient(exc)


class _Runs(Protocol[T_co]):
    """Whatever can run an operation in a transaction of its own."""

    def _run(
        self,
        operation: Callable[Concatenate[T_co, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...


def _standalone(
    method: Callable[Concatenate[T, P], R],
) -> Callable[Concatenate[_Runs[T], P], R]:
    """Make an operation of the repository one of the store, signature and all."""

    @functools.wraps(method)
    def call(self: _Runs[T], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(method, *args, **kwargs)

    return call


class ActingTenancyStore(ForOneUser):
    """The operations of `ActingTenancy`, each in a transaction of its own."""

    def __init__(self, store: TenancyStore, actor: Actor) -> None:
        self._store = store
        self._actor = actor

    create_org = _standalone(ActingTenancy.create_org)
    get_org = _standalone(ActingTenancy.get_org)
    get_org_by_slug = _standalone(ActingTenancy.get_org_by_slug)
    update_org = _standalone(ActingTenancy.update_org)
    suspend_org = _standalone(ActingTenancy.suspend_org)
    reinstate_org = _standalone(ActingTenancy.reinstate_org)
    revoke_org = _standalone(ActingTenancy.revoke_org)
    list_orgs = _standalone(ActingTenancy.list_orgs)

    list_memberships = _standalone(ActingTenancy.list_memberships)
    require_role = _standalone(ActingTenancy.require_role)
    role_of = _standalone(ActingTenancy.role_of)
    list_members = _standalone(ActingTenancy.list_members)
    count_members = _standalone(ActingTenancy.count_members)
    count_seats = _standalone(ActingTenancy.count_seats)
    get_membership = _standalone(ActingTenancy.get_membership)
    find_membership = _standalone(ActingTenancy.find_membership)
    add_member = _standalone(ActingTenancy.add_member)
    add_members = _standalone(ActingTenancy.add_members)
    change_role = _standalone(ActingTenancy.change_role)
    change_roles = _standalone(ActingTenancy.change_roles)
    suspend_membership = _standalone(ActingTenancy.suspend_membership)
    reinstate_membership = _standalone(ActingTenancy.reinstate_membership)
    self_leave = _standalone(ActingTenancy.self_leave)
    admin_remove = _standalone(ActingTenancy.admin_remove)
    remove_members = _standalone(ActingTenancy.remove_members)
    transfer_ownership = _standalone(ActingTenancy.transfer_ownership)
    offboard_user = _standalone(ActingTenancy.offboard_user)

    create_invitation = _standalone(ActingTenancy.create_invitation)
    create_invitations = _standalone(ActingTenancy.create_invitations)
    get_invitation = _standalone(ActingTenancy.get_invitation)
    list_invitations = _standalone(ActingTenancy.list_invitations)
    accept_invitation = _standalone(ActingTenancy.accept_invitation)
    decline_invitation = _standalone(ActingTenancy.decline_invitation)
    revoke_invitation = _standalone(ActingTenancy.revoke_invitation)
    renew_invitation = _standalone(ActingTenancy.renew_invitation)
    preview_invitation = _standalone(ActingTenancy.preview_invitation)
    inbox = _standalone(ActingTenancy.inbox)
    erase_identifier = _standalone(ActingTenancy.erase_identifier)
    expire_invitations = _standalone(ActingTenancy.expire_invitations)

    def _run(
        self,
        operation: Callable[Concatenate[ActingTenancy, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        return self._store._run(for_actor(self._actor, operation), *args, **kwargs)


class TenancyStore(ActsForUsers[ActingTenancyStore]):
    """The operations of tenancy, each in a transaction of its own.

    What an operation returns is detached and stays readable. A serialization failure or deadlock
    is tried again, at once and then after growing, jittered waits; the last one is raised as it is.
    What has waited too long, for a lock or a connection, is not: the caller has waited already.
    Nor is what may have been committed: of all errors, `OutcomeUnknownError` alone leaves it open.

    Args:
        session_factory: returns a new Session for each call; a ``sessionmaker`` does.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
        attempts: how often an operation is tried at the most.
        reads: returns a new Session for each operation that only reads, say on a replica, or on
            an engine in AUTOCOMMIT, where a read is one wait for the server; the same factory, if
            no other is given.
        guards: returns a new Session for each operation that lets requests pass (``require_role``,
            ``role_of``, ``find_membership``), which no replica can answer; the first factory, if no
            other is given, say one on the primary in AUTOCOMMIT.

    Raises:
        TypeError: a factory is a ``scoped_session``, whose Session is in use.
    """

    def __init__(
        self,
        session_factory: SessionFactory,
        *,
        clock: Clock = utc_now,
        policy: Policy = LETTER,
        attempts: int = ATTEMPTS,
        reads: SessionFactory | None = None,
        guards: SessionFactory | None = None,
    ) -> None:
        require_factory(session_factory, "session_factory")
        require_factory(reads, "reads")
        require_factory(guards, "guards")
        self._session_factory = session_factory
        self._elsewhere = {Kind.READS: reads, Kind.GUARDS: guards}
        self._attempts = attempts
        self._repository = partial(TenancyRepository._within, own, clock=clock, policy=policy)

    create_org = _standalone(TenancyRepository.create_org)
    get_org = _standalone(TenancyRepository.get_org)
    get_org_by_slug = _standalone(TenancyRepository.get_org_by_slug)
    update_org = _standalone(TenancyRepository.update_org)
    suspend_org = _standalone(TenancyRepository.suspend_org)
    reinstate_org = _standalone(TenancyRepository.reinstate_org)
    revoke_org = _standalone(TenancyRepository.revoke_org)
    list_orgs = _standalone(TenancyRepository.list_orgs)

    add_member = _standalone(TenancyRepository.add_member)
    get_membership = _standalone(TenancyRepository.get_membership)
    find_membership = _standalone(TenancyRepository.find_membership)
    require_role = _standalone(TenancyRepository.require_role)
    list_members = _standalone(TenancyRepository.list_members)
    count_members = _standalone(TenancyRepository.count_members)
    count_seats = _standalone(TenancyRepository.count_seats)
    role_of = _standalone(TenancyRepository.role_of)
    list_memberships = _standalone(TenancyRepository.list_memberships)
    change_role = _standalone(TenancyRepository.change_role)
    suspend_membership = _standalone(TenancyRepository.suspend_membership)
    reinstate_membership = _standalone(TenancyRepository.reinstate_membership)
    self_leave = _standalone(TenancyRepository.self_leave)
    admin_remove = _standalone(TenancyRepository.admin_remove)
    offboard_user = _standalone(TenancyRepository.offboard_user)
    transfer_ownership = _standalone(TenancyRepository.transfer_ownership)

    create_invitation = _standalone(TenancyRepository.create_invitation)
    get_invitation = _standalone(TenancyRepository.get_invitation)
    list_invitations = _standalone(TenancyRepository.list_invitations)
    accept_invitation = _standalone(TenancyRepository.accept_invitation)
    decline_invitation = _standalone(TenancyRepository.decline_invitation)
    revoke_invitation = _standalone(TenancyRepository.revoke_invitation)
    renew_invitation = _standalone(TenancyRepository.renew_invitation)
    expire_invitations = _standalone(TenancyRepository.expire_invitations)
    preview_invitation = _standalone(TenancyRepository.preview_invitation)
    list_invitations_for = _standalone(TenancyRepository.list_invitations_for)
    erase_identifier = _standalone(TenancyRepository.erase_identifier)

    add_members = _standalone(TenancyRepository.add_members)
    create_invitations = _standalone(TenancyRepository.create_invitations)
    change_roles = _standalone(TenancyRepository.change_roles)
    remove_members = _standalone(TenancyRepository.remove_members)

    list_tuples_for_subject = _standalone(TenancyRepository.list_tuples_for_subject)
    list_tuples_for_object = _standalone(TenancyRepository.list_tuples_for_object)

    def _for(self, actor: Actor) -> ActingTenancyStore:
        return ActingTenancyStore(self, actor)

    def _run(
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
                return self._once(operation, *args, **kwargs)
            except DBAPIError as exc:
                if not may_try_again(exc, attempts):
                    raise
        # Only now: preparing for retries takes longer than many an operation.
        again = stamina.RetryingCaller(attempts=attempts, **WAITS).on(is_transient)
        return again(self._once, operation, *args, **kwargs)

    def _once(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        kind = kind_of(operation)
        factory = self._elsewhere.get(kind) or self._session_factory
        with factory() as session, committed(session, writes=kind is Kind.WRITES):
            return operation(self._repository(session), *args, **kwargs)
