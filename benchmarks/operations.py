"""The operations that both sides have, each with the fixture that it needs fresh."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, TypeAlias

import psycopg

from benchmarks.seeding import Population
from benchmarks.sides import Store
from flametrench_tenancy_sqlalchemy import Membership, PreTuple, Role, Status, new_id

Call: TypeAlias = Callable[[Store], object]
Prepare: TypeAlias = Callable[["Stage"], Call]

IDENTIFIER: Final = "someone@example.com"
"""Whoever is invited."""

_USERS_AT_ONCE: Final = 500


class Stage:
    """Makes fixtures, through a connection of its own that nobody times.

    Args:
        connection: an autocommit connection to the side's database.
        store: the side's store, over another direct connection.
        population: who is there already, if the database is not empty.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        store: Store,
        population: Population | None = None,
    ) -> None:
        self.store = store
        self._connection = connection
        self._population = population
        self._users: list[str] = []
        self._dice = random.Random(0)  # the same choices for both sides

    def user(self) -> str:
        """Return a user whom nobody has used yet."""
        if not self._users:
            self.reserve(_USERS_AT_ONCE)
        return self._users.pop()

    def reserve(self, count: int) -> None:
        """Have users ready."""
        new = [new_id("usr") for _ in range(count - len(self._users))]
        self._connection.execute(
            "INSERT INTO usr (id) SELECT unnest(%s::uuid[])", [[usr_id[4:] for usr_id in new]]
        )
        self._users += new

    def org(self) -> Org:
        """Return an organization with its owner, who stays: any of those seeded, or a new one."""
        if self._population is None:
            return self.new_org()
        number = self._dice.randrange(self._population.orgs)
        return Org(
            self,
            self._population.org(number),
            self._population.owner(number),
            self._population.owner_membership(number),
        )

    def new_org(self) -> Org:
        """Return an organization to do anything with."""
        owner = self.user()
        created = self.store.create_org(owner, name="Acme", slug=f"acme-{owner[4:]}")
        return Org(self, created.org.id, owner, created.owner_membership.id)

    @cached_property
    def club(self) -> Org:
        """The organization that is read: a seeded one, or one with twenty of each."""
        org = self.org()
        if self._population is not None:
            return org
        for _ in range(19):
            org.member()
        for _ in range(20):
            org.invitation()
        return org


@dataclass(frozen=True)
class Org:
    """An organization of a fixture."""

    stage: Stage
    id: str
    owner: str
    owner_mem_id: str

    def member(self, role: Role = Role.MEMBER) -> Membership:
        """Add somebody new."""
        return self.stage.store.add_member(self.id, self.stage.user(), role)

    def invitation(self, *, grants: int = 0) -> str:
        """Invite the one identifier, and return the invitation's id."""
        offer = _offer(self, grants)
        return self.stage.store.create_invitation(*offer, pre_tuples=_grants(grants)).id


def _offer(org: Org, grants: int) -> tuple[str, str, Role, str, datetime]:
    return org.id, IDENTIFIER, Role.MEMBER, org.owner, datetime.now(UTC) + timedelta(days=7)


def _grants(count: int) -> list[PreTuple]:
    # Both sides take the canonical form of an id whose type is the application's own.
    ids = (new_id("tup")[4:] for _ in range(count))
    return [
        PreTuple("editor", "proj", f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}") for i in ids
    ]


OPERATIONS: Final[dict[str, Prepare]] = {}
"""Every operation, by the name that tables show."""


def _operation(prepare: Prepare) -> Prepare:
    OPERATIONS[prepare.__name__.removeprefix("_")] = prepare
    return prepare


@_operation
def _create_org(stage: Stage) -> Call:
    owner = stage.user()
    return lambda store: store.create_org(owner, name="Acme", slug=f"new-{owner[4:]}")


@_operation
def _update_org(stage: Stage) -> Call:
    org = stage.new_org()
    return lambda store: store.update_org(org.id, name="Acme & Sons")


@_operation
def _suspend_org(stage: Stage) -> Call:
    org = stage.new_org()
    return lambda store: store.suspend_org(org.id)


