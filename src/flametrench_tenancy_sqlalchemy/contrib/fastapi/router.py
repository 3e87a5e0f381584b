"""The tenancy endpoints of the specification's HTTP surface, to be mounted by an application."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Depends

from ...clock import Clock, utc_now
from ...policy import LETTER, Policy
from ...repository import TenancyRepository
from . import invitations, members, organizations
from .access import MayGrant
from .dependencies import Dependency, Endpoint, request_session
from .errors import RESPONSES, route_within


def tenancy_router(
    *,
    session: Dependency,
    caller: Dependency,
    gate: Dependency,
    may_grant: MayGrant | None = None,
    clock: Clock = utc_now,
    policy: Policy = LETTER,
    **options: Any,
) -> APIRouter:
    """Return the tenancy endpoints, every one of which checks its caller.

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
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
        options: what else `fastapi.APIRouter` takes, such as ``prefix`` or ``tags``.

    Specification: openapi/flametrench-v0.1.yaml and its additions.
    """
    options.setdefault("tags", ["tenancy"])
    router = APIRouter(route_class=route_within(policy.limits), responses=RESPONSES, **options)
    endpoint = Endpoint(
        session=request_session(session),
        caller=Depends(caller),
        tenancy=partial(TenancyRepository, clock=clock, policy=policy),
    )
    organizations.add_routes(router, endpoint, gate=Depends(gate))
    members.add_routes(router, endpoint)
    invitations.add_routes(router, endpoint, may_grant=may_grant)
    return router
