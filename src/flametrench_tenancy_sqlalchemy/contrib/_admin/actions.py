"""What an operator may do: each action is one operation, and a form of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy.orm import joinedload

from ...clock import Clock, time_of
from ...errors import TenancyError
from ...models import Invitation, Membership, Organization
from ...policy import Policy
from ...repository import ActingTenancy, TenancyRepository
from ...transactions.sessions import AnySession
from ...values import InvitationStatus, Role, Status
from .._http import status_of
from .forms import IN_NAME_OF, form_of
from .sheets import Entity, name_of

Tenancy: TypeAlias = TenancyRepository | ActingTenancy
"""The operations of the system, or those for one user."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that an operator may do.

    Attributes:
        operation: the name of the repository's operation.
        label: what its button says.
        explanation: what it does, for whoever is about to.
        on: the class of what it is done to, which is the operation's first argument.
        creates: the class of what it brings into being, where it is done to nothing.
        asks: the parameters that its form asks for.
        offered: tells whether something is in a state for it. The operation is who decides.
        grave: whether it takes something away for good.
    """

    operation: str
    label: str
    explanation: str
    on: type[Entity] | None = None
    creates: type[Entity] | None = None
    asks: tuple[str, ...] = ()
    offered: Callable[[Any], bool] = lambda _: True
    grave: bool = False


def _in(*statuses: str, attribute: str = "status") -> Callable[[Any], bool]:
    return lambda entity: getattr(entity, attribute) in statuses


ACTIONS: Final = [
    Action(
        operation="create_org",
        label="New organization",
        explanation="Creates an organization, with a user as its owner.",
        creates=Organization,
        asks=("creator", "name", "slug"),
    ),
    Action(
        operation="update_org",
        label="Edit",
        explanation="Changes the name or the slug. What is left empty is cleared.",
        on=Organization,
        asks=("name", "slug"),
        offered=_in(Status.ACTIVE, Status.SUSPENDED),
    ),
    Action(
        operation="add_member",
        label="Add member",
        explanation="Makes a user a member.",
        on=Organization,
        asks=("usr_id", "role"),
        offered=_in(Status.ACTIVE),
    ),
    Action(
        operation="create_invitation",
        label="Invite",
        explanation="Offers somebody a place in the organization.",
        on=Organization,
        asks=("identifier", "role", "expires_at", "invited_by"),
        offered=_in(Status.ACTIVE),
    ),
    Action(
        operation="suspend_org",
        label="Suspend",
        explanation="Pauses the organization. Memberships stay as they are.",
        on=Organization,
        offered=_in(Status.ACTIVE),
    ),
    Action(
        operation="reinstate_org",
        label="Reinstate",
        explanation="Brings the suspended organization back.",
        on=Organization,
        offered=_in(Status.SUSPENDED),
    ),
    Action(
        operation="revoke_org",
        label="Revoke",
        explanation="Ends the organization for good, with every membership, tuple and pending "
        "invitation of it. This cannot be undone.",
        on=Organization,
        offered=_in(Status.ACTIVE, Status.SUSPENDED),
        grave=True,
    ),
    Action(
        operation="change_role",
        label="Change role",
        explanation="Ends the membership and begins another one in the new role.",
        on=Membership,
        asks=("new_role",),
        offered=_in(Status.ACTIVE),
    ),
    Action(
        operation="suspend_membership",
        label="Suspend",
        explanation="Pauses the membership.",
        on=Membership,
        offered=_in(Status.ACTIVE),
    ),
    Action(
        operation="reinstate_membership",
        label="Reinstate",
        explanation="Brings the suspended membership back.",
        on=Membership,
        offered=_in(Status.SUSPENDED),
    ),
    Action(
        operation="admin_remove",
        label="Remove",
        explanation="Ends the membership for good.",
        on=Membership,
        asks=("admin_usr_id",),
        offered=_in(Status.ACTIVE, Status.SUSPENDED),
        grave=True,
    ),
    Action(
        operation="renew_invitation",
        label="Renew",
        explanation="Lets the invitation be answered until another moment.",
        on=Invitation,
        asks=("expires_at",),
        offered=_in(InvitationStatus.PENDING),
    ),
    Action(
        operation="revoke_invitation",
        label="Revoke",
        explanation="Withdraws the invitation for good.",
        on=Invitation,
        asks=("admin_usr_id",),
        offered=_in(InvitationStatus.PENDING, attribute="effective_status"),
        grave=True,
    ),
]
"""All actions, in the order of their buttons."""

_READ: Final = {
    Organization: "get_org",
    Membership: "get_membership",
    Invitation: "get_invitation",
}

_OFFERS_LAST: Final = timedelta(days=7)


def offered_on(model: type[Entity], entity: Entity | None = None) -> list[Action]:
    """Return the actions for which an entity is in a state; without one, those that need none."""
    if entity is None:
        return [action for action in ACTIONS if action.creates is model]
    return [action for action in ACTIONS if action.on is model and action.offered(entity)]


def action_named(operation: str, model: type[Entity]) -> Action | None:
    """Return the action of that name on the sheet of a class, if there is one."""
    there = (action for action in ACTIONS if model in {action.on, action.creates})
    return next((action for action in there if action.operation == operation), None)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where operators do what they do.

    Attributes:
        clock: returns the current time.
        policy: what the application decides.
    """

    clock: Clock
    policy: Policy

    @property
    def now(self) -> datetime:
        """The current time."""
        return time_of(self.clock)

    def tenancy(self, session: AnySession, usr_id: str | None) -> Tenancy:
        """Return the operations on a Session, for a user or else for the system."""
        system = TenancyRepository(session, clock=self.clock, policy=self.policy)
        return system if usr_id is None else system.acting_as(usr_id)


