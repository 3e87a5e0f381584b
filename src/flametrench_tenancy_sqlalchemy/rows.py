"""What sets are given, row by row.

The rows of a set are a list. Each is a `NewMember`, an `InvitationRequest` or a `RoleChange`, or a
mapping of its fields, or a tuple of the fields that it must have, in their order: ``(usr_id,
role)``, ``(identifier, role, expires_at)``, ``(mem_id, new_role)``. Rows of two such fields may
also be one mapping, of the first to the second.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar, cast

from .errors import PreconditionError, Reason, shown
from .ids import require
from .models import User
from .models.user import user_id, user_id_if_given
from .policy import Policy, require_at_most
from .values import PreTuple, Role

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewMember:
    """One of the users who are made members as a set.

    Attributes:
        usr_id: the user, or their wire id (``usr_…``).
        role: the role that they get.
        org_id: the organization's wire id (``org_…``), if not the whole set's.
        invited_by: the user who brought them in, or their wire id (``usr_…``), if not the whole
            set's.
    """

    usr_id: User | str
    role: Role | str
    _: KW_ONLY
    org_id: str | None = None
    invited_by: User | str | None = None


@dataclass(frozen=True, slots=True)
class InvitationRequest:
    """One of the invitations that are created as a set.

    Attributes:
        identifier: how the invitee is known; see `TenancyRepository.create_invitation`.
        role: the role that the invitee will get.
        expires_at: the last moment to accept, a timezone-aware datetime in the future.
        pre_tuples: what else the invitee will be granted.
        org_id: the organization's wire id (``org_…``), if not the whole set's.
        invited_by: the inviting user, or their wire id (``usr_…``), if not the whole set's.
    """

    identifier: str
    role: Role | str
    _: KW_ONLY
    expires_at: datetime
    pre_tuples: Collection[PreTuple | Mapping[str, str]] = ()
    org_id: str | None = None
    invited_by: User | str | None = None


@dataclass(frozen=True, slots=True)
class RoleChange:
    """One of the roles that are changed as a set.

    Attributes:
        mem_id: the membership's wire id (``mem_…``).
        new_role: the role from now on.
    """

    mem_id: str
    new_role: Role | str


Fields: TypeAlias = Mapping[str, Any]
"""A row as a mapping of its fields."""

Members: TypeAlias = (
    Mapping[str, Role | str] | Collection[NewMember | tuple[User | str, Role | str] | Fields]
)
"""Users, and the roles that they get."""

Requests: TypeAlias = Collection[InvitationRequest | tuple[str, Role | str, datetime] | Fields]
"""Invitees, the roles that they will get, and the last moment to accept."""

RoleChanges: TypeAlias = (
    Mapping[str, Role | str] | Collection[RoleChange | tuple[str, Role | str] | Fields]
)
"""Memberships, and their roles from now on."""

_REQUIRED: Final[dict[type, list[str]]] = {
    kind: [field.name for field in fields(kind) if field.default is MISSING]
    for kind in (NewMember, InvitationRequest, RoleChange)
}


@dataclass(frozen=True, slots=True)
class Join:
    """A row of `add_members`, complete and checked."""

    org_id: str
    usr_id: str
    role: Role
    invited_by: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """A row of `create_invitations`, complete; `Invitation.offer` checks the rest."""

    org_id: str
    identifier: str
    role: Role
    invited_by: str
    expires_at: datetime
    pre_tuples: Collection[PreTuple | Mapping[str, str]]


def rows_in(given: object, parameter: str, policy: Policy) -> Collection[Any]:
    """Return the rows of a set as they were given.

    Raises:
        PreconditionError: ``row_format``; it is no collection. ``set_size``.
    """
    # Not an iterator: the operation may be tried again.
    if not isinstance(given, Collection) or isinstance(given, str | bytes):
        raise malformed(parameter, given, "a list")
    require_at_most(policy.limits.rows, len(given), "rows", parameter, Reason.SET_SIZE)
    return given.items() if isinstance(given, Mapping) else given


def in_common(org_id: str | None, invited_by: User | str | None) -> tuple[str | None, str | None]:
    """Return what all rows have that do not say otherwise, an organization and an inviter.

    Raises:
        InvalidIdError: one of them is malformed or of another type.
    """
    if org_id is not None:
        require(org_id, "org", "org_id")
    return org_id, user_id_if_given(invited_by, "invited_by")


def join_of(given: object, org_id: str | None, invited_by: str | None) -> Join:
    """Return a row of `add_members`, of an organization and an inviter if it names none."""
    row = _row(NewMember, given, "members")
    return Join(
        require(org_id if row.org_id is None else row.org_id, "org", "org_id"),
        user_id(row.usr_id, "usr_id"),
        invited_by=user_id_if_given(row.invited_by, "invited_by") or invited_by,
        role=Role.parse(row.role, "role"),
    )


def offer_of(given: object, org_id: str | None, invited_by: str | None) -> Offer:
    """Return a row of `create_invitations`, of an organization and an inviter if it names none."""
    row = _row(InvitationRequest, given, "requests")
    inviter = invited_by if row.invited_by is None else row.invited_by
    return Offer(
        require(org_id if row.org_id is None else row.org_id, "org", "org_id"),
        row.identifier,
        # None, where nobody is named, is refused as well.
        invited_by=user_id(cast("str", inviter), "invited_by"),
        role=Role.parse(row.role, "role"),
        expires_at=row.expires_at,
        pre_tuples=row.pre_tuples or (),
    )


def change_of(given: object) -> tuple[str, Role]:
    """Return a row of `change_roles`: a membership and its role from now on."""
    row = _row(RoleChange, given, "roles")
    return require(row.mem_id, "mem", "mem_id"), Role.parse(row.new_role, "new_role")


def malformed(parameter: str, given: object, expected: str) -> PreconditionError:
    """Return the error for rows, or a row, that are not what they have to be."""
    return PreconditionError(
        f"{parameter}: {shown(given)} is not {expected}", Reason.ROW_FORMAT, parameter=parameter
    )


def _row(kind: type[T], given: object, parameter: str) -> T:
    """Return a row as what it is.

    Raises:
        PreconditionError: ``row_format``.
    """
    if isinstance(given, kind):
        return given
    required = _REQUIRED[kind]
    with suppress(TypeError, ValueError):  # unknown fields, too few or too many
        if isinstance(given, Mapping):
            return kind(**given)
        if isinstance(given, Sequence) and not isinstance(given, str | bytes):
            return kind(**dict(zip(required, given, strict=True)))
    expected = f"a {kind.__name__}, a mapping of its fields, or ({', '.join(required)})"
    raise malformed(parameter, given, expected)