@_operation
def _reinstate_org(stage: Stage) -> Call:
    org = stage.new_org()
    stage.store.suspend_org(org.id)
    return lambda store: store.reinstate_org(org.id)


@_operation
def _revoke_org(stage: Stage) -> Call:
    org = stage.new_org()
    for _ in range(3):
        org.member()
    return lambda store: store.revoke_org(org.id)


@_operation
def _add_member(stage: Stage) -> Call:
    org, user = stage.org(), stage.user()
    return lambda store: store.add_member(org.id, user, Role.MEMBER, invited_by=org.owner)


@_operation
def _change_role(stage: Stage) -> Call:
    member = stage.org().member()
    return lambda store: store.change_role(member.id, Role.ADMIN)


@_operation
def _change_role_of_owner(stage: Stage) -> Call:
    owner = stage.org().member(Role.OWNER)
    return lambda store: store.change_role(owner.id, Role.MEMBER)


@_operation
def _suspend_membership(stage: Stage) -> Call:
    member = stage.org().member()
    return lambda store: store.suspend_membership(member.id)


@_operation
def _reinstate_membership(stage: Stage) -> Call:
    member = stage.org().member()
    stage.store.suspend_membership(member.id)
    return lambda store: store.reinstate_membership(member.id)


@_operation
def _self_leave(stage: Stage) -> Call:
    member = stage.org().member()
    return lambda store: store.self_leave(member.id)


@_operation
def _self_leave_of_last_owner(stage: Stage) -> Call:
    org = stage.new_org()
    heir = org.member()
    return lambda store: store.self_leave(org.owner_mem_id, transfer_to=heir.usr_id)


@_operation
def _admin_remove(stage: Stage) -> Call:
    org = stage.org()
    member = org.member()
    return lambda store: store.admin_remove(member.id, org.owner)


@_operation
def _transfer_ownership(stage: Stage) -> Call:
    org = stage.org()
    owner, member = org.member(Role.OWNER), org.member()
    return lambda store: store.transfer_ownership(org.id, owner.id, member.id)


@_operation
def _create_invitation(stage: Stage) -> Call:
    offer = _offer(stage.org(), 0)
    return lambda store: store.create_invitation(*offer)


def _acceptance(stage: Stage, grants: int) -> Call:
    inv_id, user = stage.org().invitation(grants=grants), stage.user()
    return lambda store: store.accept_invitation(
        inv_id, as_usr_id=user, accepting_identifier=IDENTIFIER
    )


@_operation
def _accept_invitation(stage: Stage) -> Call:
    return _acceptance(stage, 0)


@_operation
def _accept_with_ten_grants(stage: Stage) -> Call:
    return _acceptance(stage, 10)


@_operation
def _decline_invitation(stage: Stage) -> Call:
    inv_id, user = stage.org().invitation(), stage.user()
    return lambda store: store.decline_invitation(inv_id, as_usr_id=user)


@_operation
def _revoke_invitation(stage: Stage) -> Call:
    org = stage.org()
    inv_id = org.invitation()
    return lambda store: store.revoke_invitation(inv_id, org.owner)


@_operation
def _get_org(stage: Stage) -> Call:
    org_id = stage.club.id
    return lambda store: store.get_org(org_id)


@_operation
def _get_membership(stage: Stage) -> Call:
    mem_id = stage.club.owner_mem_id
    return lambda store: store.get_membership(mem_id)


@_operation
def _list_members(stage: Stage) -> Call:
    org_id = stage.club.id
    return lambda store: store.list_members(org_id, status=Status.ACTIVE)


@_operation
def _list_invitations(stage: Stage) -> Call:
    org_id = stage.club.id
    return lambda store: store.list_invitations(org_id)


@_operation
def _list_tuples_for_subject(stage: Stage) -> Call:
    usr_id = stage.club.owner
    return lambda store: store.list_tuples_for_subject("usr", usr_id)


@_operation
def _list_tuples_for_object(stage: Stage) -> Call:
    org_id = stage.club.id
    return lambda store: store.list_tuples_for_object("org", org_id)
