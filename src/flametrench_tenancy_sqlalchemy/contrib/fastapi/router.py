"""The tenancy endpoints of the specification's HTTP surface, to be mounted by an application."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from ...clock import Clock, utc_now
from ...policy import LETTER, Policy
from ...repository import TenancyRepository
from .._endpoints import ENDPOINTS, LOG_ENDPOINTS, Endpoint, For, MayGrant
from .._http import Caller
from .dependencies import Dependency, perform, request_session
from .errors import RESPONSES, route_within


def tenancy_router(
    *,
    session: Dependency,
    caller: Dependency,
    gate: Dependency,
    may_grant: MayGrant | None = None,
    log: bool = False,
    clock: Clock = utc_now,
    policy: Policy = LETTER,
    **options: Any,
) -> APIRouter:
    """Return the tenancy endpoints, each of which is one operation of `acting_as` its caller.

    Members see; owners and admins manage; only owners touch ownership and the organization's
    life; nobody acts for another, and nobody gives a role above their own. What belongs to another
    organization is not found.

    The endpoints never commit: the Session is the application's, and so is its dependency, which
    commits after its ``yield``, and rolls back where an error comes out of it. It is asked for
    with ``Depends(session, scope="function")``, so that it has committed before the response goes
    out; whatever else of the request uses the same Session must ask for it in the same way.

    Args:
        session: the dependency that yields the request's ``Session`` or ``AsyncSession``.
        caller: the dependency that returns the `Caller`, from authentication alone.
        gate: the dependency that lets nobody but the operator list all organizations.
        may_grant: tells, of the request's ``Session``, the caller, the wire id of an organization
            and a well-formed pre-tuple, whether the caller may promise it there; without it no
            invitation may carry any, since only the application knows who may share its objects.
        log: whether the database has the opt-in audit log, which owners and admins then read.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
        options: what else `fastapi.APIRouter` takes, such as ``prefix`` or ``tags``.

    Specification: openapi/flametrench-v0.1.yaml and its additions.
    """
    options.setdefault("tags", ["tenancy"])
    router = APIRouter(route_class=route_within(policy.limits), responses=RESPONSES, **options)
    tenancy = partial(TenancyRepository, clock=clock, policy=policy)
    for endpoint in [*ENDPOINTS, *(LOG_ENDPOINTS if log else ())]:
        asks = {"session": request_session(session)}
        if endpoint.open_to is For.CALLER:
            asks["caller"] = Depends(caller)
        router.add_api_route(
            endpoint.path,
            _view(endpoint, asks, tenancy, may_grant),
            methods=[endpoint.method],
            name=endpoint.name,
            description=inspect.getdoc(endpoint.action),
            response_model=endpoint.answer,
            status_code=endpoint.status,
            dependencies=[Depends(gate)] if endpoint.open_to is For.OPERATOR else [],
        )
    return router


def _view(
    endpoint: Endpoint,
    asks: Mapping[str, Any],
    tenancy: Callable[..., TenancyRepository],
    may_grant: MayGrant | None,
) -> Callable[..., Any]:
    """Return the function that FastAPI calls, whose signature says what it takes."""

    async def view(*, session: object, caller: Caller | None = None, **arguments: Any) -> BaseModel:
        return await perform(
            session, lambda on: endpoint.perform(on, caller, may_grant, arguments), tenancy
        )

    parameters = [
        *map(_in_the_query, endpoint.parameters),
        *(Parameter(name, Parameter.KEYWORD_ONLY, default=asked) for name, asked in asks.items()),
    ]
    view.__dict__["__signature__"] = inspect.Signature(parameters)
    view.__name__ = endpoint.name
    return view


def _in_the_query(parameter: Parameter) -> Parameter:
    if parameter.name != "query":
        return parameter
    return parameter.replace(annotation=Annotated[parameter.annotation, Query()])
