"""``members``: list an organization's members; add, change, suspend and remove them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sqlalchemy.orm import joinedload

from ...models import Membership
from ...repository import ActingTenancy, TenancyRepository
from ...values import Role, Status
from ..answers import Answer, Table
from ..documents import Document, answer, described, listed, table
from ..options import ACTING, CHANGING, LISTING, MEM, ORG, READING, ROLE, YES, actions
from ..working import Tenancy, as_asked, as_system, gathered, org_id


def fill(group: ArgumentParser) -> None:
    """Give the group its commands."""
    add = actions(group)
    listing = add("list", _list, "list memberships", ORG, *READING, LISTING, ACTING)
    listing.add_argument("--status", choices=[*map(str, Status)], help="only those in this status")
    listing.add_argument(
        "--role",
        choices=[*map(str, Role)],
        action="append",
        help="only those in this role; may be repeated",
    )
    listing.add_argument("--query", metavar="TEXT", help="only users with it in their name")
    listing.add_argument("--newest-first", action="store_true", help="the newest first")

    new = add("add", _add, "make a user a member", ORG, *CHANGING, ACTING)
    new.add_argument("usr", metavar="USR", help="the user's id")
    ROLE(new)

    change = (MEM, *CHANGING, ACTING)
    role = add("role", _role, "change a member's role", *change)
    ROLE(role)
    add("suspend", _suspend, "pause a membership; its tuple goes meanwhile", *change)
    add("reinstate", _reinstate, "bring it back from suspension", *change)

    remove = add("remove", _remove, "end an active membership", MEM, *CHANGING, YES)
    either = remove.add_mutually_exclusive_group()
    ACTING(either)
    either.add_argument(
        "--heir", metavar="USR", help="the member whom a last owner makes owner first"
    )

    transfer = add("transfer", _transfer, "hand ownership on", ORG, *CHANGING, YES)
    transfer.add_argument("donor", metavar="FROM", help="the owner's membership, then a member's")
    transfer.add_argument("target", metavar="TO", help="the membership that becomes an owner's")


def _list(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        rows, cursor = gathered(
            tenancy.list_members,
            arguments,
            "memberships",
            describe=with_name,
            org_id=org_id(tenancy, arguments.org),
            status=arguments.status,
            roles=arguments.role,
            query=arguments.query,
            newest_first=arguments.newest_first,
            options=[joinedload(Membership.user)],
        )
        return listed("members", rows, cursor, members_table(rows))

    return as_asked(arguments, work)


def with_name(membership: Membership) -> Document:
    """Return a membership, whose user is loaded, with their display name."""
    return {**described(membership), "display_name": membership.user.display_name}


def members_table(rows: list[Document]) -> Table:
    """Return memberships with their users' names as a table."""
    names = ("id", "role", "status", "usr_id", "display_name", "created_at")
    return table(rows, *names, cuttable="display_name")


def _add(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        org = org_id(tenancy, arguments.org)
        return answer(membership=tenancy.add_member(org, arguments.usr, arguments.role))

    return as_asked(arguments, work)


def _role(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        return answer(membership=tenancy.change_role(arguments.mem, arguments.role))

    return as_asked(arguments, work)


def _suspend(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        return answer(membership=tenancy.suspend_membership(arguments.mem))

    return as_asked(arguments, work)


def _reinstate(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        return answer(membership=tenancy.reinstate_membership(arguments.mem))

    return as_asked(arguments, work)


def _remove(arguments: Namespace) -> Answer:
    def question(tenancy: TenancyRepository) -> str:
        membership = tenancy.get_membership(arguments.mem)
        return f"Remove {membership.usr_id}, {membership.role} of {membership.org_id}?"

    def work(tenancy: Tenancy) -> Answer:
        if isinstance(tenancy, ActingTenancy):
            return answer(membership=tenancy.admin_remove(arguments.mem))
        left = tenancy.self_leave(arguments.mem, transfer_to=arguments.heir)
        return answer(membership=left)

    return as_asked(arguments, work, question=question)


def _transfer(arguments: Namespace) -> Answer:
    def question(tenancy: TenancyRepository) -> str:
        donor, target = map(tenancy.get_membership, (arguments.donor, arguments.target))
        return f"Hand ownership of {donor.org_id} from {donor.usr_id} to {target.usr_id}?"

    def work(tenancy: TenancyRepository) -> Answer:
        org = org_id(tenancy, arguments.org)
        done = tenancy.transfer_ownership(org, arguments.donor, arguments.target)
        return answer(from_membership=done.from_membership, to_membership=done.to_membership)

    return as_system(arguments, work, question=question)
