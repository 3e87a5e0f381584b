"""``show``: anything that has an id, and what hangs on it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from sqlalchemy.orm import joinedload

from ...errors import InvalidIdError
from ...ids import require
from ...models import Invitation, Membership, Tuple, User
from ...models.base import not_found
from ...repository import TenancyRepository
from ...values import InvitationStatus, Role, Status
from ..answers import Answer, Facts, Part, Table
from ..documents import Document, answer, described, facts, table
from ..options import READING, takes
from ..working import as_system, org_id
from .invitations import invitations_table
from .members import members_table, with_name

T = TypeVar("T", User, Tuple)

MOST: Final = 200
"""How many of a kind are shown; the list commands have the rest."""


def fill(parser: ArgumentParser) -> None:
    """Give the command its arguments."""
    takes(parser, _show, *READING).add_argument(
        "id",
        metavar="ID",
        help="of an organization (or its slug), membership, invitation, user or tuple",
    )


def _show(arguments: Namespace) -> Answer:
    def work(tenancy: TenancyRepository) -> Answer:
        id_: str = arguments.id
        kind = id_.partition("_")[0] if "_" in id_ else "org"
        if kind not in _KINDS:
            expected = f"a slug, or a wire id of {', '.join(_KINDS)}"
            raise InvalidIdError("id", id_, expected=expected)
        return _KINDS[kind](tenancy, id_)

    return as_system(arguments, work)


def _org(tenancy: TenancyRepository, given: str) -> Answer:
    org = described(tenancy.get_org(org_id(tenancy, given)))
    id_ = org["id"]
    members = {f"{status}": tenancy.count_members(id_, status=status) for status in Status}
    seats = tenancy.count_seats(id_)
    owners = tenancy.list_members(
        id_,
        limit=MOST,
        status=Status.ACTIVE,
        roles=[Role.OWNER],
        options=[joinedload(Membership.user)],
    )
    pending = tenancy.list_invitations(id_, limit=MOST, status=InvitationStatus.PENDING)
    document: Document = {
        "org": org,
        "members": members,
        "seats": {"limit": seats.limit, "taken": seats.taken},
        "owners": [with_name(owner) for owner in owners],
        "pending_invitations": [described(invitation) for invitation in pending],
    }
    limit = "any number" if seats.limit is None else f"{seats.limit}"
    counted = {**members, "seats taken": f"{seats.taken} of {limit}"}
    return Answer(
        document,
        [
            facts(org),
            Facts("Members", {name: f"{count}" for name, count in counted.items()}),
            *_section("Owners", members_table, document["owners"]),
            *_section("Pending invitations", invitations_table, document["pending_invitations"]),
        ],
    )


def _mem(tenancy: TenancyRepository, mem_id: str) -> Answer:
    with_org = [joinedload(Membership.organization)]
    membership = tenancy.get_membership(mem_id, options=with_org)
    earlier, link = list[Document](), membership
    while link.replaces is not None and len(earlier) < MOST:
        link = tenancy.get_membership(link.replaces)
        earlier.append(described(link))
    document: Document = {
        "membership": described(membership),
        "user": described(membership.user),
        "org": described(membership.organization),
        "replaced": earlier,
    }
    shown = [facts(document[name]) for name in ("membership", "user", "org")]
    return Answer(document, [*shown, *_section("Replaced", _held_table, earlier)])


def _inv(tenancy: TenancyRepository, inv_id: str) -> Answer:
    with_org = [joinedload(Invitation.organization)]
    invitation = tenancy.get_invitation(inv_id, options=with_org)
    return answer(invitation=invitation, org=invitation.organization, inviter=invitation.inviter)


def _usr(tenancy: TenancyRepository, usr_id: str) -> Answer:
    user = _found(tenancy, User, usr_id)
    memberships = [
        {**described(each), "org": described(each.organization)}
        for each in tenancy.list_memberships(usr_id, limit=MOST)
    ]
    tuples = [described(each) for each in tenancy.list_tuples_for_subject("usr", usr_id)]
    document: Document = {"user": described(user), "memberships": memberships, "tuples": tuples}
    return Answer(
        document,
        [
            facts(document["user"]),
            *_section("Memberships", _held_table, memberships),
            *_section("Tuples", _tuples_table, tuples),
        ],
    )


def _tup(tenancy: TenancyRepository, tup_id: str) -> Answer:
    return answer(tuple=_found(tenancy, Tuple, tup_id))


def _found(tenancy: TenancyRepository, entity: type[T], id_: str) -> T:
    # A table is named after its type of id.
    found = tenancy.session.get(entity, require(id_, entity.__tablename__, "id"))
    if found is None:
        raise not_found(entity, id_, "id")
    return found


def _section(
    caption: str, draw: Callable[[list[Document]], Table], rows: list[Document]
) -> list[Part]:
    return [replace(draw(rows), caption=caption)] if rows else []


def _held_table(rows: list[Document]) -> Table:
    return table(rows, "id", "role", "status", "org_id", "created_at")


def _tuples_table(rows: list[Document]) -> Table:
    return table(rows, "id", "relation", "object_type", "object_id")


_KINDS: Final[Mapping[str, Callable[[TenancyRepository, str], Answer]]] = {
    "org": _org,
    "mem": _mem,
    "inv": _inv,
    "usr": _usr,
    "tup": _tup,
}
"""A type of id -> what shows it."""
