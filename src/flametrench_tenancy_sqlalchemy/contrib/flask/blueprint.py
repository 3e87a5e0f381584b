"""The tenancy endpoints of the specification's HTTP surface, as a blueprint."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, get_origin

from flask import Blueprint, Response, request
from pydantic import BaseModel, ValidationError, create_model
from sqlalchemy.orm import Session, scoped_session
from werkzeug.exceptions import RequestEntityTooLarge

from ...policy import Limits
from ...repository import TenancyRepository
from .._endpoints import ENDPOINTS, LOG_ENDPOINTS, Endpoint, For, MayGrant
from .._http import Caller, RequestTooLargeError, json_of, malformed
from .._schemas import MembersQuery


def add_endpoints(
    blueprint: Blueprint,
    *,
    session: scoped_session[Session],
    tenancy: Callable[[], TenancyRepository],
    limits: Limits,
    caller: Callable[[], Caller],
    gate: Callable[[], object],
    may_grant: MayGrant | None,
    log: bool,
) -> None:
    """Add the endpoints to a blueprint; what an endpoint has done is committed before it answers.

    Args:
        blueprint: what they are added to.
        session: the application's session.
        tenancy: returns the repository of a request.
        limits: how long a body may be.
        caller: returns who is calling.
        gate: lets nobody but the operator pass.
        may_grant: tells what a caller may promise.
        log: whether there is an audit log to read.
    """

    def view_of(endpoint: Endpoint) -> Callable[..., Response]:
        request_model = _request_model(endpoint)

        def view(**path: str) -> Response:
            try:
                calling = caller() if endpoint.open_to is For.CALLER else None
                if endpoint.open_to is For.OPERATOR:
                    gate()
                arguments = path | _arguments(request_model, limits)
                answer = endpoint.perform(tenancy(), calling, may_grant, arguments)
                session.commit()
            except BaseException:
                session.rollback()
                raise
            return Response(answer.model_dump_json(), endpoint.status, mimetype="application/json")

        return view

    for endpoint in [*ENDPOINTS, *(LOG_ENDPOINTS if log else ())]:
        blueprint.add_url_rule(
            re.sub(r"{(\w+)}", r"<\1>", endpoint.path),
            endpoint.name,
            view_of(endpoint),
            methods=[endpoint.method],
        )


_LISTS: Final = frozenset(
    name
    for name, field in MembersQuery.model_fields.items()
    if get_origin(field.annotation) is list
)
"""Parameters of a query that may be repeated; of the others, the last one counts."""


def _request_model(endpoint: Endpoint) -> type[BaseModel]:
    """Return what a request's query and body must be, so that errors say in which of them."""
    fields: dict[str, Any] = {
        parameter.name: (
            parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in endpoint.parameters
        if parameter.name in {"query", "body"}
    }
    return create_model(endpoint.name, **fields)


def _arguments(model: type[BaseModel], limits: Limits) -> dict[str, Any]:
    """Return the current request's query and body, as far as the endpoint takes them.

    Raises:
        InvalidRequestError: they are malformed, or too large.
    """
    given: dict[str, Any] = {}
    if "query" in model.model_fields:
        given["query"] = {
            name: values if name in _LISTS else values[-1] for name, values in request.args.lists()
        }
    if "body" in model.model_fields:
        body = _body(limits)
        value = json_of(body, limits) if body and request.is_json else bytes(body) or None
        if value is not None:
            given["body"] = value
    try:
        return dict(model.model_validate(given, from_attributes=True))  # as FastAPI does
    except ValidationError as exc:
        raise malformed(exc.errors()) from exc


def _body(limits: Limits) -> bytearray:
    """Return the body, whatever length has been announced, up to the limit."""
    body = bytearray()
    try:
        while len(body) <= limits.body and (
            chunk := request.stream.read(limits.body + 1 - len(body))
        ):
            body += chunk
    except RequestEntityTooLarge as exc:
        raise RequestTooLargeError("the body is longer than the application takes") from exc
    if len(body) > limits.body:
        raise RequestTooLargeError(f"the body is longer than {limits.body} bytes")
    return body
