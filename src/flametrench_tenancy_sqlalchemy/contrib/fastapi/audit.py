"""What the audit log knows of a request."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ...transactions.settings import audit_context
from .._http import context_of


class AuditContextMiddleware:
    """Tells the audit log each request's id (``X-Request-ID``), address and user agent.

    The address is the one that the server knows; behind a proxy it has to be told which to believe
    (uvicorn: ``--forwarded-allow-ips``). Endpoints that run in a thread, and tasks that they start,
    know it too.

    Args:
        app: the application, as ``app.add_middleware(AuditContextMiddleware)`` gives it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        client = scope.get("client")
        context = context_of(
            request_id=headers.get("x-request-id"),
            ip=client[0] if client else None,
            user_agent=headers.get("user-agent"),
        )
        with audit_context(context=context):
            await self._app(scope, receive, send)
