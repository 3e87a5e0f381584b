"""Who may do what: the one table of what an acting user is allowed, and the judgement by it.

Pure: the repository looks up, under the operation's own locks, where the user stands, and asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

from .errors import ForbiddenError, NotFoundError
from .models import Invitation, Membership, Organization
from .models.audit_document import require_auth, require_context, require_on_behalf
from .policy import Policy
from .values import Role, Status

NOBODY: Final[frozenset[Role]] = frozenset()
OWNERS: Final = frozenset({Role.OWNER})
ADMINISTRATORS: Final = frozenset({Role.OWNER, Role.ADMIN})
MEMBERS: Final = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Actor:
    """The user for whom operations run, and what is known about their request.

    Attributes:
        usr_id: their wire id (``usr_…``).
        identifier: the one that authentication has proven to be theirs, if it has one.
        auth: how they have signed in: a ``kind``, and the id that is named after it.
        on_behalf: ``agent_id`` of the agent that acts in their name.
        context: the circumstances: ``request_id``, ``ip`` and ``user_agent``.

    Raises:
        PreconditionError: ``auth_format``, ``on_behalf_format``, ``context_format`` or
            ``event_size``.
    """

    usr_id: str
    _: KW_ONLY
    identifier: str | None = None
    auth: Mapping[str, Any] | None = None
    on_behalf: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        require_auth(self.auth, "auth", acting=True)
        require_on_behalf(self.on_behalf, "on_behalf")
        require_context(self.context, "context")

    def owns(self, entity: Organization | Membership | Invitation, policy: Policy) -> bool:
        """Whether it is about them: their own membership, or an invitation to them."""
        match entity:
            case Membership():
                return entity.usr_id == self.usr_id
            case Invitation():
                return self.identifier is not None and policy.canonical(
                    self.identifier
                ) == policy.canonical(entity.identifier)
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may do something: an organization's active members in some roles, and whom it is about.

    Attributes:
        roles: the roles that may, in an active organization.
        own: whether users may where it is about themselves, whatever they are there.
        while_suspended: whether the roles may in a suspended organization, too.
        hidden: whether to others it is not even there.
    """

    roles: frozenset[Role] = NOBODY
    _: KW_ONLY
    own: bool = False
    while_suspended: bool = False
    hidden: bool = False

    def judge(
        self,
        membership: Membership | None,
        *,
        own: bool = False,
        reach: Iterable[Role] = (),
        missing: NotFoundError,
    ) -> None:
        """Refuse what a user may not do by a membership, where it is not enough whom it is about.

        Args:
            membership: their membership there, with its organization at hand, if they have one.
            own: whether it is about themselves, so that it is not hidden from them.
            reach: the roles that they would give or touch; none may rank above their own.
            missing: what they are told who must not learn that it is there.

        Raises:
            NotFoundError: ``missing``; they are no member, or it is hidden from them.
            PreconditionError: ``org_not_active``.
            ForbiddenError: they lack the role, or one of those to give or touch is above theirs.
        """
        if membership is None or membership.status is not Status.ACTIVE:
            raise missing
        if self.hidden and not own and membership.role not in self.roles:
            raise missing
        if not self.while_suspended:
            membership.organization.require_active()
        if membership.role not in self.roles:
            raise ForbiddenError(
                f"user {membership.usr_id} may not do this as {membership.role} of "
                f"{membership.org_id}",
                usr_id=membership.usr_id,
                org_id=membership.org_id,
                roles=sorted(self.roles) or None,
            )
        for role in reach:
            if not membership.may_give(role):
                raise ForbiddenError(
                    f"user {membership.usr_id} may not give or touch {role} as {membership.role} "
                    f"of {membership.org_id}",
                    usr_id=membership.usr_id,
                    org_id=membership.org_id,
                )

    def judge_alone(self, actor: Actor, usr_id: str | None = None) -> None:
        """Refuse what concerns no organization in particular, unless it is about the user.

        Args:
            actor: the acting user.
            usr_id: the user whom it is about, if it is about one.

        Raises:
            ForbiddenError: it is about somebody else, or everybody.
        """
        if not (self.own and usr_id == actor.usr_id):
            raise ForbiddenError(
                f"user {actor.usr_id} may not do this for others", usr_id=actor.usr_id
            )


RULES: Final[Mapping[str, Rule]] = {
    # Organizations
    "create_org": Rule(own=True),
    "get_org": Rule(MEMBERS, while_suspended=True),
    "get_org_by_slug": Rule(MEMBERS, while_suspended=True),
    "update_org": Rule(ADMINISTRATORS),
    "suspend_org": Rule(OWNERS),
    "reinstate_org": Rule(OWNERS, while_suspended=True),
    "revoke_org": Rule(OWNERS, while_suspended=True),
    "list_orgs": Rule(),
    # Members
    "list_memberships": Rule(own=True),
    "role_of": Rule(own=True),
    "require_role": Rule(own=True),
    "list_members": Rule(MEMBERS),
    "count_members": Rule(MEMBERS),
    "count_seats": Rule(MEMBERS),
    "get_membership": Rule(MEMBERS, own=True),
    "find_membership": Rule(MEMBERS, own=True),
    "add_member": Rule(ADMINISTRATORS),
    "add_members": Rule(ADMINISTRATORS),
    "change_role": Rule(ADMINISTRATORS),
    "change_roles": Rule(ADMINISTRATORS),
    "suspend_membership": Rule(ADMINISTRATORS),
    "reinstate_membership": Rule(ADMINISTRATORS),
    "admin_remove": Rule(ADMINISTRATORS),
    "remove_members": Rule(ADMINISTRATORS),
    "transfer_ownership": Rule(OWNERS),
    "self_leave": Rule(own=True, while_suspended=True),
    "offboard_user": Rule(own=True),
    # Invitations
    "list_invitations_for": Rule(own=True),
    "preview_invitation": Rule(ADMINISTRATORS, own=True, hidden=True),
    "accept_invitation": Rule(own=True, hidden=True),
    "decline_invitation": Rule(own=True, hidden=True),
    "get_invitation": Rule(ADMINISTRATORS, own=True, hidden=True),
    "list_invitations": Rule(ADMINISTRATORS),
    "create_invitation": Rule(ADMINISTRATORS),
    "create_invitations": Rule(ADMINISTRATORS),
    "renew_invitation": Rule(ADMINISTRATORS, hidden=True),
    "revoke_invitation": Rule(ADMINISTRATORS, hidden=True),
    "expire_invitations": Rule(),
    "erase_identifier": Rule(),
    # The audit log
    "list_events": Rule(ADMINISTRATORS),
}
"""An operation's name -> who may do it."""
