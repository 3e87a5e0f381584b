"""Dependencies: a repository on the request's Session, and the guard of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Depends, Path
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from ...aio import AsyncTenancyRepository
from ...clock import Clock, utc_now
from ...models import Membership
from ...policy import LETTER, Policy
from ...repository import TenancyRepository
from ...transactions.sessions import AnySession
from ...values import Role
from .._http import Caller, membership_in, named_in

S = TypeVar("S")
T = TypeVar("T")

Dependency = Callable[..., Any]


def request_session(session: Dependency) -> Any:
    """Return the marker of a parameter that takes the request's Session.

    What the dependency does after its ``yield``, a commit above all, happens before the response
    goes out; FastAPI's default is afterwards, when a failure can no longer be told to anybody.
    """
    return Depends(session, scope="function")


def its_own(session: object, kind: type[S]) -> S:
    """Return the request's Session, which must be one: a registry has another for each thread."""
    if isinstance(session, kind):
        return session
    given = type(session).__name__
    raise TypeError(f"the dependency must yield the request's {kind.__name__}, not {given}")


class ThreadedRepository(TenancyRepository):
    """A repository that lets its own thread wait, and never the event loop, with all requests."""

    @property
    def session(self) -> AnySession:
        """The Session, for whoever is not in the event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._session
        raise RuntimeError(
            "a synchronous repository would block the event loop: use it in `def` endpoints and "
            "dependencies, or take async_repository"
        )

    @session.setter
    def session(self, session: AnySession) -> None:
        self._session = session


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

    def provide(session: Any = its_session) -> TenancyRepository:
        return ThreadedRepository(its_own(session, Session), clock=clock, policy=policy)

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

    def provide(session: Any = its_session) -> AsyncTenancyRepository:
        return AsyncTenancyRepository(its_own(session, AsyncSession), clock=clock, policy=policy)

    return provide


def require_role(
    *roles: Role | str, session: Dependency, caller: Dependency, path: str = "org_id"
) -> Callable[..., Coroutine[Any, Any, Membership]]:
    """Return the dependency that lets a request pass if its caller holds one of some roles.

    It answers 404 where there is no such organization, or the caller is no active member of it,
    and 403 to members who have none of the roles, or if the organization is suspended.

    Args:
        roles: the roles that may pass; any, if none is named.
        session: the application's dependency that yields a ``Session`` or an ``AsyncSession``.
        caller: the application's dependency that returns the `Caller`.
        path: the path parameter that names the organization, by wire id or by slug.

    Returns:
        A dependency, of HTTP endpoints and of WebSockets, whose value is the caller's `Membership`.

    Raises:
        PreconditionError: ``role_format``; one of the roles is none.
    """
    its_session = request_session(session)
    allowed = [Role.parse(role, "roles") for role in roles]

    async def located(connection: HTTPConnection) -> str:
        return named_in(connection.path_params, path)

    async def guard(
        named: str = Depends(located),
        session: Any = its_session,
        caller: Caller = Depends(caller),
        _: str = Path(alias=path),  # for the document
    ) -> Membership:
        def check(tenancy: TenancyRepository) -> Membership:
            return membership_in(tenancy, named, caller.usr_id, *allowed)

        return await perform(session, check)

    return guard


async def perform(
    session: object,
    action: Callable[[TenancyRepository], T],
    tenancy: Callable[[Session], TenancyRepository] = TenancyRepository,
) -> T:
    """Run what is written once for the repository, on whichever Session the request has."""
    if isinstance(session, AsyncSession):
        return await session.run_sync(lambda sync: action(tenancy(sync)))
    return await run_in_threadpool(lambda: action(tenancy(its_own(session, Session))))
