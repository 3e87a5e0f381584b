"""Tenancy's errors as HTTP responses: ``{"code", "message", "details"}``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ...errors import TenancyError
from .._http import InvalidRequestError, body_of, status_of


class ErrorBody(BaseModel):
    """What went wrong, in a stable word, a sentence and the facts behind it."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    403: {"model": ErrorBody, "description": "The caller may not do this."},
    404: {"model": ErrorBody, "description": "There is no such thing, for this caller."},
    409: {"model": ErrorBody, "description": "The state of things does not allow it."},
    422: {"model": ErrorBody, "description": "The request is malformed."},
}


def error_response(exc: TenancyError) -> JSONResponse:
    """Return the response for an error; it does not tell a stranger whom an invitation is for."""
    return JSONResponse(body_of(exc), status_code=status_of(exc))


def install_error_handlers(app: FastAPI) -> None:
    """Answer every `TenancyError` that leaves one of the application's own endpoints."""

    @app.exception_handler(TenancyError)
    def answer(request: Request, exc: TenancyError) -> JSONResponse:
        return error_response(exc)


class TenancyRoute(APIRoute):
    """A route that gives all its errors the one form, those of malformed requests included.

    They are answered when the request's dependencies are through with them: a Session's dependency
    sees the error, and rolls back.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with malformed requests as an error of ours."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as exc:
                errors = [_without_input(error) for error in exc.errors()]
                raise InvalidRequestError("the request is malformed", errors=errors) from exc
            except HTTPException as exc:
                if not isinstance(exc.__cause__, UnicodeDecodeError | RecursionError):
                    raise
                raise InvalidRequestError("the request's body cannot be read") from exc

        return answer

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with a response for every `TenancyError`."""
        try:
            await super().handle(scope, receive, send)
        except TenancyError as exc:
            await error_response(exc)(scope, receive, send)


def _without_input(error: dict[str, Any]) -> dict[str, Any]:
    return {key: error[key] for key in ("type", "loc", "msg")}
