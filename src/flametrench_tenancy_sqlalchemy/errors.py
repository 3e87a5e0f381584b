"""The errors of the tenancy domain: one tree, each with a stable ``code``.

Every error derives from `TenancyError` and carries ``details``: the ids, statuses and other facts
that a caller may want to show or log without taking the message apart. Those that an error has as
a rule are attributes as well, ``None`` where they are not known: of a rule that the database alone
has seen broken, it says which, not by whom.
"""

from __future__ import annotations

import copyreg
import reprlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, overload

import flametrench_ids
from sqlalchemy.exc import DontWrapMixin

from .reasons import Reason as Reason  # noqa: PLC0414 - whoever handles errors looks here

T = TypeVar("T")

HELP: Final = "https://flametrench.github.io/tenancy-sqlalchemy/reference/errors.html"
"""The page about all errors, with an anchor for each code."""

ECHO: Final = 80
"""How many characters of what is refused an error repeats."""


_SHOWN: Final = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = ECHO


def cut(value: object) -> str:
    """Return what was refused as an error's detail holds it: as text, so much and no more."""
    return value[:ECHO] if isinstance(value, str) else shown(value)


def shown(value: object) -> str:
    """Return what was refused as an error repeats it: whatever it is, so much and no more."""
    if isinstance(value, str | bytes):
        return repr(value[:ECHO])
    try:
        return _SHOWN.repr(value)[:ECHO]
    except ValueError:  # an integer with more digits than Python writes out
        return f"a huge {type(value).__name__}"


class Detail(property, Generic[T]):
    """One of an error's ``details`` as its attribute, ``None`` where it is not known."""

    def __set_name__(self, owner: type[TenancyError], name: str) -> None:
        self.name = name

    @overload  # type: ignore[override]  # an attribute of no other class
    def __get__(self, error: None, owner: type[TenancyError]) -> Self: ...
    @overload
    def __get__(self, error: TenancyError, owner: type[TenancyError]) -> T | None: ...
    def __get__(self, error: TenancyError | None, owner: type[TenancyError]) -> Self | T | None:
        return self if error is None else error.details.get(self.name)


class TenancyError(Exception):
    """Base of every error that this package raises on purpose.

    A traceback names the page about it; `str` and what goes over HTTP do not.

    Attributes:
        code: the stable, machine-readable name of the error.
        details: the facts behind the message (ids, statuses, parameter names).
        row: the position, from 0, of the row that it is about, where a set is refused as a whole
            because of it.
    """

    code: ClassVar[str] = "tenancy"
    row: int | None = None

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = details
        self.add_note(f"See {self.help_url}")

    @property
    def help_url(self) -> str:
        """The page that tells what the error means and what helps."""
        return f"{HELP}#{self.code.replace('.', '-')}"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        # Rebuilt without __init__, so that subclasses may name their arguments freely.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # typeshed lacks it


class NotFoundError(TenancyError):
    """There is nothing of the given id or slug, or not where it would have to be.

    Attributes:
        parameter: the name of the argument that names nothing.
        id: what it held.
        org_id: the organization in which there is none, where one is meant.
    """

    code = "not_found"
    parameter = Detail[str]()
    id = Detail[str]()
    org_id = Detail[str]()


class InvalidIdError(TenancyError, flametrench_ids.InvalidIdError, DontWrapMixin):
    """An id is malformed, or belongs to another type of entity.

    ``DontWrapMixin`` lets it pass through SQLAlchemy as it is when a query binds such an id.

    Attributes:
        parameter: the name of the argument that held the id.
        value: what was given.
    """

    code = "invalid_id"

    def __init__(self, parameter: str, value: object, *, expected: str) -> None:
        super().__init__(
            f"{parameter}: {shown(value)} is not {expected}",
            parameter=parameter,
            value=shown(value),
        )
        self.parameter = parameter
        self.value = value


class DuplicateMembershipError(TenancyError):
    """The user already has an active membership in the organization.

    Attributes:
        usr_id: the user.
        org_id: the organization.
    """

    code = "conflict.duplicate_membership"
    usr_id = Detail[str]()
    org_id = Detail[str]()


class DuplicateInvitationError(TenancyError):
    """Somebody with that identifier has a pending invitation already, and the policy allows one.

    Attributes:
        org_id: the organization.
        inv_id: the invitation that is there.
    """

    code = "conflict.duplicate_invitation"
    org_id = Detail[str]()
    inv_id = Detail[str]()


class DuplicateInvitationIdError(TenancyError):
    """The id that the caller gave to a new invitation is taken: as a rule, by its own first try.

    Attributes:
        inv_id: the id.
    """

    code = "conflict.duplicate_invitation_id"
    inv_id = Detail[str]()


class DuplicateOrganizationError(TenancyError):
    """The id that the caller gave to a new organization is taken: as a rule, by its own first try.

    Attributes:
        org_id: the id.
    """

    code = "conflict.duplicate_org"
    org_id = Detail[str]()


class SeatLimitError(TenancyError):
    """Every seat that the policy allows the organization is taken.

    Attributes:
        org_id: the organization.
        limit: how many seats it has.
        taken: how many are taken.
    """

    code = "conflict.seat_limit"
    org_id = Detail[str]()
    limit = Detail[int]()
    taken = Detail[int]()


class SoleOwnerError(TenancyError):
    """The operation would take the last active owner from an organization.

    Attributes:
        mem_id: the owner's membership.
        org_id: the organization.
        org_ids: where a user leaves everywhere, each organization whose last active owner they are.
    """

    code = "forbidden.sole_owner"
    mem_id = Detail[str]()
    org_id = Detail[str]()
    org_ids = Detail[Sequence[str]]()


