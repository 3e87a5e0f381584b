"""``invitations``: list an organization's invitations; create, renew, withdraw and expire them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from sqlalchemy import Connection

from ...repository import TenancyRepository
from ...values import InvitationStatus, PreTuple
from ..answers import Answer, Table
from ..documents import Document, answer, listed, table
from ..options import (
    ACTING,
    ACTING_ALWAYS,
    CHANGING,
    EXPIRES,
    INV,
    LISTING,
    ORG,
    READING,
    ROLE,
    YES,
    actions,
)
from ..progress import progress
from ..working import Tenancy, as_asked, as_system, gathered, in_unit, on_database, org_id

_BATCH: Final = 1000
"""How many end in one transaction."""


def fill(group: ArgumentParser) -> None:
    """Give the group its commands."""
    add = actions(group)
    listing = add("list", _list, "list invitations", ORG, *READING, LISTING, ACTING)
    listing.add_argument(
        "--status",
        choices=[*map(str, InvitationStatus)],
        help="only those in this status; an overdue one counts as expired",
    )

    create = add("create", _create, "offer somebody a place", ORG, *CHANGING, ACTING_ALWAYS)
    create.add_argument("identifier", metavar="IDENTIFIER", help="such as an email address")
    ROLE(create)
    EXPIRES(create)
    create.add_argument(
        "--grant",
        nargs=3,
        action="append",
        default=[],
        metavar=("RELATION", "TYPE", "ID"),
        help="what else whoever accepts gets; may be repeated",
    )

    renew = add("renew", _renew, "let a pending one be answered longer", INV, *CHANGING, ACTING)
    EXPIRES(renew)
    add("revoke", _revoke, "withdraw a pending one", INV, *CHANGING, ACTING_ALWAYS, YES)
    add("expire", _expire, "end all that are overdue, for a periodic job", *READING)


def _list(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        rows, cursor = gathered(
            tenancy.list_invitations,
            arguments,
            "invitations",
            org_id=org_id(tenancy, arguments.org),
            status=arguments.status,
        )
        return listed("invitations", rows, cursor, invitations_table(rows))

    return as_asked(arguments, work)


def invitations_table(rows: list[Document]) -> Table:
    """Return invitations as a table."""
    names = ("id", "role", "effective_status", "identifier", "expires_at")
    return table(rows, *names, cuttable="identifier")


def _create(arguments: Namespace) -> Answer:
    def work(tenancy: TenancyRepository) -> Answer:
        invitation = tenancy.acting_as(arguments.actor).create_invitation(
            org_id(tenancy, arguments.org),
            arguments.identifier,
            arguments.role,
            arguments.expires,
            pre_tuples=[PreTuple(*grant) for grant in arguments.grant],
        )
        return answer(invitation=invitation)

    return as_system(arguments, work)


def _renew(arguments: Namespace) -> Answer:
    def work(tenancy: Tenancy) -> Answer:
        return answer(invitation=tenancy.renew_invitation(arguments.inv, arguments.expires))

    return as_asked(arguments, work)


def _revoke(arguments: Namespace) -> Answer:
    def question(tenancy: TenancyRepository) -> str:
        invitation = tenancy.get_invitation(arguments.inv)
        return (
            f"Withdraw the invitation of {invitation.identifier} to {invitation.org_id} "
            f"as {invitation.role}?"
        )

    def work(tenancy: TenancyRepository) -> Answer:
        acting = tenancy.acting_as(arguments.actor)
        return answer(invitation=acting.revoke_invitation(arguments.inv))

    return as_system(arguments, work, question=question)


def _expire(arguments: Namespace) -> Answer:
    def work(connection: Connection) -> int:
        expired, batch = 0, _BATCH
        with progress("invitations") as report:
            while batch == _BATCH:
                batch = in_unit(
                    connection, arguments, lambda to: to.expire_invitations(limit=_BATCH)
                )
                expired += batch
                report(expired, None)
        return expired

    expired = on_database(arguments, work)
    return Answer({"expired": expired}, [f"{expired} invitations have expired."])
