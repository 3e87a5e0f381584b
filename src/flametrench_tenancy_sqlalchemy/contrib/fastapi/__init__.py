"""Tenancy in a FastAPI application: dependencies, error responses and a router."""

from .._http import Caller
from .audit import AuditContextMiddleware
from .dependencies import async_repository, repository, require_role
from .errors import ErrorBody, error_response, install_error_handlers
from .router import tenancy_router

__all__ = [
    "AuditContextMiddleware",
    "Caller",
    "ErrorBody",
    "async_repository",
    "error_response",
    "install_error_handlers",
    "repository",
    "require_role",
    "tenancy_router",
]
