"""The errors of the tenancy domain: one tree, each with a stable ``code``.

Every error derives from `TenancyError` and carries ``details``: the ids, statuses and other facts
that a caller may want to show or log without taking the message apart.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any, ClassVar

import flametrench_ids
from sqlalchemy.exc import DontWrapMixin


class TenancyError(Exception):
    """Base of every error that this package raises on purpose.

    Attributes:
        code: the stable, machine-readable name of the error.
        details: the facts behind the message (ids, statuses, parameter names).
    """

    code: ClassVar[str] = "tenancy"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        # Rebuilt without __init__, so that subclasses may name their arguments freely.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # typeshed lacks it


class NotFoundError(TenancyError):
    """There is nothing of the given id or slug, or not where it would have to be."""

    code = "not_found"


class InvalidIdError(TenancyError, flametrench_ids.InvalidIdError, DontWrapMixin):
    """An id is malformed, or belongs to another type of entity.

    `DontWrapMixin` lets it pass through SQLAlchemy as it is when a query binds such an id.

    Attributes:
        parameter: the name of the argument that held the id.
        value: what was given.
    """

    code = "invalid_id"

    def __init__(self, parameter: str, value: object, expected: str) -> None:
        super().__init__(
            f"{parameter}: {value!r} is not {expected}", parameter=parameter, value=repr(value)
        )
        self.parameter = parameter
        self.value = value


class DuplicateMembershipError(TenancyError):
    """The user already has an active membership in the organization."""

    code = "conflict.duplicate_membership"


class SoleOwnerError(TenancyError):
    """The operation would take the last active owner from the organization."""

    code = "forbidden.sole_owner"


class RoleHierarchyError(TenancyError):
    """The target's role is out of the acting administrator's reach."""

    code = "forbidden.role_hierarchy"


class ForbiddenError(TenancyError):
    """The acting user lacks the membership or the role that the operation needs."""

    code = "forbidden"


class InvitationNotPendingError(TenancyError):
    """The invitation has reached a terminal status and never changes again."""

    code = "conflict.invitation_not_pending"


class InvitationExpiredError(TenancyError):
    """The invitation's time is over."""

    code = "conflict.invitation_expired"


class AlreadyTerminalError(TenancyError):
    """The organization, or the membership, is in a status that it cannot leave or enter again."""

    code = "already_terminal"


class OrgSlugConflictError(TenancyError):
    """Another organization holds the slug.

    Attributes:
        slug: the slug that is taken.
    """

    code = "conflict.org_slug"

    def __init__(self, slug: str) -> None:
        super().__init__(f"slug {slug!r} is already in use by another organization", slug=slug)
        self.slug = slug


class PreconditionError(TenancyError):
    """The operation's input or the entity's state does not allow it.

    Attributes:
        reason: why, as a stable word; ``code`` is ``precondition.<reason>``.
    """

    def __init__(self, message: str, reason: str, **details: object) -> None:
        super().__init__(message, reason=reason, **details)
        self.reason = reason

    @property
    def code(self) -> str:  # type: ignore[override]  # the reason makes the code of each instance
        """``precondition.<reason>``."""
        return f"precondition.{self.reason}"


class IdentifierBindingRequiredError(PreconditionError):
    """An existing user accepts without the identifier that his authentication vouches for."""

    def __init__(self) -> None:
        super().__init__(
            "accepting_identifier is required when as_usr_id is given",
            "identifier_binding_required",
        )


class IdentifierMismatchError(PreconditionError):
    """The accepting identifier is not, byte for byte, the one that was invited.

    Attributes:
        accepting_identifier: what the caller vouched for.
        invitation_identifier: what the invitation names.
    """

    def __init__(self, accepting_identifier: str, invitation_identifier: str) -> None:
        super().__init__(
            f"accepting_identifier {accepting_identifier!r} is not the invited identifier "
            f"{invitation_identifier!r}",
            "identifier_mismatch",
            accepting_identifier=accepting_identifier,
            invitation_identifier=invitation_identifier,
        )
        self.accepting_identifier = accepting_identifier
        self.invitation_identifier = invitation_identifier
