"""A request's body, of which no more is kept than an endpoint of tenancy can take."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from starlette.types import Receive, Scope

from ...policy import Limits
from .._http import RequestTooLargeError, json_of


class BoundedRequest(Request):
    """A request that is refused as soon as its body is longer, or holds more, than the limits say.

    FastAPI reads bodies before it asks who is calling.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits) -> None:
        super().__init__(scope, receive)
        self._limits = limits

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, whatever length has been announced, up to the limit."""
        length = 0
        async for chunk in super().stream():
            length += len(chunk)
            if length > self._limits.body:
                raise RequestTooLargeError(f"the body is longer than {self._limits.body} bytes")
            yield chunk

    async def json(self) -> Any:
        """Return the JSON value that the body is, each name in it given once."""
        return json_of(await self.body(), self._limits)
