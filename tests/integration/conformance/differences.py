"""Where this package and its peer differ in memory, and why: each has its place in the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import flametrench_tenancy as peer

from .twins import Outcome, Twins

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One place where the two may differ.

    Attributes:
        operations: where.
        ours: the word for our outcome, or several.
        theirs: the word for the peer's, or several.
        why: what the contract says.
        holds: whether it says so of this very call.
        instead: what brings the peer to our result, where both succeed in different ways.
    """

    operations: str
    ours: str
    theirs: str
    why: str
    holds: Callable[[Twins, Arguments], bool] = lambda twins, arguments: True
    instead: Callable[[Twins, Arguments], Any] | None = None

    def explains(
        self, twins: Twins, name: str, arguments: Arguments, ours: Outcome, theirs: Outcome
    ) -> bool:
        """Tell whether this is why a call came out differently."""
        return (
            name in self.operations.split()
            and ours.word in self.ours.split()
            and theirs.word in self.theirs.split()
            and self.holds(twins, arguments)
        )


def _is_suspended(twins: Twins, arguments: Arguments) -> bool:
    return bool(twins.peers(arguments["mem_id"]).status is peer.Status.SUSPENDED)


def _revoked_orgs(twins: Twins) -> list[Any]:
    page = twins.call_theirs("list_orgs", {"status": "revoked", "limit": 200})
    return list(page.data)


def _has_revoked_slug(twins: Twins, arguments: Arguments) -> bool:
    return arguments.get("slug") in {org.slug for org in _revoked_orgs(twins)}


def _has_no_org(twins: Twins, arguments: Arguments) -> bool:
    return twins.peers(arguments["org_id"]) is None


def _of(twins: Twins, list_: str, arguments: Arguments) -> list[Any]:
    page = twins.call_theirs(list_, {"org_id": arguments["org_id"], "limit": 1000})
    return list(page.data)


def _counts_overdue(twins: Twins, arguments: Arguments) -> bool:
    return arguments.get("status") in {"pending", "expired"} and any(
        i.status is peer.InvitationStatus.PENDING and twins.now > i.expires_at
        for i in _of(twins, "list_invitations", arguments)
    )


def _without_revoked_orgs(twins: Twins, arguments: Arguments) -> Any:
    gone = {org.id for org in _revoked_orgs(twins)}
    tuples = twins.call_theirs("list_tuples_for_subject", arguments)
    return [t for t in tuples if t.object_id not in gone]


def _accept_distinct(twins: Twins, arguments: Arguments) -> Any:
    accepted = twins.call_theirs("accept_invitation", arguments)
    return replace(accepted, materialized_tuples=list(dict.fromkeys(accepted.materialized_tuples)))


def _demote_donor(twins: Twins, arguments: Arguments) -> Any:
    demotion = {"mem_id": arguments["from_mem_id"], "new_role": "member"}
    return peer.TransferOwnershipResult(
        from_membership=twins.call_theirs("change_role", demotion),
        to_membership=twins.peers(arguments["to_mem_id"]),
    )


def _grants(type_: str) -> Callable[[Twins, Arguments], bool]:
    return lambda twins, arguments: any(type_ == granted[1] for granted in arguments["pre_tuples"])


def _precondition(*reasons: str) -> str:
    return " ".join(f"PreconditionError:{reason}" for reason in reasons)


