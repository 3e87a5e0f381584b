"""Tenancy over HTTP, whatever the framework: an error's status and body, and the guard."""

from __future__ import annotations

import json
from typing import ClassVar

from ..errors import (
    ForbiddenError,
    IdentifierMismatchError,
    InvalidIdError,
    NotFoundError,
    RoleHierarchyError,
    TenancyError,
)
from ..models import Membership
from ..repository import TenancyRepository
from ..values import Role


class InvalidRequestError(TenancyError):
    """The request does not have the form that its endpoint takes."""

    code: ClassVar[str] = "invalid_request"


class RequestTooLargeError(InvalidRequestError):
    """The request's body holds more than its endpoint takes."""


def status_of(exc: TenancyError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(exc, RequestTooLargeError):
        return 413
    if isinstance(exc, NotFoundError):
        return 404
    if isinstance(exc, ForbiddenError | RoleHierarchyError):
        return 403
    if isinstance(exc, InvalidIdError | InvalidRequestError):
        return 422
    return 409


def body_of(exc: TenancyError) -> bytes:
    """Return ``{"code", "message", "details"}`` as JSON.

    It does not tell a stranger whom an invitation is for.
    """
    body = {"code": exc.code, "message": str(exc), "details": exc.details}
    if isinstance(exc, IdentifierMismatchError):
        body |= {"message": "the invitation is for somebody else", "details": {}}
    # Lone surrogates, which a request may bring along, have no bytes in UTF-8.
    return json.dumps(body, ensure_ascii=False, default=str).encode(errors="replace")


def membership_in(
    tenancy: TenancyRepository, named: str, usr_id: str, *roles: Role | str
) -> Membership:
    """Return a user's membership, with one of the roles, in the organization that a path names.

    Args:
        tenancy: the repository to ask.
        named: the organization's wire id or slug.
        usr_id: the requesting user's wire id.
        roles: the roles that may pass; any, if none is named.

    Raises:
        InvalidIdError: ``named`` has an underscore, as no slug has, and is no ``org_`` wire id;
            or ``usr_id`` is malformed.
        PreconditionError: ``role_format``; one of the roles is none.
        NotFoundError: there is no such organization.
        ForbiddenError: the user is no active member with one of the roles, or it is not active.
    """
    # A slug has no underscore.
    org = tenancy.get_org(named) if "_" in named else tenancy.get_org_by_slug(named)
    return tenancy.require_role(org.id, usr_id, *roles)
