"""Where this package and its peer differ in memory, and why: each has its place in the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import flametrench_tenancy as peer

from tests.support.twins import Outcome, Twins

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


def _mem(twins: Twins, name: str) -> Any:
    return twins.call_theirs("get_membership", {"mem_id": name})


def _is_suspended(twins: Twins, arguments: Arguments) -> bool:
    return bool(_mem(twins, arguments["mem_id"]).status is peer.Status.SUSPENDED)


def _slug_of_a_revoked_one(twins: Twins, arguments: Arguments) -> bool:
    revoked = twins.call_theirs("list_orgs", {"status": "revoked", "limit": 200}).data
    return arguments.get("slug") in {org.slug for org in revoked}


def _some_are_overdue(twins: Twins, arguments: Arguments) -> bool:
    page = twins.call_theirs("list_invitations", {"org_id": arguments["org_id"], "limit": 1000})
    pending = [i for i in page.data if i.status is peer.InvitationStatus.PENDING]
    return any(twins.now > invitation.expires_at for invitation in pending)


def _is_no_org(twins: Twins, arguments: Arguments) -> bool:
    orgs = twins.call_theirs("list_orgs", {"limit": 200}).data
    return arguments["org_id"] not in {twins.name_of(org.id) for org in orgs}


def _without_revoked_orgs(twins: Twins, arguments: Arguments) -> Any:
    revoked = twins.call_theirs("list_orgs", {"status": "revoked", "limit": 200}).data
    gone = {org.id for org in revoked}
    tuples = twins.call_theirs("list_tuples_for_subject", arguments)
    return [t for t in tuples if t.object_id not in gone]


def _accept_distinct(twins: Twins, arguments: Arguments) -> Any:
    accepted = twins.call_theirs("accept_invitation", arguments)
    return replace(accepted, materialized_tuples=list(dict.fromkeys(accepted.materialized_tuples)))


def _demote_donor(twins: Twins, arguments: Arguments) -> Any:
    demotion = {"mem_id": arguments["from_mem_id"], "new_role": "member"}
    return peer.TransferOwnershipResult(
        from_membership=twins.call_theirs("change_role", demotion),
        to_membership=_mem(twins, arguments["to_mem_id"]),
    )


DIFFERENCES: Final = [
    Difference(
        "change_role",
        "ok",
        "ok",
        "the role that is held already changes nothing",
        holds=lambda twins, a: _mem(twins, a["mem_id"]).role.value == a["new_role"],
        instead=lambda twins, a: _mem(twins, a["mem_id"]),
    ),
    Difference(
        "transfer_ownership",
        "ok",
        "ok",
        "a target that owns already is unchanged",
        holds=lambda twins, a: _mem(twins, a["to_mem_id"]).role is peer.Role.OWNER,
        instead=_demote_donor,
    ),
    Difference(
        "transfer_ownership",
        "NotFoundError",
        "PreconditionError:from_not_active PreconditionError:to_not_active "
        "PreconditionError:org_mismatch",
        "an unknown id is not found",
        holds=_is_no_org,
    ),
    Difference(
        "reinstate_membership",
        "PreconditionError:org_not_active",
        "ok DuplicateMembershipError",
        "nobody is reinstated into an organization that is not active",
    ),
    Difference(
        "self_leave",
        "PreconditionError:self_transfer",
        "ok",
        "the last owner is not his own heir",
        holds=lambda twins, a: twins.name_of(_mem(twins, a["mem_id"]).usr_id) == a["transfer_to"],
    ),
    Difference(
        "admin_remove",
        "ok ForbiddenError RoleHierarchyError PreconditionError:scope_mismatch",
        "PreconditionError:mem_not_active",
        "a suspended membership can be removed",
        holds=_is_suspended,
    ),
    Difference(
        "create_org update_org",
        "OrgSlugConflictError",
        "ok",
        "a slug stays taken while its organization keeps it, revoked or not",
        holds=_slug_of_a_revoked_one,
    ),
    Difference(
        "create_org update_org",
        "PreconditionError:name_format",
        "ok OrgSlugConflictError",
        "a name is text that PostgreSQL can store",
        holds=lambda twins, a: "\x00" in (a.get("name") or ""),
    ),
    Difference(
        "create_invitation",
        "PreconditionError:identifier_format",
        "ok PreconditionError:past_expiration",
        "an identifier is not empty",
        holds=lambda twins, a: a["identifier"] == "",
    ),
    Difference(
        "create_invitation",
        "PreconditionError:pre_tuple_org_role",
        "ok",
        "no pre-tuple grants a membership's role on an organization",
        holds=lambda twins, a: any(type_ == "org" for _, type_, _ in a["pre_tuples"]),
    ),
    Difference(
        "create_invitation",
        "PreconditionError:pre_tuple_format",
        "ok",
        "a pre-tuple is well-formed",
        holds=lambda twins, a: any(type_ == "P" for _, type_, _ in a["pre_tuples"]),
    ),
    Difference(
        "accept_invitation",
        "PreconditionError:org_not_active",
        "ok DuplicateMembershipError",
        "nobody joins an organization that is not active",
    ),
    Difference(
        "accept_invitation",
        "PreconditionError:mem_suspended",
        "ok",
        "an invitation does not lift a suspension",
    ),
    Difference(
        "accept_invitation",
        "ok",
        "ok",
        "one tuple for each distinct pre-tuple",
        instead=_accept_distinct,
    ),
    Difference(
        "decline_invitation revoke_invitation",
        "InvitationExpiredError",
        "ok",
        "an overdue invitation is over for everybody",
    ),
    Difference(
        "revoke_invitation",
        "ForbiddenError",
        "ok",
        "only an active owner or admin withdraws an invitation",
    ),
    Difference(
        "list_members list_invitations",
        "NotFoundError",
        "ok",
        "an unknown id is not found",
        holds=_is_no_org,
    ),
    Difference(
        "list_members list_invitations",
        "ok",
        "ok",
        "a limit is clamped to one at the least",
        holds=lambda twins, a: a["limit"] < 1,
    ),
    Difference(
        "list_invitations",
        "ok",
        "ok",
        "a pending invitation past its expiry counts as expired",
        holds=lambda twins, a: (
            a.get("status") in ("pending", "expired") and _some_are_overdue(twins, a)
        ),
    ),
    Difference(
        "list_tuples_for_subject",
        "ok",
        "ok",
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
        members = twins.call_theirs("list_members", {"org_id": arguments["org_id"], "limit": 1000})
        offers = twins.call_theirs(
            "list_invitations", {"org_id": arguments["org_id"], "limit": 1000}
        )
        left = [m.id for m in members.data if m.status is peer.Status.SUSPENDED]
        left += [i.id for i in offers.data if i.status is peer.InvitationStatus.PENDING]
        return {twins.name_of(id_) for id_ in left}
    return set()
