"""The operations, each with the fixture that it needs fresh."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, partial
from hashlib import md5
from itertools import islice
from operator import methodcaller
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import psycopg

from benchmarks.grounds import seeded
from benchmarks.sides import Store
from flametrench_tenancy_sqlalchemy import AuditLog, InvitationRequest, Membership, new_id
from flametrench_tenancy_sqlalchemy.values import PreTuple, Role, Status

Call: TypeAlias = Callable[[Store], Any]
Prepare: TypeAlias = Callable[["Stage"], Call]

_INVITED: Final = "someone@example.com"


@dataclass(eq=False)
class Stage:
    """Makes fixtures, through connections of its own that nobody times."""

    connection: psycopg.Connection[Any]
    store: Store
    seeded: bool
    """Whether there is an organization already."""
    rows: int
    """How many rows a set has."""
    undo: Callable[[], object] = lambda: None
    """What makes good again what an operation did to an organization that others need."""
    _users: list[str] = field(default_factory=list)

    def restore(self) -> None:
        """Undo what the last operation asked to have undone."""
        self.undo()
        self.undo = lambda: None

    def user(self) -> str:
        """Return a user whom nobody has used yet."""
        if not self._users:
            self._users = [new_id("usr") for _ in range(500)]
            self.connection.execute(
                "INSERT INTO usr (id) SELECT unnest(%s::uuid[])", [[id_[4:] for id_ in self._users]]
            )
        return self._users.pop()

    def org(self) -> Org:
        """Return an organization whose owner stays: the one that is seeded, or a new one."""
        return Org(self, *map(seeded, ("org", "usr", "mem"))) if self.seeded else self.new_org()

    def new_org(self) -> Org:
        """Return an organization to do anything with."""
        owner = self.user()
        created = self.store.create_org(owner, name="Acme", slug=f"acme-{owner[4:]}")
        return Org(self, created.org.id, owner, created.owner_membership.id)

    @cached_property
    def club(self) -> Org:
        """The organization that is read: a seeded one, or one with twenty members."""
        org = self.org()
        for _ in range(0 if self.seeded else 19):
            org.member()
        return org

    def crowd(self) -> tuple[Org, list[str]]:
        """Return a new organization, and memberships in it, as many as a set has rows."""
        org = self.new_org()
        return org, [member.id for member in _joins(org, self.rows)(self.store)]

    @cache  # noqa: B019 - a stage lives as long as its process
    def middle(self, kind: str) -> str:
        """Return the id in the middle of a table, as a cursor."""
        row = self.connection.execute(
            f"SELECT id FROM {kind} ORDER BY id OFFSET (SELECT count(*) FROM {kind}) / 2 LIMIT 1"
        ).fetchone()
        assert row is not None
        return f"{kind}_{row[0].hex}"


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
        """Invite somebody, and return the invitation's id."""
        # All sides take the canonical form of an id whose type is the application's own.
        ids = [str(UUID(new_id("tup")[4:])) for _ in range(grants)]
        given = [PreTuple("editor", "proj", each) for each in ids]
        return self.stage.store.create_invitation(*_offer(self), pre_tuples=given).id


def _do(name: str, /, *args: object, **kwargs: object) -> Call:
    return methodcaller(name, *args, **kwargs)


def _offer(org: Org) -> tuple[str, str, Role, str, datetime]:
    return org.id, _INVITED, Role.MEMBER, org.owner, datetime.now(UTC) + timedelta(days=7)


def _suspend_org(stage: Stage) -> Call:
    org = stage.org()
    stage.undo = lambda: stage.store.reinstate_org(org.id)
    return _do("suspend_org", org.id)


def _reinstate_org(stage: Stage) -> Call:
    org = stage.org()
    stage.store.suspend_org(org.id)
    return _do("reinstate_org", org.id)


def _revoke_org(stage: Stage) -> Call:
    org = stage.new_org()
    for _ in range(3):
        org.member()
    return _do("revoke_org", org.id)


def _reinstate_membership(stage: Stage) -> Call:
    member = stage.org().member()
    stage.store.suspend_membership(member.id)
    return _do("reinstate_membership", member.id)


def _accept(stage: Stage, grants: int) -> Call:
    inv_id, user = stage.org().invitation(grants=grants), stage.user()
    return _do("accept_invitation", inv_id, as_usr_id=user, accepting_identifier=_INVITED)


def _page(name: str, kind: str, where: str, stage: Stage) -> Call:
    org_id = [] if kind == "org" else [stage.club.id]
    return _do(name, *org_id, cursor=stage.middle(kind) if where == "deep" else None)


def _joins(org: Org, count: int) -> Call:
    joining = [(org.stage.user(), Role.MEMBER) for _ in range(count)]
    each, by = [(org.id, *one) for one in joining], {"invited_by": org.owner}
    return _set("add_members", org.id, joining, one="add_member", each=each, **by)


def _change_roles(stage: Stage) -> Call:
    roles = dict.fromkeys(stage.crowd()[1], Role.GUEST)
    return _set("change_roles", roles, one="change_role", each=roles.items())


def _remove_members(stage: Stage) -> Call:
    org, members = stage.crowd()
    removals = [(mem_id, org.owner) for mem_id in members]
    return _set("remove_members", members, org.owner, one="admin_remove", each=removals)


def _create_invitations(stage: Stage) -> Call:
    org_id, _, role, owner, end = _offer(stage.new_org())
    identifiers = [f"{number}@example.com" for number in range(stage.rows)]
    offers = [(org_id, identifier, role, owner, end) for identifier in identifiers]
    requests = [InvitationRequest(each, role, expires_at=end) for each in identifiers]
    return _set("create_invitations", org_id, requests, owner, one="create_invitation", each=offers)


