"""The races that everybody thinks of first, each with what may come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.support.races import DONE

SOLE_OWNER: Final = "forbidden.sole_owner"
DUPLICATE: Final = "conflict.duplicate_membership"
NOT_PENDING: Final = "conflict.invitation_not_pending"
SLUG_TAKEN: Final = "conflict.org_slug"
NOT_ACTIVE: Final = "precondition.mem_not_active"
ORG_NOT_ACTIVE: Final = "precondition.org_not_active"


@dataclass(frozen=True)
class Race:
    """Two steps, and how each ends when it comes second."""

    title: str
    one: str
    other: str
    one_late: str
    other_late: str

    def __str__(self) -> str:
        return self.title


OWNERS: Final = [
    Race("two owners leave", "self_leave ann", "self_leave bob", SOLE_OWNER, SOLE_OWNER),
    Race("two owners are demoted", "change_role ann", "change_role bob", SOLE_OWNER, SOLE_OWNER),
    Race(
        "two owners are suspended",
        *("suspend_membership ann", "suspend_membership bob"),
        *(SOLE_OWNER, SOLE_OWNER),
    ),
    Race(
        "one owner leaves, the other is demoted",
        *("self_leave ann", "change_role bob"),
        *(SOLE_OWNER, SOLE_OWNER),
    ),
    Race(
        "one owner leaves, the other is suspended",
        *("self_leave ann", "suspend_membership bob"),
        *(SOLE_OWNER, SOLE_OWNER),
    ),
    Race(
        "one owner is demoted, the other suspended",
        *("change_role ann", "suspend_membership bob"),
        *(SOLE_OWNER, SOLE_OWNER),
    ),
]

RACES: Final = [
    *OWNERS,
    Race(
        "an owner transfers to a member who is being removed",
        *("transfer_ownership ann to eve", "admin_remove eve by cyd"),
        *("precondition.to_not_active", NOT_ACTIVE),
    ),
    Race(
        "transfers cross",
        *("transfer_ownership ann to bob", "transfer_ownership bob to ann"),
        *("precondition.to_not_active", "precondition.to_not_active"),
    ),
    Race(
        "an owner transfers to two members",
        *("transfer_ownership ann to eve", "transfer_ownership ann to bob"),
        *("precondition.from_not_active", "precondition.from_not_active"),
    ),
    Race(
        "a member joins a dying organization", "add_member max", "revoke_org", ORG_NOT_ACTIVE, DONE
    ),
    Race(
        "an invitation to a dying organization is accepted",
        *("accept_invitation by max", "revoke_org"),
        *(NOT_PENDING, DONE),
    ),
    Race("a dying organization invites", "create_invitation", "revoke_org", ORG_NOT_ACTIVE, DONE),
    Race(
        "a member comes back to a dying organization",
        *("reinstate_membership sam", "revoke_org"),
        *("precondition.invalid_transition", DONE),
    ),
    Race(
        "a member joins an organization that is being suspended",
        *("add_member max", "suspend_org"),
        *(ORG_NOT_ACTIVE, DONE),
    ),
    Race(
        "an invitation to an organization that is being suspended is accepted",
        *("accept_invitation by max", "suspend_org"),
        *(ORG_NOT_ACTIVE, DONE),
    ),
    Race(
        "a member comes back to an organization that is being suspended",
        *("reinstate_membership sam", "suspend_org"),
        *(ORG_NOT_ACTIVE, DONE),
    ),
    Race(
        "two invitations of one user",
        *("accept_invitation by max", "accept_invitation second by max"),
        *(DUPLICATE, DUPLICATE),
    ),
    Race(
        "one invitation accepted twice",
        *("accept_invitation by max", "accept_invitation by max"),
        *(NOT_PENDING, NOT_PENDING),
    ),
    Race(
        "one invitation accepted by two",
        *("accept_invitation by max", "accept_invitation by a new user"),
        *(NOT_PENDING, NOT_PENDING),
    ),
    Race(
        "one invitation accepted and declined",
        *("accept_invitation by max", "decline_invitation"),
        *(NOT_PENDING, NOT_PENDING),
    ),
    Race(
        "one invitation accepted and revoked",
        *("accept_invitation by max", "revoke_invitation by cyd"),
        *(NOT_PENDING, NOT_PENDING),
    ),
    Race(
        "one invitation accepted and expired",
        *("accept_invitation by max", "expire_invitations"),
        *(NOT_PENDING, DONE),
    ),
    Race("one slug created twice", "create_org", "create_org", SLUG_TAKEN, SLUG_TAKEN),
    Race("one slug created and updated", "create_org", "update_org", SLUG_TAKEN, SLUG_TAKEN),
    Race("one slug updated twice", "update_org", "update_org bolt", SLUG_TAKEN, SLUG_TAKEN),
    Race("one member added twice", "add_member max", "add_member max", DUPLICATE, DUPLICATE),
    Race(
        "two sets of members in opposite order",
        *("add_members sam, liz, max or none", "add_members max, liz, sam"),
        *(DUPLICATE, DONE),
    ),
    Race(
        "a set of members joins a dying organization",
        *("add_members sam, liz, max or none", "revoke_org"),
        *(ORG_NOT_ACTIVE, DONE),
    ),
    Race(
        "a set of members is removed while one is promoted",
        *("remove_members sam, eve by ann or none", "change_role eve"),
        *(NOT_ACTIVE, NOT_ACTIVE),
    ),
    Race(
        "sets of roles cross",
        *("change_roles bob, cyd or none", "change_roles ann, eve, bob"),
        *(SOLE_OWNER, DONE),
    ),
    Race(
        "one user added and invited",
        *("add_member max", "accept_invitation by max"),
        *(DUPLICATE, DUPLICATE),
    ),
    Race(
        "a suspended member comes back and is added",
        *("reinstate_membership sam", "add_member sam"),
        *(DUPLICATE, DUPLICATE),
    ),
    Race(
        "one member is promoted and removed",
        *("change_role eve", "admin_remove eve by cyd"),
        *(NOT_ACTIVE, NOT_ACTIVE),
    ),
    Race(
        "an administrator is demoted while removing somebody",
        *("admin_remove eve by cyd", "change_role cyd"),
        *("forbidden", DONE),
    ),
    Race(
        "an administrator is demoted while revoking an invitation",
        *("revoke_invitation by cyd", "change_role cyd"),
        *("forbidden", DONE),
    ),
    Race(
        "two administrators remove each other",
        *("admin_remove cyd by dan", "admin_remove dan by cyd"),
        *("forbidden", "forbidden"),
    ),
]
