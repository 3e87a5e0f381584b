"""A request's body, of which no more is kept than an endpoint of tenancy can take."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from starlette.types import Receive, Scope

from ...policy import Limits
from .._http import InvalidRequestError, RequestTooLargeError


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
        try:
            value = json.loads(await self.body(), object_pairs_hook=_object)
        except (ValueError, RecursionError) as exc:  # integers of 5 000 digits are a ValueError
            raise InvalidRequestError("the body is no JSON") from exc
        # What two bytes say, as in `{},{}`, takes a hundred to hold and a thousand to refuse.
        most = 10 * (self._limits.pre_tuples + 1)
        if _is_larger(value, most):
            raise RequestTooLargeError(f"the body holds more than {most} values")
        return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is given twice")
    return members


def _is_larger(value: Any, most: int) -> bool:
    found = [value]
    for each in found:  # which grows on the way
        if isinstance(each, dict):
            found += each.values()
        elif isinstance(each, list):
            found += each
        if len(found) > most:
            return True
    return False
