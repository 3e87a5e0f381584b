"""What the audit log knows of a request."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Flask, g, request

from ...transactions.settings import audit_context
from .._http import context_of


def install_audit_context(app: Flask) -> None:
    """Tell the audit log each request's id (``X-Request-ID``), address and user agent.

    The address is the one that the server knows; behind a proxy, Werkzeug's ``ProxyFix`` tells
    which to believe.

    Args:
        app: the application.
    """
    app.before_request(_enter)
    app.teardown_request(_leave)


def _enter() -> None:
    context = context_of(
        request_id=request.headers.get("X-Request-ID"),
        ip=request.remote_addr,
        user_agent=request.headers.get("User-Agent"),
    )
    g.tenancy_audit_context = ExitStack()
    g.tenancy_audit_context.enter_context(audit_context(context=context))


def _leave(_: BaseException | None) -> None:
    if told := g.pop("tenancy_audit_context", None):
        told.close()
