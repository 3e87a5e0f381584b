"""The extension: tenancy on the application's scoped session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

from flask import Blueprint, Flask, Response, current_app, g, request
from sqlalchemy.orm import Session, scoped_session

from ...clock import Clock, utc_now
from ...errors import TenancyError
from ...policy import LETTER, Policy
from ...repository import TenancyRepository
from ...values import Role
from .._endpoints import MayGrant
from .._http import Caller, body_of, membership_in, named_in, status_of
from .blueprint import add_endpoints

View = TypeVar("View", bound=Callable[..., Any])


class Tenancy:
    """The extension: binds tenancy to the application's scoped session.

    It never commits; that is the view's to do, as for all other rows, and the blueprint's views do.
    What the session does at the end of a request is the application's business too:
    Flask-SQLAlchemy removes its own.

    Args:
        session: Flask-SQLAlchemy's ``db.session``, or any other ``scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """

    def __init__(
        self,
        session: scoped_session[Session],
        *,
        clock: Clock = utc_now,
        policy: Policy = LETTER,
    ) -> None:
        self._session = session
        self._limits = policy.limits
        self._repository = partial(TenancyRepository, clock=clock, policy=policy)

    def init_app(self, app: Flask) -> None:
        """Answer every `TenancyError` that leaves a view with ``{"code", "message", "details"}``.

        Args:
            app: the application.
        """
        app.extensions["flametrench_tenancy"] = self
        app.register_error_handler(TenancyError, error_response)

    @property
    def repository(self) -> TenancyRepository:
        """A repository on the session of the current request."""
        return self._repository(self._session())

    def require_role(
        self, *roles: Role | str, caller: Callable[[], Caller], arg: str = "org_id"
    ) -> Callable[[View], View]:
        """Return the decorator of views that lets a request pass if its caller holds a role.

        It answers 404 where there is no such organization, or the caller is no active member of
        it, and 403 to members who have none of the roles, or if the organization is suspended. The
        view finds their membership at ``flask.g.membership``.

        Args:
            roles: the roles that may pass; any, if none is named.
            caller: returns the `Caller`, from authentication alone, or aborts.
            arg: the view's argument that names the organization, by wire id or by slug.

        Raises:
            PreconditionError: ``role_format``; one of the roles is none.
        """
        allowed = [Role.parse(role, "roles") for role in roles]

        def decorate(view: View) -> View:
            @wraps(view)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                named = named_in(request.view_args or {}, arg)
                g.membership = membership_in(self.repository, named, caller().usr_id, *allowed)
                return current_app.ensure_sync(view)(*args, **kwargs)

            return cast("View", guarded)

        return decorate

    def blueprint(
        self,
        *,
        caller: Callable[[], Caller],
        gate: Callable[[], object],
        may_grant: MayGrant | None = None,
        log: bool = False,
        **options: Any,
    ) -> Blueprint:
        """Return the tenancy endpoints, each of which is one operation of `acting_as` its caller.

        They are those of FastAPI's `tenancy_router`. Each commits the session before it answers,
        and rolls it back where it refuses.

        Args:
            caller: returns the `Caller`, from authentication alone, or aborts.
            gate: aborts unless it is the operator, who may list all organizations.
            may_grant: tells, of the request's ``Session``, the caller, the wire id of an
                organization and a well-formed pre-tuple, whether the caller may promise it there;
                without it no invitation may carry any.
            log: whether the database has the opt-in audit log, which owners and admins then read.
            options: what else `flask.Blueprint` takes, such as ``name`` or ``url_prefix``.

        Specification: openapi/flametrench-v0.1.yaml and its additions.
        """
        options = {"name": "tenancy", "import_name": __name__} | options
        blueprint = Blueprint(**options)
        blueprint.register_error_handler(TenancyError, error_response)
        add_endpoints(
            blueprint,
            session=self._session,
            tenancy=lambda: self.repository,
            limits=self._limits,
            caller=caller,
            gate=gate,
            may_grant=may_grant,
            log=log,
        )
        return blueprint


def error_response(exc: TenancyError) -> Response:
    """Return the response for an error; it does not tell a stranger whom an invitation is for."""
    return Response(body_of(exc), status_of(exc), content_type="application/json")