_NOT_ACTIVE: Final = _precondition("org_not_active")
DIFFERENCES: Final = [
    Difference(
        *("change_role", "ok", "ok", "the role that is held already changes nothing"),
        holds=lambda twins, a: twins.peers(a["mem_id"]).role.value == a["new_role"],
        instead=lambda twins, a: twins.peers(a["mem_id"]),
    ),
    Difference(
        *("transfer_ownership", "ok", "ok", "a target that owns already is unchanged"),
        holds=lambda twins, a: twins.peers(a["to_mem_id"]).role is peer.Role.OWNER,
        instead=_demote_donor,
    ),
    Difference(
        "transfer_ownership",
        "NotFoundError",
        _precondition("from_not_active", "to_not_active", "org_mismatch"),
        "an unknown id is not found",
        holds=_has_no_org,
    ),
    Difference(
        *("reinstate_membership", _NOT_ACTIVE, "ok DuplicateMembershipError"),
        "nobody is reinstated into an organization that is not active",
    ),
    Difference(
        *(
            "self_leave",
            _precondition("self_transfer"),
            "ok",
            "a last owner is no heir",
        ),
        holds=lambda twins, a: twins.name_of(twins.peers(a["mem_id"]).usr_id) == a["transfer_to"],
    ),
    Difference(
        "admin_remove",
        "ok ForbiddenError RoleHierarchyError PreconditionError:scope_mismatch",
        _precondition("mem_not_active"),
        "a suspended membership can be removed",
        holds=_is_suspended,
    ),
    Difference(
        *("create_org update_org", "OrgSlugConflictError", "ok"),
        "a slug stays taken while its organization keeps it, revoked or not",
        holds=_has_revoked_slug,
    ),
    Difference(
        *("create_org update_org", _precondition("name_format"), "ok OrgSlugConflictError"),
        "a name is text that PostgreSQL can store",
        holds=lambda twins, a: "\x00" in (a.get("name") or ""),
    ),
    Difference(
        "create_invitation",
        _precondition("identifier_format"),
        f"ok {_precondition('past_expiration')}",
        "an identifier is not empty",
        holds=lambda twins, a: a["identifier"] == "",
    ),
    Difference(
        *("create_invitation", _precondition("pre_tuple_org_role"), "ok"),
        "no pre-tuple grants a membership's role on an organization",
        holds=_grants("org"),
    ),
    Difference(
        *("create_invitation", _precondition("pre_tuple_format"), "ok"),
        "a pre-tuple is well-formed",
        holds=_grants("P"),
    ),
    Difference(
        *("accept_invitation", _NOT_ACTIVE, "ok DuplicateMembershipError"),
        "nobody joins an organization that is not active",
    ),
    Difference(
        *("accept_invitation", _precondition("mem_suspended"), "ok"),
        "an invitation does not lift a suspension",
    ),
    Difference(
        *("accept_invitation", "ok", "ok", "one tuple for each distinct pre-tuple"),
        instead=_accept_distinct,
    ),
    Difference(
        *("decline_invitation revoke_invitation", "InvitationExpiredError", "ok"),
        "an overdue invitation is over for everybody",
    ),
    Difference(
        *("revoke_invitation", "ForbiddenError", "ok"),
        "only an active owner or admin withdraws an invitation",
    ),
    Difference(
        *("list_members list_invitations", "NotFoundError", "ok", "an unknown id is not found"),
        holds=_has_no_org,
    ),
    Difference(
        *("list_members list_invitations", "ok", "ok", "a limit is clamped to one at the least"),
        holds=lambda twins, a: a["limit"] < 1,
    ),
    Difference(
        *("list_invitations", "ok", "ok"),
        "a pending invitation past its expiry counts as expired",
        holds=_counts_overdue,
    ),
    Difference(
        *("list_tuples_for_subject", "ok", "ok"),
        "every tuple about an organization ends with it",
        instead=_without_revoked_orgs,
    ),
]


def parted(twins: Twins, name: str, arguments: Arguments) -> set[str]:
    """Return the names of what is no longer the same in both after a call of ours succeeded.

    The end of an organization is also that of its suspended memberships and pending invitations,
    and a suspended membership can be removed: the peer leaves all of these as they are.
    """
    if name == "admin_remove" and _is_suspended(twins, arguments):
        return {arguments["mem_id"]}
    if name == "revoke_org":
        left = [
            *(m for m in _of(twins, "list_members", arguments) if m.status.value == "suspended"),
            *(i for i in _of(twins, "list_invitations", arguments) if i.status.value == "pending"),
        ]
        return {twins.name_of(entity.id) for entity in left}
    return set()
