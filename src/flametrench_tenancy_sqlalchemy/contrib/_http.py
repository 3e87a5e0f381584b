"""Tenancy over HTTP, whatever the framework: an error's status and body, and the guard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ..errors import (
    AlreadyTerminalError,
    ForbiddenError,
    IdentifierMismatchError,
    InvalidIdError,
    NotFoundError,
    OutcomeUnknownError,
    RoleHierarchyError,
    SoleOwnerError,
    TenancyError,
    UnavailableError,
)
from ..models import Membership, Organization
from ..models.base import not_found
from ..policy import Limits
from ..repository import TenancyRepository
from ..values import Role

CONTEXT_LENGTH: Final = 512
"""How much is kept of what a request says of itself."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as the application's authentication vouches for it.

    Attributes:
        usr_id: the calling user's wire id (``usr_…``).
        identifier: the identifier, an e-mail address as a rule, that has been proven to be
            theirs; without one the caller cannot accept or decline invitations.
        auth: how they have signed in, for the audit log: a ``kind`` of ``session``, ``pat`` and
            ``share``, and the id that is named after it.
        on_behalf: ``agent_id`` of the agent that acts in their name.
    """

    usr_id: str
    identifier: str | None = None
    auth: Mapping[str, Any] | None = None
    on_behalf: Mapping[str, Any] | None = None


class InvalidRequestError(TenancyError):
    """The request does not have the form that its endpoint takes."""

    code: ClassVar[str] = "invalid_request"


class RequestTooLargeError(InvalidRequestError):
    """The request's body holds more than its endpoint takes."""


# Where the specification's OpenAPI documents have other words than its Python SDK.
_CODES: Final = {
    AlreadyTerminalError.code: "conflict.already_terminal",
    SoleOwnerError.code: "conflict.sole_owner",
}

# The first that fits; 409, if none does.
_STATUSES: Final[dict[type[TenancyError], int]] = {
    RequestTooLargeError: 413,
    NotFoundError: 404,
    ForbiddenError: 403,
    RoleHierarchyError: 403,
    InvalidIdError: 422,
    InvalidRequestError: 422,
    UnavailableError: 503,
    OutcomeUnknownError: 500,  # not 503, after which proxies and clients try again by themselves
}


def code_of(exc: TenancyError) -> str:
    """Return the stable word for an error, as HTTP has it."""
    return _CODES.get(exc.code, exc.code)


def status_of(exc: TenancyError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in _STATUSES.items() if isinstance(exc, kind)), 409)


def body_of(exc: TenancyError) -> bytes:
    """Return ``{"code", "message", "details"}`` as JSON.

    It does not tell a stranger whom an invitation is for.
    """
    body = {"code": code_of(exc), "message": str(exc), "details": exc.details}
    if isinstance(exc, IdentifierMismatchError):
        body |= {"message": "the invitation is for somebody else", "details": {}}
    # Lone surrogates, which a request may bring along, have no bytes in UTF-8.
    return json.dumps(body, ensure_ascii=False, default=str).encode(errors="replace")


def malformed(errors: Sequence[Any]) -> InvalidRequestError:
    """Return the error for what pydantic has found amiss in a request: the first ten.

    It tells what is wrong and where, without what was sent.
    """
    shown = [
        {
            "type": error["type"],
            "loc": [part[:80] if isinstance(part, str) else part for part in error["loc"]],
            "msg": error["msg"],
        }
        for error in errors[:10]
    ]
    return InvalidRequestError("the request is malformed", errors=shown)


def json_of(body: bytes | bytearray, limits: Limits) -> Any:
    """Return the JSON value that a body is, each name in it given once.

    Raises:
        InvalidRequestError: the body is no JSON.
        RequestTooLargeError: it holds more values than any endpoint takes.
    """
    try:
        value = json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError) as exc:  # integers of 5 000 digits are a ValueError
        raise InvalidRequestError("the body is no JSON") from exc
    # What two bytes say, as in `{},{}`, takes a hundred to hold and a thousand to refuse.
    most = 10 * (limits.pre_tuples + 1)
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


def named_in(path: Mapping[str, Any], parameter: str) -> str:
    """Return what a request's path names; a route without the parameter is a mistake of its own."""
    try:
        name: str = path[parameter]
    except KeyError:
        raise LookupError(f"the route's path has no parameter {parameter!r}") from None
    return name


def membership_in(tenancy: TenancyRepository, named: str, usr_id: str, *roles: Role) -> Membership:
    """Return a user's membership, with one of the roles, in the organization that a path names.

    Args:
        tenancy: the repository to ask.
        named: the organization's wire id or slug.
        usr_id: the requesting user's wire id.
        roles: the roles that may pass; any, if none is named.

    Raises:
        InvalidIdError: ``named`` has an underscore, as no slug has, and is no ``org_`` wire id;
            or ``usr_id`` is malformed.
        NotFoundError: there is no such organization, or the user is no active member.
        ForbiddenError: they have none of the roles, or it is suspended.
    """
    by_id = "_" in named  # as no slug has
    org = tenancy.get_org(named) if by_id else tenancy.get_org_by_slug(named)
    try:
        return tenancy.require_role(org.id, usr_id, *roles)
    except ForbiddenError:
        if tenancy.find_membership(org.id, usr_id) is None:
            raise not_found(Organization, named, "org_id" if by_id else "slug") from None
        raise


def context_of(*, request_id: str | None, ip: str | None, user_agent: str | None) -> dict[str, str]:
    """Return the circumstances of a request for the audit log, as far as they are known.

    Whoever sends the request chooses the words: what cannot be stored is left out, and what is long
    is cut.

    Args:
        request_id: what the header ``X-Request-ID`` says.
        ip: the client's address, as the server knows it.
        user_agent: what the header ``User-Agent`` says.
    """
    told = {"request_id": request_id, "ip": ip, "user_agent": user_agent}
    return {
        name: "".join(filter(str.isprintable, value))[:CONTEXT_LENGTH]
        for name, value in told.items()
        if value
    }
