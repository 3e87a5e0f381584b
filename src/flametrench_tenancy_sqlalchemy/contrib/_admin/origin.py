"""Whether a request that changes something comes from the admin's own pages."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit


class Headers(Protocol):
    """A request's headers, whose names are looked up whatever their case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a header, if it is there."""


def is_from_elsewhere(headers: Headers) -> bool:
    """Tell whether another site has made a browser send a request.

    Browsers say where a request comes from, and no page can make them lie: ``Sec-Fetch-Site``
    wherever a connection is secure or local, and ``Origin`` with every POST. What says neither is
    no browser, which has no cookies that a page could abuse.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