@dataclass
class Visit:
    """An operator on the page of an action.

    Attributes:
        action: the action.
        target: what it is done to, if anything.
        title: what the page is about.
        form: the form of its parameters, filled in or not.
        error: why it has been refused, if it has.
    """

    action: Action
    target: Any
    title: str
    form: Any
    error: TenancyError | None = None

    @classmethod
    def begin(
        cls,
        tenancy: Tenancy,
        *,
        action: Action,
        target_id: str | None,
        given: Any = None,
        at: datetime,
    ) -> Visit:
        """Return the visit to an action's page.

        Args:
            tenancy: the operations, of the system or for the operator's user.
            action: the action.
            target_id: the wire id of what it is done to, as the request has it.
            given: what the form has been filled in with, if it has.
            at: the time, by which its defaults are made.

        Raises:
            InvalidIdError: the id is malformed, or missing.
            NotFoundError: there is no such thing, or the operator's user must not learn of it.
        """
        target = None
        if action.on is not None:
            target = getattr(tenancy, _READ[action.on])(target_id)
        asks, administrators = action.asks, list[tuple[str, str]]()
        if isinstance(tenancy, ActingTenancy):
            asks = tuple(name for name in asks if name not in IN_NAME_OF)
        elif target is not None and set(asks) & IN_NAME_OF:
            administrators = _administrators(tenancy, target)
        defaults = {
            "name": getattr(target, "name", None),
            "slug": getattr(target, "slug", None),
            "new_role": getattr(target, "role", None),
            "role": Role.MEMBER,
            "expires_at": at + _OFFERS_LAST,
        }
        title = action.label if target is None else f"{action.label}: {_called(target)}"
        return cls(action, target, title, form_of(asks, administrators)(given, data=defaults))

    @property
    def status(self) -> int:
        """The HTTP status of the page."""
        if self.error is not None:
            return status_of(self.error)
        return 400 if self.form.errors else 200

    def perform(self, tenancy: Tenancy) -> Any:
        """Do what the form says, and return what it has been done to.

        Raises:
            TenancyError: the operation refuses it.
        """
        target = [] if self.target is None else [self.target.id]
        done = getattr(tenancy, self.action.operation)(*target, **self._arguments())
        return getattr(done, "org", done)

    def _arguments(self) -> Mapping[str, Any]:
        given: dict[str, Any] = {name: value or None for name, value in self.form.data.items()}
        if "expires_at" in given:
            given["expires_at"] = given["expires_at"].replace(tzinfo=UTC)
        if self.action.operation == "update_org":  # what others wrote otherwise is left as it is
            return {n: value for n, value in given.items() if value != getattr(self.target, n)}
        return given


def _called(target: Any) -> str:
    if isinstance(target, Membership):
        return f"{name_of(target.user)} in {name_of(target.organization)}"
    return name_of(target)


def _administrators(tenancy: TenancyRepository, target: Any) -> list[tuple[str, str]]:
    """Return the users in whose name something may be done, each with a name."""
    org_id = target.id if isinstance(target, Organization) else target.org_id
    members = tenancy.list_members(
        org_id,
        status=Status.ACTIVE,
        roles=[Role.OWNER, Role.ADMIN],
        limit=200,
        options=[joinedload(Membership.user)],
    )
    return [(member.usr_id, f"{name_of(member.user)} ({member.role})") for member in members]
