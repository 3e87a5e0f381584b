"""What an application decides about its tenancy, given to a repository or a store once."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, get_args

from .errors import PreconditionError, Reason, shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from .changes import TenancyChange
    from .models import Organization

INDEXABLE: Final = 600
"""How many characters of four bytes an entry of a B-tree has room for, with some to spare."""

PendingInvitations: TypeAlias = Literal["keep", "replace", "refuse"]


class _ShowsWhatIsDecided:
    """Whatever shows no more of itself than what is not as it is by default."""

    __slots__ = ()

    def __repr__(self) -> str:
        values = {field: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]  # of dataclasses
        decided = (f"{f.name}={value!r}" for f, value in values.items() if value != f.default)
        return f"{type(self).__name__}({', '.join(decided)})"


@dataclass(frozen=True, slots=True, repr=False)
class Limits(_ShowsWhatIsDecided):
    """How much is taken at once; what is over is refused before it reaches the database.

    Rows that other clients have written beyond a limit are read as they are.

    Attributes:
        name: the longest name of an organization, in characters.
        identifier: the longest identifier of an invitation, in characters; no more than 600, which
            is what an index can hold of any script.
        pre_tuples: the most pre-tuples of one invitation.
        rows: the most rows of a set.
        body: the longest body of an HTTP request, in bytes.

    Raises:
        ValueError: a limit is no positive whole number, or more than can be stored.
    """

    _: KW_ONLY
    name: int = 255
    identifier: int = 320
    pre_tuples: int = 100
    rows: int = 10_000
    body: int = 256 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            number = getattr(self, field.name)
            if type(number) is not int or number < 1:
                raise ValueError(
                    f"limits: {field.name} must be a positive int, not {shown(number)}"
                )
        if self.identifier > INDEXABLE:
            raise ValueError(f"limits: identifier must be at most {INDEXABLE}")


@dataclass(frozen=True, slots=True, repr=False)
class Policy(_ShowsWhatIsDecided):
    """What an application decides; by itself, the specification's letter.

    Attributes:
        limits: how much is taken at once. Without limits, one request could fill the disk.
        canonical_identifier: makes of an identifier the one form that is stored and compared, such
            as `canonical_email`. Without it whoever was invited as ``Ann@example.com`` and signs in
            as ``ann@example.com`` cannot accept.
        invitation_lifetime: how far away the end of an invitation may be. Without it an invitation
            may stand open for years, for whoever finds the link.
        pending_invitations: what a new invitation does to those that are pending, and not overdue,
            for the same identifier in the same organization: ``keep`` them, ``replace`` them, or
            ``refuse`` to be another. Where they are kept, withdrawing one leaves the door open.
        accept_ends_others: whether an acceptance ends the other pending invitations of that
            identifier in the organization. Without it those can be accepted by somebody else who
            holds the identifier later.
        inviter_authority: whether an inviter needs to be an active owner or admin whose rank is
            not below the role that they offer, when they invite and still when it is accepted.
            Without it, an admin who was thrown out makes an owner by an old invitation.
        departure_revokes_offers: whether members who leave, or are removed, suspended or demoted,
            take along those of their pending invitations that they may no longer make. Without it
            somebody may come back in through an invitation they wrote to themselves.
        departure_withdraws_grants: whether members who leave or are removed lose what accepted
            invitations of that organization granted them. Without it they keep access to its
            objects.
        seats: tells how many seats an organization has, if it has a limit: the Session and the
            locked organization are its arguments. Members, active and suspended, and identifiers
            with a pending invitation take one each. Without it nothing limits how many join.
        on_change: called inside an operation's unit after its writes, with the Session and the
            `TenancyChange`; what it raises undoes the operation. Without it mails and webhooks have
            to be sent by every caller.
        denials: returns a new Session, in whose own transaction the audit log records what acting
            users are refused; a ``sessionmaker`` does, on an engine that has a connection to spare
            for each that is in use. Without it nobody sees who has knocked at which doors.

    Raises:
        ValueError: a field holds something that cannot be meant.
    """

    _: KW_ONLY
    limits: Limits = Limits()
    canonical_identifier: Callable[[str], str] | None = None
    invitation_lifetime: timedelta | None = None
    pending_invitations: PendingInvitations = "keep"
    accept_ends_others: bool = False
    inviter_authority: bool = False
    departure_revokes_offers: bool = False
    departure_withdraws_grants: bool = False
    seats: Callable[[Session, Organization], int | None] | None = None
    on_change: Callable[[Session, TenancyChange], object] | None = None
    denials: Callable[[], Session] | None = None

    def __post_init__(self) -> None:
        self._require("limits", isinstance(self.limits, Limits), "Limits")
        for name in ("canonical_identifier", "seats", "on_change", "denials"):
            decides = getattr(self, name)
            self._require(name, decides is None or callable(decides), "a function")
        for name in (
            "accept_ends_others",
            "inviter_authority",
            "departure_revokes_offers",
            "departure_withdraws_grants",
        ):  # "false", as read from a file, would be true
            self._require(name, isinstance(getattr(self, name), bool), "True or False")
        lifetime, choices = self.invitation_lifetime, get_args(PendingInvitations)
        positive = isinstance(lifetime, timedelta) and lifetime > timedelta(0)
        self._require("invitation_lifetime", lifetime is None or positive, "a positive timedelta")
        self._require(
            "pending_invitations", self.pending_invitations in choices, f"one of {choices}"
        )

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"policy: {name} must be {expected}, not {shown(getattr(self, name))}")

    @classmethod
    def recommended(cls, **overrides: Any) -> Self:
        """Return what most products want.

        Args:
            overrides: fields that are to be different.
        """
        return replace(
            cls(
                canonical_identifier=canonical_email,
                invitation_lifetime=timedelta(days=30),
                pending_invitations="replace",
                accept_ends_others=True,
                inviter_authority=True,
                departure_revokes_offers=True,
                departure_withdraws_grants=True,
            ),
            **overrides,
        )

    def canonical(self, identifier: str) -> str:
        """Return the form of an identifier that is stored and compared."""
        if self.canonical_identifier is None or not isinstance(identifier, str):
            return identifier
        return self.canonical_identifier(identifier)

    def looks_at_others(self, *, offers: bool = True) -> bool:
        """Whether who comes in depends on who else is there, or has been offered a place.

        Args:
            offers: whether it is by an offer.
        """
        return self.seats is not None or (offers and self.pending_invitations != "keep")


def canonical_email(identifier: str) -> str:
    """Return an e-mail address in one form: Unicode NFC, trimmed and in lower case.

    Args:
        identifier: the address as somebody has typed it.
    """
    lowered = unicodedata.normalize("NFC", identifier.strip()).lower()
    return unicodedata.normalize("NFC", lowered)


def require_at_most(limit: int, number: int, unit: str, parameter: str, reason: Reason) -> None:
    """Refuse what is over one of the limits.

    Raises:
        PreconditionError: ``reason``.
    """
    if number > limit:
        raise PreconditionError(
            f"{parameter}: {number} {unit} are too many, the limit is {limit}",
            reason,
            parameter=parameter,
            limit=limit,
        )


LETTER: Final = Policy()
"""The specification's letter, where an application has decided nothing."""