def _set(
    name: str, *args: object, one: str, each: Iterable[tuple[object, ...]], **kwargs: object
) -> Call:
    """Return a set, or one operation after the other where there are no sets."""

    def call(store: Store) -> list[Any]:
        if hasattr(store, name):
            return [outcome.unwrap() for outcome in _do(name, *args, **kwargs)(store)]
        return [_do(one, *given, **kwargs)(store) for given in each]

    return call


def _on_log(ask: Callable[[AuditLog], object]) -> Call:
    return lambda store: ask(AuditLog(cast("Any", store).session))


WRITES: Final[dict[str, Prepare]] = {
    "create_org": lambda stage: _do(
        "create_org", owner := stage.user(), name="Acme", slug=f"new-{owner[4:]}"
    ),
    "update_org": lambda stage: _do("update_org", stage.org().id, name="Acme & Sons"),
    "suspend_org": _suspend_org,
    "reinstate_org": _reinstate_org,
    "revoke_org": _revoke_org,
    "add_member": lambda stage: _do(
        "add_member", (org := stage.org()).id, stage.user(), Role.MEMBER, invited_by=org.owner
    ),
    "change_role": lambda stage: _do("change_role", stage.org().member().id, Role.ADMIN),
    "change_role_of_owner": lambda stage: _do(
        "change_role", stage.org().member(Role.OWNER).id, Role.MEMBER
    ),
    "suspend_membership": lambda stage: _do("suspend_membership", stage.org().member().id),
    "reinstate_membership": _reinstate_membership,
    "self_leave": lambda stage: _do("self_leave", stage.org().member().id),
    "self_leave_of_last_owner": lambda stage: _do(
        "self_leave", (org := stage.new_org()).owner_mem_id, transfer_to=org.member().usr_id
    ),
    "admin_remove": lambda stage: _do("admin_remove", (org := stage.org()).member().id, org.owner),
    "transfer_ownership": lambda stage: _do(
        "transfer_ownership", (org := stage.org()).id, org.member(Role.OWNER).id, org.member().id
    ),
    "create_invitation": lambda stage: _do("create_invitation", *_offer(stage.org())),
    "accept_invitation": lambda stage: _accept(stage, 0),
    "accept_with_ten_grants": lambda stage: _accept(stage, 10),
    "decline_invitation": lambda stage: _do(
        "decline_invitation", stage.org().invitation(), as_usr_id=stage.user()
    ),
    "revoke_invitation": lambda stage: _do(
        "revoke_invitation", (org := stage.org()).invitation(), org.owner
    ),
}
"""Those that write, an entity or two each."""
READS: Final[dict[str, Prepare]] = {
    "get_org": lambda stage: _do("get_org", stage.club.id),
    "require_role": lambda stage: _do(
        "require_role", stage.club.id, stage.club.owner, Role.OWNER, Role.ADMIN
    ),
    "list_members": lambda stage: _do("list_members", stage.club.id, status=Status.ACTIVE),
}
"""Those that requests begin with."""
PEOPLE: Final[dict[str, Prepare]] = {
    "list_invitations_for": lambda _: _do("list_invitations_for", "0@example.com"),
    "erase_identifier": lambda stage: _do(
        "erase_identifier", f"{int(stage.user()[-6:], 16) % 2000}@example.com"
    ),
    "offboard_user": lambda stage: _do("offboard_user", stage.org().member().usr_id),
}
"""Those about one person, a member or whoever is invited, wherever they are."""
PAGES: Final[dict[str, Prepare]] = {
    f"{name}, {where}": partial(_page, name, kind, where)
    for name, kind in [("list_members", "mem"), ("list_invitations", "inv"), ("list_orgs", "org")]
    for where in ("first", "deep")
}
"""First pages of lists, and those that begin in the middle of what is seeded."""
SEARCHES: Final[dict[str, Prepare]] = {
    "search for all": lambda _: _do("list_orgs", query="ORGANIZATION"),
    "search for one in 2,000": lambda _: _do("list_orgs", query="beef"),
    "search for one": lambda _: _do("list_orgs", query=md5(b"org1").hexdigest()),
    "search for none": lambda _: _do("list_orgs", query="no such name"),
}
"""Searches among the seeded organizations, by how many of them are found."""
SETS: Final[dict[str, Prepare]] = {
    "add_members": lambda stage: _joins(stage.new_org(), stage.rows),
    "change_roles": _change_roles,
    "remove_members": _remove_members,
    "create_invitations": _create_invitations,
    "revoke_org of many": lambda stage: _do("revoke_org", stage.crowd()[0].id),
}
"""Many rows at once; a side that has no sets writes one row after the other."""
LOG: Final[dict[str, Prepare]] = {
    "follow a thousand": lambda _: _on_log(lambda log: log.follow("benchmark", limit=1000)),
    "export ten thousand": lambda stage: _on_log(
        lambda log: list(islice(log.export(org_id=stage.club.id), 10_000))
    ),
    "members_at": lambda stage: _on_log(
        lambda log: log.members_at(stage.club.id, datetime.now(UTC) - timedelta(hours=10.5))
    ),
}
"""What is asked of an audit log, whose transaction somebody else ends."""

OPERATIONS: Final[dict[str, Prepare]] = {
    **WRITES,
    **READS,
    **PEOPLE,
    **PAGES,
    **SEARCHES,
    **SETS,
    **LOG,
}
"""Every operation, by the name that tables show."""
