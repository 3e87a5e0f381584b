"""Look-ups and counts, and how all queries that only read are asked; `lists` has those of pages.

They are the application's to change, by criteria of its own; reads that decide are in `locks`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    ScalarResult,
    Select,
    and_,
    bindparam,
    func,
    select,
)
from sqlalchemy.orm import contains_eager
from sqlalchemy.orm.interfaces import ORMOption

from .._sql import deciding, table_of, word
from ..errors import PreconditionError, Reason, shown
from ..ids import decode, require
from ..models import Base, Invitation, Membership, Organization, Tuple, User
from ..models.base import not_found
from ..transactions.sessions import AnySession, among, connection_of
from ..values import InvitationStatus, Page, Status
from .paging import BEFORE_ALL, BEYOND_ALL, FRESH

Options: TypeAlias = Collection[ORMOption]
Entity = TypeVar("Entity", Organization, Membership, Invitation)

MAX_LIMIT: Final = 200

_org, _mem, _inv = map(table_of, (Organization, Membership, Invitation))
_usr, _tup = map(table_of, (User, Tuple))


def read(session: AnySession, query: Select[Any], given: dict[str, Any]) -> ScalarResult[Any]:
    """Return what a query finds, with what the application relates to it eagerly."""
    return session.scalars(query, given).unique()


def one(
    session: AnySession,
    entity: type[Entity],
    query: Select[Any],
    parameter: str,
    id_: str,
    *,
    options: Options | None = None,
) -> Entity:
    """Return what a query finds for the id that it asks for as ``:sought``."""
    found = read(session, loading(query, options), {"sought": id_}).one_or_none()
    if found is None:
        raise not_found(entity, id_, parameter)
    return cast("Entity", found)


def get(
    session: AnySession,
    entity: type[Entity],
    parameter: str,
    id_: str,
    *,
    options: Options | None = None,
) -> Entity:
    """Return what an argument names."""
    # A table is named after its type of id.
    require(id_, entity.__tablename__, parameter)
    return one(session, entity, _BY_ID[entity], parameter, id_, options=options)


def page(
    session: AnySession,
    entity: type[Entity],
    query: Select[Any],
    *,
    cursor: str | None,
    limit: int,
    options: Options | None = None,
    newest_first: bool = False,
    **given: Any,
) -> Page[Entity]:
    """Return a page of a list, and a cursor if there is more; at most 200 rows.

    Args:
        session: the Session.
        entity: what is listed.
        query: the query for a page of it.
        cursor: the id to go on after.
        limit: how many.
        options: loader options.
        newest_first: whether the query begins with the newest.
        given: the query's further parameters.
    """
    limit = max(1, min(whole_number(limit), MAX_LIMIT))
    first = BEYOND_ALL if newest_first else BEFORE_ALL
    # A table is named after its type of id.
    after = first if cursor is None else decode(cursor, entity.__tablename__, "cursor")
    given |= {"after": after, "rows": limit + 1}
    wanted = loading(query, options)
    is_merged = query.column_descriptions[0]["entity"] is not entity
    rows = list(read(session, query if is_merged else wanted, given))
    more, data = len(rows) > limit, rows[:limit]
    if is_merged and options and data:  # options are about the entity, not about an alias of it
        load(session, data, options)
    return Page(data, data[-1].id if more else None)


def load(session: AnySession, entities: Sequence[Any], options: Options | None) -> None:
    """Read entities once more, with what options ask for."""
    entity = type(entities[0])
    again = select(entity).where(entity.id.in_([each.id for each in entities]))
    read(session, loading(again.execution_options(**FRESH), options), {}).all()


def loading(query: Select[Any], options: Options | None) -> Select[Any]:
    """Return a query with loader options, if they are nothing else.

    Raises:
        PreconditionError: ``options_format``.
    """
    if options is None:
        return query
    if isinstance(options, Collection) and all(isinstance(each, ORMOption) for each in options):
        return query.options(*options)
    raise PreconditionError(
        f"options: {shown(options)} is no list of loader options",
        Reason.OPTIONS_FORMAT,
        parameter="options",
    )


def require_known(
    session: AnySession, entity: type[Organization] | type[User], parameter: str, id_: str
) -> None:
    """Tell an empty list from a list of something that does not exist."""
    if session.scalar(select(entity.id).where(entity.id == id_)) is None:
        raise not_found(entity, id_, parameter)


def standing(session: AnySession, usr_id: str, org_id: str) -> Membership | None:
    """Return the active membership by which a user asks, with its organization, if they have it."""
    found: Membership | None = session.scalars(
        _STANDING, {"whose": usr_id, "there": org_id}
    ).one_or_none()
    return found


def revocable(session: AnySession, org_id: str) -> dict[str, int]:
    """Return how many memberships, tuples and invitations would end with an organization."""
    about = _tup.c.object_type == "org", _tup.c.object_id == decode(org_id, "org", "org_id")
    pending = _inv.c.org_id == org_id, _inv.c.status == word(InvitationStatus.PENDING)
    conditions = {"mem": [_belongs(session, [org_id])], "tup": about, "inv": pending}
    counts = [
        select(func.count()).where(*where).scalar_subquery().label(table)
        for table, where in conditions.items()
    ]
    return dict(connection_of(session).execute(select(*counts)).mappings().one())


def is_there(session: AnySession, entity: Organization | Invitation) -> bool:
    """Tell whether the database has a row of a new entity's id."""
    table = table_of(type(entity))
    query = select(table.c.id).where(table.c.id == entity.id)
    return connection_of(session).execute(query).first() is not None


