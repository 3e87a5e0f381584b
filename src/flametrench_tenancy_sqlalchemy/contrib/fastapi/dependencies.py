"""Dependencies: a repository on the request's Session, and the guard of a request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from ...aio import AsyncTenancyRepository
from ...clock import Clock, utc_now
from ...models import Membership
from ...policy import LETTER, Policy
from ...repository import TenancyRepository
from ...values import Role
from .._http import membership_in

T = TypeVar("T")

Dependency = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as the application's authentication vouches for it.

    Attributes:
        usr_id: the calling user's wire id (``usr_…``).
        identifier: the identifier, an e-mail address as a rule, that has been proven to be
            theirs; without one the caller cannot accept or decline invitations.
    """

    usr_id: str
    identifier: str | None = None


def request_session(session: Dependency) -> Any:
    """Return the marker of a parameter that takes the request's Session.

    What the dependency does after its ``yield``, a commit above all, happens before the response
    goes out; FastAPI's default is afterwards, when a failure can no longer be told to anybody.
    """
    return Depends(session, scope="function")


def repository(
    session: Dependency, *, clock: Clock = utc_now, policy: Policy = LETTER
) -> Dependency:
    """Return the dependency that hands out a `TenancyRepository` on the request's Session.

    Args:
        session: the application's dependency that yields a ``Session``.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """
    its_session = request_session(session)

    def provide(session: Session = its_session) -> TenancyRepository:
        return TenancyRepository(session, clock=clock, policy=policy)

    return provide


def async_repository(
    session: Dependency, *, clock: Clock = utc_now, policy: Policy = LETTER
) -> Dependency:
    """Return the dependency that hands out an `AsyncTenancyRepository` on the request's Session.

    Args:
        session: the application's dependency that yields an ``AsyncSession``.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """
    its_session = request_session(session)

    def provide(session: AsyncSession = its_session) -> AsyncTenancyRepository:
        return AsyncTenancyRepository(session, clock=clock, policy=policy)

    return provide


def require_role(
    *roles: Role | str, session: Dependency, caller: Dependency, path: str = "org_id"
) -> Callable[..., Coroutine[Any, Any, Membership]]:
    """Return the dependency that lets a request pass if its caller holds one of some roles.

    It answers 404 where there is no such organization, and 403 where the caller is no active
    member with one of the roles, or the organization is not active.

    Args:
        roles: the roles that may pass; any, if none is named.
        session: the application's dependency that yields a ``Session`` or an ``AsyncSession``.
        caller: the application's dependency that returns the `Caller`.
        path: the path parameter that names the organization, by wire id or by slug.

    Returns:
        A dependency whose value is the caller's `Membership`.
    """
    its_session = request_session(session)

    async def guard(
        request: Request,
        session: Session | AsyncSession = its_session,
        caller: Caller = Depends(caller),
    ) -> Membership:
        named = request.path_params[path]

        def check(tenancy: TenancyRepository) -> Membership:
            return membership_in(tenancy, named, caller.usr_id, *roles)

        return await perform(session, check)

    return guard


async def perform(
    session: Session | AsyncSession,
    action: Callable[[TenancyRepository], T],
    tenancy: Callable[[Session], TenancyRepository] = TenancyRepository,
) -> T:
    """Run what is written once for the repository, on whichever Session the request has."""
    if isinstance(session, AsyncSession):
        return await session.run_sync(lambda sync: action(tenancy(sync)))
    return await run_in_threadpool(lambda: action(tenancy(session)))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What every endpoint of the router depends on."""

    session: Any
    caller: Any
    tenancy: Callable[[Session], TenancyRepository]

    async def perform(
        self, session: Session | AsyncSession, action: Callable[[TenancyRepository], T]
    ) -> T:
        """Run an endpoint's work on the request's Session."""
        return await perform(session, action, self.tenancy)