class RoleHierarchyError(TenancyError):
    """The target's role is out of the acting administrator's reach.

    Attributes:
        mem_id: the target's membership.
        role: the role that it holds, a `Role`.
    """

    code = "forbidden.role_hierarchy"
    mem_id = Detail[str]()
    role = Detail[str]()


class ForbiddenError(TenancyError):
    """The acting user lacks the membership or the role that the operation needs.

    Attributes:
        usr_id: the acting user.
        org_id: the organization.
        roles: the roles that would have done, each a `Role`; any, if there are none.
    """

    code = "forbidden"
    usr_id = Detail[str]()
    org_id = Detail[str]()
    roles = Detail[Sequence[str]]()


class InvitationNotPendingError(TenancyError):
    """The invitation has reached a terminal status and never changes again.

    Attributes:
        inv_id: the invitation.
        status: the status that it has, an `InvitationStatus`.
    """

    code = "conflict.invitation_not_pending"
    inv_id = Detail[str]()
    status = Detail[str]()


class InvitationExpiredError(TenancyError):
    """The invitation's time is over.

    Attributes:
        inv_id: the invitation.
        expires_at: when it was over.
    """

    code = "conflict.invitation_expired"
    inv_id = Detail[str]()
    expires_at = Detail[datetime]()


class AlreadyTerminalError(TenancyError):
    """The organization, or the membership, is in a status that it cannot leave or enter again.

    Attributes:
        org_id: the organization.
        status: the status that it has, a `Status`.
    """

    code = "already_terminal"
    org_id = Detail[str]()
    status = Detail[str]()


class OrgSlugConflictError(TenancyError):
    """Another organization holds the slug.

    Attributes:
        slug: the slug that is taken.
    """

    code = "conflict.org_slug"

    def __init__(self, slug: str) -> None:
        super().__init__(f"slug {slug!r} is already in use by another organization", slug=slug)
        self.slug = slug


class UnavailableError(TenancyError):
    """What the operation needs is in use; nothing was written, and it may be tried again later."""

    code = "unavailable"


class LockTimeoutError(UnavailableError):
    """Another transaction holds what the operation has to lock, for longer than it may wait."""

    code = "unavailable.lock_timeout"

    def __init__(self) -> None:
        super().__init__(
            "another transaction holds what this operation has to lock, for longer than "
            "lock_timeout allows; try again later, and if that happens often, look for "
            "transactions that are left open"
        )


class PoolTimeoutError(UnavailableError):
    """All connections of the application's pool are in use, for longer than it may wait for one."""

    code = "unavailable.pool_timeout"

    def __init__(self) -> None:
        super().__init__(
            "all connections of the pool are in use, for longer than pool_timeout allows; try "
            "again later, and if that happens often, look for Sessions that are left open, or let "
            "pool_size and max_overflow allow as many as work at the same time"
        )


class ReplicaBehindError(UnavailableError):
    """The replica has not come as far as the caller has, who may ask the primary instead.

    Attributes:
        position: the position that was waited for.
        replayed: how far the replica has come.
    """

    code = "unavailable.replica_behind"
    position = Detail[str]()
    replayed = Detail[str]()


class OutcomeUnknownError(TenancyError):
    """The connection was lost at the commit: it may have happened, and nobody can tell.

    It is never tried again by itself. Of all errors it is the only one after which something may
    have been written.
    """

    code = "outcome_unknown"

    def __init__(self) -> None:
        super().__init__(
            "the connection was lost before the database answered whether it has committed; look "
            "whether it has, or try again with the same ids, which tell if it has"
        )


class PreconditionError(TenancyError):
    """The operation's input or the entity's state does not allow it.

    Attributes:
        reason: why; ``code`` is ``precondition.<reason>``.
        parameter: the name of the argument that is amiss.
        usr_id: the user whose state is.
        org_id: the organization whose state is.
        mem_id: the membership whose state is.
        inv_id: the invitation whose state is.
        status: the status that it has.
        role: the role that the membership has, a `Role`.
        limit: how many or how long it may be at the most.
    """

    parameter = Detail[str]()
    usr_id = Detail[str]()
    org_id = Detail[str]()
    mem_id = Detail[str]()
    inv_id = Detail[str]()
    status = Detail[str]()
    role = Detail[str]()
    limit = Detail[int]()

    def __init__(self, message: str, reason: Reason | str, **details: object) -> None:
        self.reason = Reason(reason)
        super().__init__(message, reason=self.reason, **details)

    @property
    def code(self) -> str:  # type: ignore[override]  # the reason makes the code of each instance
        """``precondition.<reason>``."""
        return f"precondition.{self.reason}"


class IdentifierBindingRequiredError(PreconditionError):
    """An existing user accepts without the identifier that authentication vouches for."""

    def __init__(self) -> None:
        super().__init__(
            "accepting_identifier is required when as_usr_id is given",
            Reason.IDENTIFIER_BINDING_REQUIRED,
        )


class IdentifierMismatchError(PreconditionError):
    """The accepting identifier is not, byte for byte, the one that was invited.

    Attributes:
        accepting_identifier: what the caller vouched for.
        invitation_identifier: what the invitation names.
    """

    def __init__(self, accepting_identifier: str, invitation_identifier: str) -> None:
        super().__init__(
            f"accepting_identifier {shown(accepting_identifier)} is not the invited identifier "
            f"{shown(invitation_identifier)}",
            Reason.IDENTIFIER_MISMATCH,
            accepting_identifier=cut(accepting_identifier),
            invitation_identifier=invitation_identifier,
        )
        self.accepting_identifier = accepting_identifier
        self.invitation_identifier = invitation_identifier