def whole_number(limit: object) -> int:
    """Return a limit if it is a whole number.

    Raises:
        PreconditionError: ``limit_format``; it is something else.
    """
    if isinstance(limit, int):
        return limit
    raise PreconditionError(
        f"limit: {shown(limit)} is not a whole number", "limit_format", parameter="limit"
    )


def seats_of_members(session: AnySession, org_ids: Iterable[str]) -> Sequence[Any]:
    """Return how many users are members of organizations, active or suspended."""
    count = func.count(_mem.c.usr_id.distinct())
    query = select(_mem.c.org_id, count).where(_belongs(session, org_ids)).group_by(_mem.c.org_id)
    return connection_of(session).execute(query).all()


def seated(session: AnySession, org_ids: Iterable[str], usr_ids: Iterable[str]) -> Sequence[Any]:
    """Return which of some users are members of organizations, active or suspended."""
    theirs = among(session, _mem.c.usr_id, usr_ids)
    query = select(_mem.c.org_id, _mem.c.usr_id).where(_belongs(session, org_ids), theirs)
    return connection_of(session).execute(query.distinct()).all()


def belonging(session: AnySession, places: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return at which of some places, a user in an organization each, they are members."""
    if not places:
        return set()
    users, orgs = zip(*places, strict=True)
    return {(usr_id, org_id) for org_id, usr_id in seated(session, set(orgs), set(users))}


def identifiers_invited(
    session: AnySession, org_ids: Iterable[str], *, at: datetime
) -> Sequence[Any]:
    """Return the identifiers that have a pending invitation, not overdue, to organizations."""
    query = select(_inv.c.org_id, _inv.c.identifier).where(
        among(session, _inv.c.org_id, org_ids),
        _inv.c.status == word(InvitationStatus.PENDING),
        _inv.c.expires_at >= at,
    )
    return connection_of(session).execute(query.distinct()).all()


def inviting(session: AnySession, *, after: str | None, limit: int) -> Sequence[str]:
    """Return the first organizations, after one of them, that have pending invitations."""
    query = select(_inv.c.org_id).where(_inv.c.status == word(InvitationStatus.PENDING))
    if after is not None:
        query = query.where(_inv.c.org_id > after)
    page = query.distinct().order_by(_inv.c.org_id).limit(limit)
    return connection_of(session).scalars(page).all()


def identifiers_pending(session: AnySession, org_ids: Iterable[str]) -> Sequence[Any]:
    """Return the identifiers of pending invitations, overdue or not, to organizations."""
    query = select(_inv.c.org_id, _inv.c.identifier).where(
        among(session, _inv.c.org_id, org_ids), _inv.c.status == word(InvitationStatus.PENDING)
    )
    return connection_of(session).execute(query.distinct()).all()


def accepted_by(session: AnySession, usr_ids: Iterable[str]) -> Sequence[Invitation]:
    """Return the invitations that users have accepted."""
    query = select(_inv).where(
        among(session, _inv.c.invited_user_id, usr_ids),
        _inv.c.status == word(InvitationStatus.ACCEPTED),
    )
    return session.scalars(deciding(query, Invitation)).all()


def _belongs(session: AnySession, org_ids: Iterable[str]) -> ColumnElement[bool]:
    present = _mem.c.status.in_((word(Status.ACTIVE), word(Status.SUSPENDED)))
    return and_(among(session, _mem.c.org_id, org_ids), present)


# Built once: on every call, they would take longer than the server does.

THERE: Final = bindparam("there", type_=Organization.id.type)
"""The parameter for an organization."""

WHOSE: Final = bindparam("whose", type_=Membership.usr_id.type)
"""The parameter for a user."""

_BY_ID: Final[dict[type[Base], Select[Any]]] = {
    entity: select(entity).where(entity.id == bindparam("sought")).execution_options(**FRESH)
    for entity in (Organization, Membership, Invitation)
}
ORG_BY_SLUG: Final = (
    select(Organization).where(Organization.slug == bindparam("sought")).execution_options(**FRESH)
)
ACTIVE_MEMBERSHIP: Final = (
    select(Membership)
    .where(
        Membership.usr_id == WHOSE,
        Membership.org_id == THERE,
        Membership.status == word(Status.ACTIVE),
    )
    .execution_options(**FRESH)
)
"""The active membership of the user ``:whose`` in the organization ``:there``."""

ADMITTED: Final = ACTIVE_MEMBERSHIP.join(Membership.organization).where(
    Organization.status == Status.ACTIVE
)
"""The same where the organization is active, too."""

_STANDING: Final = deciding(
    select(_mem, _org)
    .join(_org, _org.c.id == _mem.c.org_id)
    .where(_mem.c.usr_id == WHOSE, _mem.c.org_id == THERE, _mem.c.status == word(Status.ACTIVE)),
    Membership,
    options=[contains_eager(Membership.organization)],
)

ROLE_OF: Final = (
    select(_mem.c.role)
    .join(_org, _org.c.id == _mem.c.org_id)
    .where(
        _mem.c.usr_id == WHOSE,
        _mem.c.org_id == THERE,
        _mem.c.status == word(Status.ACTIVE),
        _org.c.status == word(Status.ACTIVE),
    )
)
"""The role alone, for no more than the answer; a query of tables."""

PREVIEW: Final = (
    select(
        *(_org.c.name, _org.c.slug, _inv.c.role),
        *(_usr.c.display_name, _inv.c.expires_at, _inv.c.status),
    )
    .join(_org, _org.c.id == _inv.c.org_id)
    .join(_usr, _usr.c.id == _inv.c.invited_by)
    .where(_inv.c.id == bindparam("sought"))
)
"""What may be told of an invitation to whoever holds its link."""

COUNT_ALL: Final = select(func.count()).where(Membership.org_id == THERE)
"""The number of memberships in the organization ``:there``."""

COUNT_IN_STATUS: Final = COUNT_ALL.where(Membership.status == bindparam("status"))
"""The same in one status."""

_TUPLES: Final = select(Tuple).order_by(Tuple.id).execution_options(**FRESH)
OF_SUBJECT: Final = _TUPLES.where(
    Tuple.subject_type == bindparam("type"), Tuple.subject_uuid == bindparam("sought")
)
"""The tuples of a subject."""

ABOUT_OBJECT: Final = _TUPLES.where(
    Tuple.object_type == bindparam("type"), Tuple.object_uuid == bindparam("sought")
)
"""The tuples about an object."""

ABOUT_OBJECT_AS: Final = ABOUT_OBJECT.where(Tuple.relation == bindparam("relation"))
"""The same with one relation."""
