"""What ends together: all that a revoked organization grants, and invitations that are overdue.

A statement names no rows: an organization may have a million members. Where somebody listens, they
are loaded, changed and flushed so many at a time. The parts of the revocation's statement run in
no particular order: whoever else locks such rows has locked the organization first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, Uuid, bindparam, delete, select, update
from sqlalchemy.orm.attributes import instance_state

from .._sql import deciding, table_of, word
from ..ids import decode
from ..models import Invitation, Membership, Organization, Tuple
from ..transactions.sessions import AnySession, among, connection_of
from ..transactions.settings import SAID, Saying, told_by_the_statement
from ..values import InvitationStatus, Status
from .told import as_flushed

BATCH: Final = 500
"""How many rows are loaded and flushed at a time."""


def revoke(session: AnySession, org: Organization, *, at: datetime, saying: Saying) -> None:
    """Write that a locked organization has been revoked, end what it grants, and tell the Session.

    Args:
        session: the Session that it is in.
        org: the organization, revoked already.
        at: the time of its end.
        saying: who ends it.
    """
    given = {"there": org.id, "about": decode(org.id, "org", "org_id")}
    connection_of(session).execute(_REVOCATION, given | {"at": at, SAID: saying.words})
    _tell(session, org)


def revoke_by_flush(session: AnySession, org: Organization, *, at: datetime) -> None:
    """Do the same by way of the Session's flush."""
    session.flush()
    given = {"there": org.id, "about": decode(org.id, "org", "org_id")}
    _each(session, Membership, _locked(_mem, _OPEN_MEMBERSHIPS), given, lambda m: m.end(at))
    _each(session, Tuple, _locked(_tup, _ABOUT_ORG), given, session.delete)
    _each(session, Invitation, _locked(_inv, _OPEN_INVITATIONS), given, lambda i: i.end(at))
    _tell(session, org)  # what others had ended before


def expire(session: AnySession, *, at: datetime, saying: Saying, limit: int | None) -> list[str]:
    """Write that overdue invitations which nobody has locked have expired, oldest first.

    Returns:
        Their ids.
    """
    chosen = overdue(at).with_only_columns(_inv.c.id).order_by(_inv.c.id).limit(limit)
    statement = (
        update(_inv)
        .where(_inv.c.id.in_(chosen), told_by_the_statement())
        .values(status=InvitationStatus.EXPIRED, terminal_at=at, terminal_by=None)
        .returning(_inv.c.id)
    )
    expired = set(connection_of(session).execute(statement, {SAID: saying.words}).scalars())
    held = [
        entity
        for entity in session.identity_map.values()
        if isinstance(entity, Invitation) and instance_state(entity).dict.get("id") in expired
    ]
    _read_again(session, Invitation, held)
    return sorted(expired)


def expire_by_flush(session: AnySession, *, at: datetime, limit: int | None) -> list[str]:
    """Do the same by way of the Session's flush."""
    expired: list[str] = []

    def end(invitation: Invitation) -> None:
        invitation.expire(at)
        expired.append(invitation.id)

    _each(session, Invitation, overdue(at), {}, end, limit=limit)
    return expired


def _each(
    session: AnySession,
    model: type[Any],
    query: Select[Any],
    given: dict[str, Any],
    end: Callable[[Any], object],
    *,
    limit: int | None = None,
) -> None:
    """End each row that a query finds, and flush, so many at a time, in the order of their ids."""
    id_ = table_of(model).c.id
    done, query = 0, query.order_by(id_)
    further = query
    while limit is None or done < limit:
        rows = BATCH if limit is None else min(BATCH, limit - done)
        batch = session.scalars(deciding(further.limit(rows), model), given).all()
        for entity in batch:
            end(entity)
        session.flush()
        done += len(batch)
        if len(batch) < rows:
            break
        further = query.where(id_ > batch[-1].id)


def _tell(session: AnySession, org: Organization) -> None:
    """Tell the Session what has ended of what it holds; not all need have ended just now."""
    uuid = decode(org.id, "org", "org_id")
    held = list(_held(session, {"org_id": org.id}, {"object_type": "org", "object_uuid": uuid}))
    as_flushed(session, [org], [entity for entity in held if isinstance(entity, Tuple)])
    for model in (Membership, Invitation):
        _read_again(session, model, [entity for entity in held if isinstance(entity, model)])


def _read_again(session: AnySession, model: type[Any], entities: Sequence[Any]) -> None:
    """Tell the Session that rows have changed, and read them."""
    if entities:
        as_flushed(session, entities)
        table = table_of(model)
        ids = [entity.id for entity in entities]
        same = among(session, table.c.id, ids)
        session.scalars(deciding(select(table).where(same), model)).all()


def _held(
    session: AnySession, in_org: Mapping[str, object], about_org: Mapping[str, object]
) -> Iterator[Membership | Invitation | Tuple]:
    """Return what the Session holds of what has ended; what it knows too little of, it forgets."""
    for entity in session.identity_map.values():
        if isinstance(entity, Tuple):
            place = about_org
        elif isinstance(entity, Membership | Invitation):
            place = in_org
        else:
            continue
        loaded = instance_state(entity).dict
        if any(loaded.get(name, value) != value for name, value in place.items()):
            continue
        if place.keys() <= loaded.keys():
            yield entity
        else:
            session.expire(entity)


def _locked(table: Table, conditions: Iterable[ColumnElement[bool]]) -> Select[Any]:
    """Return the query for rows that end: who lets invitations expire has not locked their org."""
    return select(table).where(*conditions).with_for_update(key_share=True)


def overdue(at: datetime) -> Select[Any]:
    """Return the query that locks overdue invitations, but for those that others have locked."""
    return (
        select(_inv)
        .where(_inv.c.status == word(InvitationStatus.PENDING), _inv.c.expires_at < at)
        .with_for_update(key_share=True, skip_locked=True)
    )


_org, _mem, _inv, _tup = map(table_of, (Organization, Membership, Invitation, Tuple))
_THERE: Final = bindparam("there", type_=_org.c.id.type)
_ABOUT: Final = bindparam("about", type_=Uuid())
_AT: Final = bindparam("at", type_=_org.c.updated_at.type)
_OPEN_MEMBERSHIPS: Final = (
    _mem.c.org_id == _THERE,
    _mem.c.status.in_((word(Status.ACTIVE), word(Status.SUSPENDED))),
)
_OPEN_INVITATIONS: Final = (
    _inv.c.org_id == _THERE,
    _inv.c.status == word(InvitationStatus.PENDING),
)
_ABOUT_ORG: Final = (_tup.c.object_type == "org", _tup.c.object_id == _ABOUT)
# The organization last, which is the statement itself, and so done first: the audit log then knows
# what all the rest ends with.
_PARTS: Final = (
    update(_mem)
    .where(*_OPEN_MEMBERSHIPS)
    .values(status=Status.REVOKED, removed_by=None, updated_at=_AT),
    delete(_tup).where(*_ABOUT_ORG),
    update(_inv)
    .where(*_OPEN_INVITATIONS)
    .values(status=InvitationStatus.REVOKED, terminal_at=_AT, terminal_by=None),
    update(_org)
    .where(_org.c.id == _THERE, told_by_the_statement())
    .values(status=Status.REVOKED, updated_at=_AT),
)
*_first, _last = _PARTS
_REVOCATION: Final = _last.add_cte(*(part.cte(f"part_{n}") for n, part in enumerate(_first)))
