"""Tenancy in a Flask application: a repository on its session, a guard and a blueprint."""

from .._http import Caller
from .audit import install_audit_context
from .extension import Tenancy, error_response

__all__ = ["Caller", "Tenancy", "error_response", "install_audit_context"]
