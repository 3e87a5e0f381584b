"""Who may do what: every operation, for every relation of a user to where it is done.

The contract's table is said here once more, in sets of relations, and not taken from the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest

from flametrench_tenancy_sqlalchemy import (
    ActingTenancy,
    InvitationRequest,
    Role,
    Status,
    TenancyError,
)
from tests.support.stage import DAY, NOW, Stage

ROLES: Final = {role.value: role for role in Role}
MEMBERS: Final = frozenset(ROLES)
MANAGERS: Final = frozenset({"owner", "admin"})
OWNERS: Final = frozenset({"owner"})
NOBODY: Final = frozenset[str]()
STRANGERS: Final = frozenset({"suspended", "removed", "stranger", "owner elsewhere"})
EVERYBODY: Final = MEMBERS | STRANGERS

DONE: Final = "done"
NOT_FOUND: Final = "not_found"
FORBIDDEN: Final = "forbidden"
NOT_ACTIVE: Final = "precondition.org_not_active"
REFUSALS: Final = {NOT_FOUND, FORBIDDEN, NOT_ACTIVE}

Ids: TypeAlias = dict[str, str]
Call: TypeAlias = Callable[[ActingTenancy, Ids], Any]

OFFER: Final = InvitationRequest("new@example.com", Role.GUEST, expires_at=NOW + DAY)
TOP_OFFER: Final = InvitationRequest("new@example.com", Role.OWNER, expires_at=NOW + DAY)


@dataclass(frozen=True)
class Case:
    """An operation on what an organization has, or on the organization.

    Attributes:
        name: the operation, and on what.
        may: which of the organization's active members may do it.
        call: how it is done.
        open: whether they may while the organization is suspended, too.
        seen_by: which of them know that what it is done to is there.
    """

    name: str
    may: frozenset[str]
    call: Call
    open: bool = False
    seen_by: frozenset[str] = MEMBERS

    def __str__(self) -> str:
        return self.name

    def answer(self, relation: str, status: Status) -> str:
        """Return what a user in a relation to an organization in a status is told."""
        if status is Status.REVOKED or relation not in self.seen_by:
            return NOT_FOUND
        if status is Status.SUSPENDED and not self.open:
            return NOT_ACTIVE
        return DONE if relation in self.may else FORBIDDEN


CASES: Final = [
    # The organization
    Case("get_org", MEMBERS, lambda a, ids: a.get_org(ids["org"]), open=True),
    Case("get_org_by_slug", MEMBERS, lambda a, ids: a.get_org_by_slug("acme"), open=True),
    Case("update_org", MANAGERS, lambda a, ids: a.update_org(ids["org"], name="Acme")),
    Case("suspend_org", OWNERS, lambda a, ids: a.suspend_org(ids["org"])),
    Case("reinstate_org", OWNERS, lambda a, ids: a.reinstate_org(ids["org"]), open=True),
    Case("revoke_org", OWNERS, lambda a, ids: a.revoke_org(ids["org"]), open=True),
    # Its members
    Case("list_members", MEMBERS, lambda a, ids: a.list_members(ids["org"])),
    Case("count_members", MEMBERS, lambda a, ids: a.count_members(ids["org"])),
    Case("count_seats", MEMBERS, lambda a, ids: a.count_seats(ids["org"])),
    Case("get_membership", MEMBERS, lambda a, ids: a.get_membership(ids["worker"])),
    Case(
        "find_membership",
        MEMBERS,
        lambda a, ids: a.find_membership(ids["org"], ids["usr of worker"]),
    ),
    Case(
        "find_membership of nobody",
        MEMBERS,
        lambda a, ids: a.find_membership(ids["org"], ids["usr of nobody"]),
    ),
    *(
        Case(f"{name} {role}", may, call)
        for may, role in ((MANAGERS, "admin"), (OWNERS, "owner"))
        for name, call in (
            (
                "add_member as",
                lambda a, ids, r=role: a.add_member(ids["org"], ids["usr of nobody"], r),
            ),
            (
                "add_members as",
                lambda a, ids, r=role: a.add_members(ids["org"], [(ids["usr of nobody"], r)]),
            ),
            ("change_role to", lambda a, ids, r=role: a.change_role(ids["worker"], r)),
            ("change_roles to", lambda a, ids, r=role: a.change_roles({ids["worker"]: r})),
        )
    ),
    *(
        Case(f"{name} {target}", may, call)
        for may, target, idle in (
            (MANAGERS, "worker", "idle worker"),
            (MANAGERS, "manager", "idle manager"),
            (OWNERS, "boss", "idle boss"),
        )
        for name, call in (
            ("change_role of", lambda a, ids, t=target: a.change_role(ids[t], "guest")),
            ("change_roles of", lambda a, ids, t=target: a.change_roles({ids[t]: "guest"})),
            ("suspend_membership of", lambda a, ids, t=target: a.suspend_membership(ids[t])),
            ("reinstate_membership of", lambda a, ids, t=idle: a.reinstate_membership(ids[t])),
        )
    ),
    # An owner is not removed, whoever asks: for them the operation itself has an error.
    Case("admin_remove", MANAGERS, lambda a, ids: a.admin_remove(ids["worker"])),
    Case("remove_members", MANAGERS, lambda a, ids: a.remove_members([ids["worker"]])),
    Case(
        "transfer_ownership", OWNERS, lambda a, ids: a.transfer_ownership(ids["org"], ids["worker"])
    ),
    Case("self_leave of another", NOBODY, lambda a, ids: a.self_leave(ids["worker"]), open=True),
    # Its invitations
    Case("list_invitations", MANAGERS, lambda a, ids: a.list_invitations(ids["org"])),
    *(
        Case(f"{name} as {request.role}", may, call)
        for may, request in ((MANAGERS, OFFER), (OWNERS, TOP_OFFER))
        for name, call in (
            (
                "create_invitation",
                lambda a, ids, r=request: a.create_invitation(
                    ids["org"], r.identifier, r.role, r.expires_at
                ),
            ),
            ("create_invitations", lambda a, ids, r=request: a.create_invitations(ids["org"], [r])),
        )
    ),
    Case(
        "get_invitation", MANAGERS, lambda a, ids: a.get_invitation(ids["offer"]), seen_by=MANAGERS
    ),
    *(
        Case(f"{name} {offer}", may, call, seen_by=MANAGERS)
        for may, offer in ((MANAGERS, "offer"), (OWNERS, "top offer"))
        for name, call in (
            ("revoke_invitation", lambda a, ids, o=offer: a.revoke_invitation(ids[o])),
            (
                "renew_invitation",
                lambda a, ids, o=offer: a.renew_invitation(ids[o], NOW + 2 * DAY),
            ),
        )
    ),
    *(
        Case(name, NOBODY, call, seen_by=NOBODY)
        for name, call in (
            ("accept_invitation", lambda a, ids: a.accept_invitation(ids["offer"])),
            ("decline_invitation", lambda a, ids: a.decline_invitation(ids["offer"])),
        )
    ),
]


def build(stage: Stage) -> Ids:
    """Return the ids of an organization, and of everybody in it and around it."""
    org = stage.org(slug="acme")
    ids = {"org": org.id, "usr of owner": stage.owner(org).usr_id}

    def join(name: str, role: Role, status: Status = Status.ACTIVE) -> None:
        membership = stage.member(org, role, status)
        ids[name], ids[f"usr of {name}"] = membership.id, membership.usr_id

    for name, role in ROLES.items():
        if name != "owner":
            join(name, role)
    ids["owner"] = stage.owner(org).id
    for name, role in (("worker", Role.MEMBER), ("manager", Role.ADMIN), ("boss", Role.OWNER)):
        join(name, role)
        join(f"idle {name}", role, Status.SUSPENDED)
    join("suspended", Role.OWNER, Status.SUSPENDED)
    join("removed", Role.OWNER, Status.REVOKED)
    ids["usr of owner elsewhere"] = stage.owner(stage.org()).usr_id
    ids["usr of stranger"], ids["usr of nobody"] = stage.user(), stage.user()
    ids["offer"] = stage.invitation(org).id
    ids["top offer"] = stage.invitation(org, role=Role.OWNER).id
    return ids


def verdict(stage: Stage, ids: Ids, relation: str, call: Call) -> str:
    """Return whether a user in a relation may do something, and undo it.

    What the operation itself refuses to everybody, the user may.
    """
    acting = stage.tenancy.acting_as(ids[f"usr of {relation}"], identifier="other@example.com")
    savepoint = stage.session.begin_nested()
    try:
        outcome = call(acting, ids)
        for each in outcome if isinstance(outcome, list) else ():
            each.unwrap()
    except TenancyError as exc:
        return exc.code if exc.code in REFUSALS else DONE
    else:
        return DONE
    finally:
        savepoint.rollback()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_users_may_do_what_their_memberships_allow(case: Case, stage: Stage) -> None:
    ids = build(stage)
    answers, expected = {}, {}
    for status in Status:
        stage.set_status(stage.tenancy.get_org(ids["org"]), status)
        for relation in EVERYBODY:
            answers[relation, status] = verdict(stage, ids, relation, case.call)
            expected[relation, status] = case.answer(relation, status)
    assert answers == expected
