"""The operations for one user: without the parameters that say who acts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from ..authority import Actor
from ..ids import require
from ..models import Invitation, Membership, Organization, User
from ..models.base import not_found
from ..results import (
    AcceptInvitationResult,
    CreateOrgResult,
    InvitationPreview,
    TransferOwnershipResult,
)
from ..rows import Members, Requests, RoleChanges
from ..transactions.isolation import View, Way
from ..transactions.sessions import where_writes_go
from ..values import (
    UNSET,
    InvitationStatus,
    Outcome,
    Page,
    PreTuple,
    Role,
    SeatCount,
    Status,
    Unset,
)
from .actors import ForOneUser
from .kinds import guards, reads
from .queries import Options

if TYPE_CHECKING:
    from . import TenancyRepository

P = ParamSpec("P")
R = TypeVar("R")


class ActingTenancy(ForOneUser):
    """The operations of tenancy for one user, who is whoever acts in them.

    Each checks, under its own locks, that the user may, by ``authority.RULES``. Arguments,
    results and errors are those of `TenancyRepository`, and besides:

    Raises:
        NotFoundError: the user is no member of the organization that it belongs to; or the
            invitation is another's, and the user no owner or admin.
        ForbiddenError: the user lacks the role; or a role that they would give, or touch, ranks
            above their own.
        PreconditionError: ``org_not_active``; the organization is suspended.
    """

    def __init__(self, tenancy: TenancyRepository, actor: Actor) -> None:
        self._tenancy = tenancy._bound_to(actor)
        self._actor = actor

    # Organizations

    def create_org(
        self, *, name: str | None = None, slug: str | None = None, org_id: str | None = None
    ) -> CreateOrgResult:
        """Create an organization that the user owns."""
        return self._tenancy.create_org(self.usr_id, name=name, slug=slug, org_id=org_id)

    @reads
    def get_org(self, org_id: str, *, options: Options | None = None) -> Organization:
        """Return an organization of theirs."""
        return self._tenancy.get_org(org_id, options=options)

    @reads
    def get_org_by_slug(self, slug: str, *, options: Options | None = None) -> Organization:
        """Return the organization of theirs that holds a slug."""
        return self._tenancy.get_org_by_slug(slug, options=options)

    def update_org(
        self,
        org_id: str,
        *,
        name: str | Unset | None = UNSET,
        slug: str | Unset | None = UNSET,
    ) -> Organization:
        """Change an organization's name or slug, as an owner or admin."""
        return self._tenancy.update_org(org_id, name=name, slug=slug)

    def suspend_org(self, org_id: str) -> Organization:
        """Pause an organization, as an owner."""
        return self._tenancy.suspend_org(org_id)

    def reinstate_org(self, org_id: str) -> Organization:
        """Bring a suspended organization back, as an owner."""
        return self._tenancy.reinstate_org(org_id)

    def revoke_org(self, org_id: str) -> Organization:
        """End an organization for good, as an owner."""
        return self._tenancy.revoke_org(org_id)

    @reads
    def list_orgs(
        self,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: Status | str | None = None,
        query: str | None = None,
        options: Options | None = None,
    ) -> Page[Organization]:
        """Refuse to tell who the customers are; `list_memberships` has the user's own."""
        return self._tenancy.list_orgs(
            cursor=cursor, limit=limit, status=status, query=query, options=options
        )

    # Members

    @reads
    def list_memberships(
        self,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: Status | str | None = None,
        options: Options | None = None,
    ) -> Page[Membership]:
        """Return a page of their own memberships, each with its ``organization`` loaded."""
        return self._tenancy.list_memberships(
            self.usr_id, cursor=cursor, limit=limit, status=status, options=options
        )

    @guards
    def require_role(
        self, org_id: str, *roles: Role | str, options: Options | None = None
    ) -> Membership:
        """Return the membership that lets the user's request pass: the request guard."""
        return self._tenancy.require_role(org_id, self.usr_id, *roles, options=options)

    @guards
    def role_of(self, org_id: str) -> Role | None:
        """Return the role that they have in an active organization, if they have one."""
        return self._tenancy.role_of(org_id, self.usr_id)

    @reads
    def list_members(
        self,
        org_id: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: Status | str | None = None,
        roles: Collection[Role | str] | None = None,
        query: str | None = None,
        newest_first: bool = False,
        options: Options | None = None,
    ) -> Page[Membership]:
        """Return a page of an organization's memberships, as a member."""
        return self._tenancy.list_members(
            org_id,
            cursor=cursor,
            limit=limit,
            status=status,
            roles=roles,
            query=query,
            newest_first=newest_first,
            options=options,
        )

    @reads
    def count_members(self, org_id: str, *, status: Status | str | None = None) -> int:
        """Return how many memberships an organization has, as a member."""
        return self._tenancy.count_members(org_id, status=status)

    @reads
    def count_seats(self, org_id: str) -> SeatCount:
        """Return how many seats an organization has and how many are taken, as a member."""
        return self._tenancy.count_seats(org_id)

    @reads
    def get_membership(self, mem_id: str, *, options: Options | None = None) -> Membership:
        """Return a membership of their own, or as a member of its organization."""
        return self._tenancy.get_membership(mem_id, options=options)

    @guards
    def find_membership(
        self, org_id: str, usr_id: User | str, *, options: Options | None = None
    ) -> Membership | None:
        """Return somebody's active membership in an organization, as a member, if there is one."""
        return self._tenancy.find_membership(org_id, usr_id, options=options)

    def add_member(self, org_id: str, usr_id: User | str, role: Role | str) -> Membership:
        """Make somebody a member, as an owner or admin, who has brought them in."""
        return self._tenancy.add_member(org_id, usr_id, role, invited_by=self.usr_id)

    def add_members(
        self,
        org_id: str | None = None,
        members: Members = (),
        *,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Membership]]:
        """Make many people members, each as `add_member` does."""
        return self._tenancy.add_members(
            org_id,  # type: ignore[arg-type]  # its overloads cannot be said again in all forms
            members,
            invited_by=self.usr_id,
            all_or_nothing=all_or_nothing,
        )

    def change_role(self, mem_id: str, new_role: Role | str) -> Membership:
        """Change a member's role, as an owner or admin."""
        return self._tenancy.change_role(mem_id, new_role)

    def change_roles(
        self,
        roles: RoleChanges,
        *,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Membership]]:
        """Change the roles of many members, each as `change_role` does."""
        return self._tenancy.change_roles(roles, all_or_nothing=all_or_nothing)

    def suspend_membership(self, mem_id: str) -> Membership:
        """Pause a membership, as an owner or admin."""
        return self._tenancy.suspend_membership(mem_id)

    def reinstate_membership(self, mem_id: str) -> Membership:
        """Bring a suspended membership back, as an owner or admin."""
        return self._tenancy.reinstate_membership(mem_id)

    def self_leave(self, mem_id: str, *, transfer_to: User | str | None = None) -> Membership:
        """End a membership of their own, in a suspended organization, too."""
        return self._tenancy.self_leave(mem_id, transfer_to=transfer_to)

    def admin_remove(self, mem_id: str) -> Membership:
        """End a membership, as an owner or admin."""
        return self._tenancy.admin_remove(mem_id, self.usr_id)

    def remove_members(
        self, mem_ids: Collection[str], *, all_or_nothing: bool = False
    ) -> list[Outcome[Membership]]:
        """End many memberships, each as `admin_remove` does."""
        return self._tenancy.remove_members(mem_ids, self.usr_id, all_or_nothing=all_or_nothing)

    def transfer_ownership(self, org_id: str, to_mem_id: str) -> TransferOwnershipResult:
        """Hand their own ownership of an organization to another member."""
        with where_writes_go(self._tenancy.session):
            own = self._tenancy.find_membership(org_id, self.usr_id)
        if own is None:
            raise not_found(Organization, org_id, "org_id")
        return self._tenancy.transfer_ownership(org_id, own.id, to_mem_id)

    def offboard_user(
        self, usr_id: User | str, *, heirs: Mapping[str, User | str] | None = None
    ) -> list[Membership]:
        """Leave everywhere; the user can only be themselves."""
        return self._tenancy.offboard_user(usr_id, heirs=heirs)

    # Invitations

    def create_invitation(
        self,
        org_id: str,
        identifier: str,
        role: Role | str,
        expires_at: datetime,
        *,
        pre_tuples: Collection[PreTuple | Mapping[str, str]] | None = None,
        inv_id: str | None = None,
    ) -> Invitation:
        """Offer somebody a place in an organization, as an owner or admin."""
        return self._tenancy.create_invitation(
            *(org_id, identifier, role, self.usr_id, expires_at),
            pre_tuples=pre_tuples,
            inv_id=inv_id,
        )

    def create_invitations(
        self,
        org_id: str | None = None,
        requests: Requests = (),
        *,
        all_or_nothing: bool = False,
    ) -> list[Outcome[Invitation]]:
        """Offer many people a place, each as `create_invitation` does."""
        return self._tenancy.create_invitations(
            org_id,  # type: ignore[arg-type]  # as above
            requests,
            self.usr_id,
            all_or_nothing=all_or_nothing,
        )

    @reads
    def get_invitation(self, inv_id: str, *, options: Options | None = None) -> Invitation:
        """Return an invitation to them, or, as an owner or admin, of their organization."""
        return self._tenancy.get_invitation(inv_id, options=options)

    @reads
    def list_invitations(
        self,
        org_id: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: InvitationStatus | str | None = None,
        options: Options | None = None,
    ) -> Page[Invitation]:
        """Return a page of an organization's invitations, as an owner or admin."""
        return self._tenancy.list_invitations(
            org_id, cursor=cursor, limit=limit, status=status, options=options
        )

    def accept_invitation(self, inv_id: str) -> AcceptInvitationResult:
        """Accept an invitation to the identifier that is proven to be theirs."""
        return self._tenancy.accept_invitation(
            inv_id, as_usr_id=self.usr_id, accepting_identifier=self.identifier
        )

    def decline_invitation(self, inv_id: str) -> Invitation:
        """Refuse an invitation to the identifier that is proven to be theirs."""
        return self._tenancy.decline_invitation(inv_id, as_usr_id=self.usr_id)

    def revoke_invitation(self, inv_id: str) -> Invitation:
        """Withdraw an invitation, as an owner or admin."""
        return self._tenancy.revoke_invitation(inv_id, self.usr_id)

    def renew_invitation(self, inv_id: str, expires_at: datetime) -> Invitation:
        """Let a pending invitation be answered until another moment, as an owner or admin."""
        return self._tenancy.renew_invitation(inv_id, expires_at)

    @reads
    def preview_invitation(self, inv_id: str) -> InvitationPreview:
        """Return what an invitation to them, or to their organization, shows."""
        return self._tenancy.preview_invitation(inv_id)

    @reads
    def inbox(
        self, *, cursor: str | None = None, limit: int = 50, options: Options | None = None
    ) -> Page[Invitation]:
        """Return a page of the invitations that they may accept now, with their organizations."""
        if self.identifier is None:
            return Page([], None)
        return self._tenancy.list_invitations_for(
            self.identifier, cursor=cursor, limit=limit, options=options
        )

    def erase_identifier(self, identifier: str) -> int:
        """Refuse to forget an identifier, which is for the operator to do."""
        return self._tenancy.erase_identifier(identifier)

    def expire_invitations(self, *, limit: int = 1000) -> int:
        """Refuse to do a periodic job, which is no user's."""
        return self._tenancy.expire_invitations(limit=limit)


@contextmanager
def reading_log(acting: ActingTenancy, org_id: str) -> Iterator[None]:
    """Let the block read an organization's audit log for a user, as an owner or admin.

    Args:
        acting: the operations for the user.
        org_id: the organization's wire id (``org_…``).

    Raises:
        InvalidIdError: ``org_id`` is no ``org_`` wire id.
        NotFoundError: the user is no member of it.
        ForbiddenError: the user lacks the role.
        PreconditionError: ``org_not_active``; the organization is suspended.
    """
    require(org_id, "org", "org_id")
    tenancy = acting._tenancy
    with tenancy._seeing(View.of(Way.NAMED, org_id, log=True)):
        tenancy._permit_reading_in("list_events", org_id)
        yield


def for_actor(
    actor: Actor, operation: Callable[Concatenate[ActingTenancy, P], R]
) -> Callable[Concatenate[TenancyRepository, P], R]:
    """Make an operation for a user one of the repository, mark and all."""

    @functools.wraps(operation)
    def run(tenancy: TenancyRepository, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return operation(ActingTenancy(tenancy, actor), *args, **kwargs)

    return run
