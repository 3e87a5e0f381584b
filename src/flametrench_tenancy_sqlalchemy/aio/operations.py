"""Every operation, awaited: signatures and docstrings are those of the repository's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from ..authority import Actor
from ..repository import TenancyRepository
from ..repository.acting import ActingTenancy, for_actor
from ..repository.actors import ActsForUsers, ForOneUser
from .door import Door, awaited

P = ParamSpec("P")
R = TypeVar("R")


class AsyncActingTenancy(ForOneUser):
    """The operations of `ActingTenancy`, awaited."""

    def __init__(self, door: Door[TenancyRepository], actor: Actor) -> None:
        self._door = door
        self._actor = actor

    create_org = awaited(ActingTenancy.create_org)
    get_org = awaited(ActingTenancy.get_org)
    get_org_by_slug = awaited(ActingTenancy.get_org_by_slug)
    update_org = awaited(ActingTenancy.update_org)
    suspend_org = awaited(ActingTenancy.suspend_org)
    reinstate_org = awaited(ActingTenancy.reinstate_org)
    revoke_org = awaited(ActingTenancy.revoke_org)
    list_orgs = awaited(ActingTenancy.list_orgs)

    list_memberships = awaited(ActingTenancy.list_memberships)
    require_role = awaited(ActingTenancy.require_role)
    role_of = awaited(ActingTenancy.role_of)
    list_members = awaited(ActingTenancy.list_members)
    count_members = awaited(ActingTenancy.count_members)
    count_seats = awaited(ActingTenancy.count_seats)
    get_membership = awaited(ActingTenancy.get_membership)
    find_membership = awaited(ActingTenancy.find_membership)
    add_member = awaited(ActingTenancy.add_member)
    add_members = awaited(ActingTenancy.add_members)
    change_role = awaited(ActingTenancy.change_role)
    change_roles = awaited(ActingTenancy.change_roles)
    suspend_membership = awaited(ActingTenancy.suspend_membership)
    reinstate_membership = awaited(ActingTenancy.reinstate_membership)
    self_leave = awaited(ActingTenancy.self_leave)
    admin_remove = awaited(ActingTenancy.admin_remove)
    remove_members = awaited(ActingTenancy.remove_members)
    transfer_ownership = awaited(ActingTenancy.transfer_ownership)
    offboard_user = awaited(ActingTenancy.offboard_user)

    create_invitation = awaited(ActingTenancy.create_invitation)
    create_invitations = awaited(ActingTenancy.create_invitations)
    get_invitation = awaited(ActingTenancy.get_invitation)
    list_invitations = awaited(ActingTenancy.list_invitations)
    accept_invitation = awaited(ActingTenancy.accept_invitation)
    decline_invitation = awaited(ActingTenancy.decline_invitation)
    revoke_invitation = awaited(ActingTenancy.revoke_invitation)
    renew_invitation = awaited(ActingTenancy.renew_invitation)
    preview_invitation = awaited(ActingTenancy.preview_invitation)
    inbox = awaited(ActingTenancy.inbox)
    erase_identifier = awaited(ActingTenancy.erase_identifier)
    expire_invitations = awaited(ActingTenancy.expire_invitations)

    async def _run(
        self,
        operation: Callable[Concatenate[ActingTenancy, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        return await self._door._run(for_actor(self._actor, operation), *args, **kwargs)


class Operations(ActsForUsers[AsyncActingTenancy]):
    """The operations of `TenancyRepository`, awaited."""

    create_org = awaited(TenancyRepository.create_org)
    get_org = awaited(TenancyRepository.get_org)
    get_org_by_slug = awaited(TenancyRepository.get_org_by_slug)
    update_org = awaited(TenancyRepository.update_org)
    suspend_org = awaited(TenancyRepository.suspend_org)
    reinstate_org = awaited(TenancyRepository.reinstate_org)
    revoke_org = awaited(TenancyRepository.revoke_org)
    list_orgs = awaited(TenancyRepository.list_orgs)

    add_member = awaited(TenancyRepository.add_member)
    get_membership = awaited(TenancyRepository.get_membership)
    find_membership = awaited(TenancyRepository.find_membership)
    require_role = awaited(TenancyRepository.require_role)
    list_members = awaited(TenancyRepository.list_members)
    count_members = awaited(TenancyRepository.count_members)
    count_seats = awaited(TenancyRepository.count_seats)
    role_of = awaited(TenancyRepository.role_of)
    list_memberships = awaited(TenancyRepository.list_memberships)
    change_role = awaited(TenancyRepository.change_role)
    suspend_membership = awaited(TenancyRepository.suspend_membership)
    reinstate_membership = awaited(TenancyRepository.reinstate_membership)
    self_leave = awaited(TenancyRepository.self_leave)
    admin_remove = awaited(TenancyRepository.admin_remove)
    offboard_user = awaited(TenancyRepository.offboard_user)
    transfer_ownership = awaited(TenancyRepository.transfer_ownership)

    create_invitation = awaited(TenancyRepository.create_invitation)
    get_invitation = awaited(TenancyRepository.get_invitation)
    list_invitations = awaited(TenancyRepository.list_invitations)
    accept_invitation = awaited(TenancyRepository.accept_invitation)
    decline_invitation = awaited(TenancyRepository.decline_invitation)
    revoke_invitation = awaited(TenancyRepository.revoke_invitation)
    renew_invitation = awaited(TenancyRepository.renew_invitation)
    expire_invitations = awaited(TenancyRepository.expire_invitations)
    preview_invitation = awaited(TenancyRepository.preview_invitation)
    list_invitations_for = awaited(TenancyRepository.list_invitations_for)
    erase_identifier = awaited(TenancyRepository.erase_identifier)

    add_members = awaited(TenancyRepository.add_members)
    create_invitations = awaited(TenancyRepository.create_invitations)
    change_roles = awaited(TenancyRepository.change_roles)
    remove_members = awaited(TenancyRepository.remove_members)

    list_tuples_for_subject = awaited(TenancyRepository.list_tuples_for_subject)
    list_tuples_for_object = awaited(TenancyRepository.list_tuples_for_object)

    @abstractmethod
    async def _run(
        self,
        operation: Callable[Concatenate[TenancyRepository, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...

    def _for(self, actor: Actor) -> AsyncActingTenancy:
        return AsyncActingTenancy(self, actor)
