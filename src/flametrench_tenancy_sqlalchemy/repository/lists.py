"""The queries for pages of lists, each along the index that has its order; `paging` says how."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, false, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute, contains_eager, joinedload

from .._sql import word
from ..errors import Reason
from ..models import Invitation, Membership, Organization, User
from ..models.base import is_storable
from ..policy import Policy, require_at_most
from ..values import InvitationStatus, Role, Status
from .paging import Stretch, listing, page_of
from .queries import THERE, WHOSE

ORGS: Final = listing(select(Organization), Stretch(), Organization.status)
"""All organizations."""


@cache
def members_in(
    status: Status | None, roles: frozenset[Role] | None, *, newest_first: bool
) -> Select[Any]:
    """Return the query for the memberships of the organization ``:there``.

    Args:
        status: only those in it.
        roles: only those in one of them.
        newest_first: whether they descend by id.
    """
    return _members(select(Membership), status, roles, newest_first=newest_first)


def members_named(
    text: str, status: Status | None, roles: frozenset[Role] | None, *, newest_first: bool
) -> Select[Any]:
    """Return the same for those users whose display name contains a text, in any case."""
    query = select(Membership).join(Membership.user).where(_contains(text, User.display_name))
    return _members(query, status, roles, newest_first=newest_first)


def _members(
    query: Select[Any],
    status: Status | None,
    roles: frozenset[Role] | None,
    *,
    newest_first: bool,
) -> Select[Any]:
    prefix = {Membership.org_id: THERE}
    if status is None:
        whole = Stretch(prefix, nulls_first=True)
    else:
        whole = Stretch({Membership.status: status} | prefix)
    if roles is None:
        return page_of(query, whole, newest_first=newest_first)
    # One role is told from the index; to tell several at once, older servers read all rows.
    parts = [replace(whole, where=Membership.role == role) for role in sorted(roles)]
    parts = parts or [replace(whole, where=false())]
    return page_of(query, *parts, newest_first=newest_first)


MEMBERSHIPS: Final = listing(
    select(Membership)
    .join(Membership.organization)
    .options(contains_eager(Membership.organization)),
    Stretch({Membership.usr_id: WHOSE}, nulls_first=True),
    Membership.status,
    status_nulls_first=True,
)
"""The memberships of the user ``:whose``, and their organizations."""

# Written into the statement, for a plan that knows the organization: one made once and for all
# would expect a third of an average one, and might rather sort all of it.
_NOW: Final = bindparam("now", type_=Invitation.expires_at.type, literal_execute=True)
_OVERDUE: Final = Invitation.expires_at < _NOW


def _offered(status: InvitationStatus, where: ColumnElement[bool] | None = None) -> Stretch:
    return Stretch({Invitation.status: status, Invitation.org_id: THERE}, where)


@cache
def invitations_in(status: InvitationStatus | None) -> Select[Any]:
    """Return the query for the invitations to the organization ``:there``, as they are ``:now``.

    Made when it is needed: it may merge stretches, and the models have all their columns by then.

    Args:
        status: only those in it; one that is pending, but overdue, has expired.
    """
    match status:
        case None:
            stretches = [Stretch({Invitation.org_id: THERE}, nulls_first=True)]
        case InvitationStatus.PENDING:
            stretches = [_offered(status, ~_OVERDUE)]
        case InvitationStatus.EXPIRED:
            stretches = [_offered(status), _offered(InvitationStatus.PENDING, _OVERDUE)]
        case _:
            stretches = [_offered(status)]
    return page_of(select(Invitation), *stretches)


@cache
def inbox(*spellings: str) -> Select[Any]:
    """Return the query for what may be accepted ``:now``, and the organizations that it leads to.

    Args:
        spellings: the parameters that an identifier's spellings are; a stretch for each.
    """
    query = (
        select(Invitation)
        .join(Invitation.organization)
        .where(
            Invitation.expires_at >= bindparam("now", type_=Invitation.expires_at.type),
            Organization.status == word(Status.ACTIVE),
        )
    )
    pending = {Invitation.status: InvitationStatus.PENDING}
    stretches = (
        Stretch({Invitation.identifier: bindparam(each)} | pending, nulls_first=True)
        for each in spellings
    )
    page = page_of(query, *stretches)
    listed = page.column_descriptions[0]["entity"]
    return page.options(joinedload(listed.organization, innerjoin=True))


def orgs_containing(text: str, status: Status | None) -> Select[Any]:
    """Return the query for the organizations whose name or slug contains a text, in any case.

    Args:
        text: what is looked for.
        status: only those in it.
    """
    contains = or_(_contains(text, Organization.name), _contains(text, Organization.slug))
    found = select(Organization).where(contains)
    if status is not None:
        found = found.where(Organization.status == status)
    return page_of(found, Stretch())


def searched(text: str, policy: Policy) -> str:
    """Return a text to look for in names, if it is not longer than they may be.

    Raises:
        PreconditionError: ``query_length``.
    """
    if isinstance(text, str):
        longest = policy.limits.name
        require_at_most(longest, len(text), "characters", "query", Reason.QUERY_LENGTH)
    return text


def _contains(text: str, column: InstrumentedAttribute[str | None]) -> ColumnElement[bool]:
    if not is_storable(text):  # nor can it be part of what is stored
        return false()
    # Written into the statement, since the best plan depends on what is looked for. With a
    # parameter the server would settle for one plan after a few times, often the wrong one.
    escaped = re.sub("[/%_]", r"/\g<0>", text)
    return column.ilike(literal(f"%{escaped}%", literal_execute=True), escape="/")
