"""Tenancy's errors as HTTP responses: ``{"code", "message", "details"}``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from ...errors import (
    ForbiddenError,
    IdentifierMismatchError,
    InvalidIdError,
    NotFoundError,
    RoleHierarchyError,
    TenancyError,
)


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


def status_of(exc: TenancyError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(exc, NotFoundError):
        return 404
    if isinstance(exc, ForbiddenError | RoleHierarchyError):
        return 403
    if isinstance(exc, InvalidIdError):
        return 422
    return 409


def error_response(exc: TenancyError) -> JSONResponse:
    """Return the response for an error; it does not tell a stranger whom an invitation is for."""
    body = ErrorBody(code=exc.code, message=str(exc), details=exc.details)
    if isinstance(exc, IdentifierMismatchError):
        body = ErrorBody(code=exc.code, message="the invitation is for somebody else")
    return JSONResponse(jsonable_encoder(body), status_code=status_of(exc))


def install_error_handlers(app: FastAPI) -> None:
    """Answer every `TenancyError` that leaves one of the application's own endpoints."""

    @app.exception_handler(TenancyError)
    def answer(request: Request, exc: TenancyError) -> JSONResponse:
        return error_response(exc)


class TenancyRoute(APIRoute):
    """A route that gives all its errors the one form, those of malformed requests included."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with its errors answered."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except TenancyError as exc:
                return error_response(exc)
            except RequestValidationError as exc:
                body = ErrorBody(
                    code="invalid_request",
                    message="the request is malformed",
                    details={"errors": [_without_input(error) for error in exc.errors()]},
                )
                return JSONResponse(jsonable_encoder(body), status_code=422)

        return answer


def _without_input(error: dict[str, Any]) -> dict[str, Any]:
    return {key: str(error[key]) if key == "msg" else error[key] for key in ("type", "loc", "msg")}
