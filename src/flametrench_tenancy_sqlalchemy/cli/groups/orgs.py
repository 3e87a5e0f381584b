"""``orgs``: list organizations; create, change, suspend, reinstate and end them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ...repository import TenancyRepository
from ...values import UNSET, Status
from ..answers import Answer
from ..documents import answer, listed, table
from ..options import ACTING, CHANGING, LISTING, ORG, READING, YES, actions
from ..working import Tenancy, as_asked, as_system, gathered, org_id


def fill(group: ArgumentParser) -> None:
    """Give the group its commands."""
    add = actions(group)
    listing = add("list", _list, "list organizations, the oldest first", *READING, LISTING)
    listing.add_argument("--status", choices=[*map(str, Status)], help="only those in this status")
    listing.add_argument("--query", metavar="TEXT", help="only those with it in name or slug")

    create = add("create", _create, "create an organization and its owner's membership", *CHANGING)
    create.add_argument("--owner", required=True, metavar="USR", help="the user who owns it")
    create.add_argument("--name", metavar="TEXT", help="its display name")
    create.add_argument("--slug", help="its handle, unique among all organizations")

    update = add("update", _update, "change its name or slug", ORG, *CHANGING, ACTING)
    for field, metavar in (("name", "TEXT"), ("slug", "SLUG")):
        either = update.add_mutually_exclusive_group()
        either.add_argument(f"--{field}", metavar=metavar, default=UNSET, help=f"the new {field}")
        either.add_argument(
            f"--no-{field}",
            dest=field,
            action="store_const",
            const=None,
            help=f"no {field} any more",
        )

    change = (ORG, *CHANGING, ACTING)
    add("suspend", _suspend, "pause it: nobody joins, its members' requests are refused", *change)
    add("reinstate", _reinstate, "bring it back from suspension", *change)
    add("revoke", _revoke, "end it for good, with everything that it grants", *change, YES)


def _list(arguments: Namespace) -> Answer:
    def work(tenancy: TenancyRepository) -> Answer:
        only = {"status": arguments.status, "query": arguments.query}
        rows, cursor = gathered(tenancy.list_orgs, arguments, "organizations", **only)
        shown = table(rows, "id", "status", "slug", "name", "created_at", cuttable="slug name")
        return listed("orgs", rows, cursor, shown)

    return as_system(arguments, work)


def _create(arguments: Namespace) -> Answer:
    def work(tenancy: TenancyRepository) -> Answer:
        done = tenancy.create_org(arguments.owner, name=arguments.name, slug=arguments.slug)
        return answer(org=done.org, owner_membership=done.owner_membership)

    return as_system(arguments, work)


def _update(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        org = org_id(tenancy, arguments.org)
        return answer(org=tenancy.update_org(org, name=arguments.name, slug=arguments.slug))

    return as_asked(arguments, work)


def _suspend(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        return answer(org=tenancy.suspend_org(org_id(tenancy, arguments.org)))

    return as_asked(arguments, work)


def _reinstate(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        return answer(org=tenancy.reinstate_org(org_id(tenancy, arguments.org)))

    return as_asked(arguments, work)


def _revoke(arguments: Namespace) -> Answer:
    def question(tenancy: TenancyRepository) -> str:
        org = tenancy.get_org(org_id(tenancy, arguments.org))
        members = tenancy.count_members(org.id) - tenancy.count_members(
            org.id, status=Status.REVOKED
        )
        return (
            f"The end of {org.id} ({org.name or org.slug or 'without a name'}) is the end of its "
            f"memberships ({members}), its invitations, and all tuples about it. Revoke it?"
        )

    def work(tenancy: Tenancy) -> Answer:
        return answer(org=tenancy.revoke_org(org_id(tenancy, arguments.org)))

    return as_asked(arguments, work, question=question)
