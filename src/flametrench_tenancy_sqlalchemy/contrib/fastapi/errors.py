"""Tenancy's errors as HTTP responses: ``{"code", "message", "details"}``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ...errors import TenancyError
from ...policy import Limits
from .._http import InvalidRequestError, body_of, code_of, malformed, status_of
from .requests import BoundedRequest


class ErrorBody(BaseModel):
    """What went wrong, in a stable word, a sentence and the facts behind it."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    403: {"model": ErrorBody, "description": "The caller may not do this."},
    404: {"model": ErrorBody, "description": "There is no such thing, for this caller."},
    409: {"model": ErrorBody, "description": "The state of things does not allow it."},
    413: {"model": ErrorBody, "description": "The request's body is too large."},
    422: {"model": ErrorBody, "description": "The request is malformed."},
    503: {"model": ErrorBody, "description": "A lock or a connection was not to be had in time."},
}


def error_response(exc: TenancyError) -> Response:
    """Return the response for an error; it does not tell a stranger whom an invitation is for."""
    return Response(body_of(exc), status_of(exc), media_type="application/json")


def install_error_handlers(app: FastAPI) -> None:
    """Answer every `TenancyError` that leaves one of the application's own endpoints.

    A WebSocket is closed with 1008 and the error's code; before it has been accepted, its client is
    answered 403 instead.
    """

    @app.exception_handler(TenancyError)
    async def answer(connection: HTTPConnection, exc: TenancyError) -> Response | None:
        if isinstance(connection, WebSocket):
            await connection.close(1008, code_of(exc))
            return None
        return error_response(exc)


class TenancyRoute(APIRoute):
    """A route that bounds its requests, and gives all its errors the one form.

    They are answered when the request's dependencies are through with them: a Session's dependency
    sees the error, and rolls back.
    """

    limits: ClassVar[Limits]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with malformed requests as an error of ours."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(BoundedRequest(request.scope, request.receive, self.limits))
            except RequestValidationError as exc:
                raise malformed(exc.errors()) from exc
            except HTTPException as exc:
                # So FastAPI wraps what goes wrong while it reads a body.
                if isinstance(cause := exc.__cause__, InvalidRequestError):
                    raise cause from cause.__cause__
                raise

        return answer

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with a response for every `TenancyError`."""
        try:
            await super().handle(scope, receive, send)
        except TenancyError as exc:
            await error_response(exc)(scope, receive, send)


def route_within(limits: Limits) -> type[TenancyRoute]:
    """Return the routes of a router that has these limits."""
    return type("TenancyRoute", (TenancyRoute,), {"limits": limits})
