"""The values of the tenancy domain: roles, statuses, pre-tuples, outcomes and pages.

Pure: nothing here knows a table or a Session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Generic, Self, TypeVar, cast

from .errors import PreconditionError, Reason, TenancyError, shown

T = TypeVar("T")


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""An argument that was not given, where ``None`` means "clear it"."""


class Term(StrEnum):
    """A closed set of words that arguments may also spell as plain strings."""

    @classmethod
    def parse(cls, value: object, parameter: str) -> Self:
        """Return the member that ``value`` names.

        Args:
            value: a member, its word, or a member of another package's enum with that word.
            parameter: the name of the argument, for the error.

        Raises:
            PreconditionError: ``role_format`` or ``status_format``; no member has that word.
        """
        word = value.value if isinstance(value, Enum) else value
        if isinstance(word, str) and word in cls._value2member_map_:
            return cls(word)
        kind, reason = (
            ("role", Reason.ROLE_FORMAT) if cls is Role else ("status", Reason.STATUS_FORMAT)
        )
        raise PreconditionError(
            f"{parameter}: {shown(value)} is not a {kind}; one of {', '.join(cls)} is",
            reason,
            parameter=parameter,
        )

    @classmethod
    def parse_if_given(cls, value: object, parameter: str) -> Self | None:
        """Return the same, or ``None`` for ``None``."""
        return None if value is None else cls.parse(value, parameter)


class Role(Term):
    """What a member may do in an organization.

    Specification: docs/tenancy.md#memberships, ADR 0002.
    """

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    GUEST = "guest"
    VIEWER = "viewer"
    EDITOR = "editor"

    @property
    def rank(self) -> int:
        """The role's rank among all, from owner, admin, member and guest down to the other two."""
        return _ADMIN_RANK.get(self, 0)

    def admin_rank(self) -> int | None:
        """The role's place in the hierarchy of removal, or ``None`` for object-scoped roles."""
        return _ADMIN_RANK.get(self)


_ADMIN_RANK: Final[Mapping[Role, int]] = {
    Role.OWNER: 4,
    Role.ADMIN: 3,
    Role.MEMBER: 2,
    Role.GUEST: 1,
}


class Status(Term):
    """The life of a user, an organization or a membership. Revoked is terminal."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class InvitationStatus(Term):
    """The life of an invitation. Every status but pending is terminal.

    Specification: ADR 0003.
    """

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    REVOKED = "revoked"
    EXPIRED = "expired"


class AuditOutcome(Term):
    """How what an event of the audit log tells went.

    Specification: ADR 0019.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    """It was tried, and something went wrong."""
    DENIED = "denied"
    """Whoever tried it may not do it."""
    PENDING = "pending"
    """It has begun; another event tells how it ends."""


@dataclass(frozen=True, slots=True)
class PreTuple:
    """A grant that an invitation promises: one tuple for whoever accepts it.

    Attributes:
        relation: the relation that the accepting user will hold.
        object_type: the object's type, two to six lowercase letters.
        object_id: the object's id: a wire id of that type, a canonical UUID, or its bare 32 hex.
            Read back as a wire id for Flametrench's own types, as a canonical UUID otherwise.
    """

    relation: str
    object_type: str
    object_id: str


@dataclass(frozen=True, slots=True)
class SeatCount:
    """How many seats an organization has under the policy, and how many are taken.

    Attributes:
        limit: how many it has; ``None`` if the policy sets no limit.
        taken: users with an active or suspended membership, and identifiers with a pending
            invitation.
    """

    limit: int | None
    taken: int


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one row of a set: it is done, or refused as it would have been alone.

    Attributes:
        value: what the operation on this row alone would have returned.
        error: what it would have raised, in which case nothing was done for this row.
    """

    value: T | None = None
    error: TenancyError | None = None

    @property
    def ok(self) -> bool:
        """Whether the row is done."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the value, or raise the error: what the operation on this row alone would do.

        Raises:
            TenancyError: the row's error, if it has one.
        """
        if self.error is not None:
            raise self.error
        return cast("T", self.value)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, ascending by id: iterable, as long as its ``data``, false when empty.

    Attributes:
        data: the entities of this page.
        next_cursor: the id to go on after, or ``None`` on the last page, as an empty one always is.
    """

    data: list[T]
    next_cursor: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)
