"""The end of an organization, and of all that it grants, by one statement.

It names no rows: an organization may have a million members. Its parts run in no particular order:
whoever else locks such rows has locked the organization first. SQLite, which knows no such
statements, gets the parts one after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm.attributes import instance_state

from ..ids import decode
from ..models import Invitation, Membership, Organization, Tuple
from ..unit_of_work import BIND, AnySession, as_flushed
from ..values import InvitationStatus, Status
from .arrays import among
from .base import word
from .locking import bare
from .parts import table_of


def write_revocation(org: Organization, session: AnySession, *, at: datetime) -> None:
    """Write that a locked organization has been revoked, end what it grants, and tell the Session.

    Args:
        org: the organization, revoked already.
        session: the Session that it is in.
        at: the time of its end.
    """
    connection = session.connection(bind_arguments=BIND)
    uuid = decode(org.id, "org", "org_id")
    given = {"there": org.id, "about": uuid, "at": at}
    if connection.dialect.name == "sqlite":
        for part in _PARTS:
            connection.execute(part, given)
    else:
        connection.execute(_ALL, given)
    held = list(_held(session, {"org_id": org.id}, {"object_type": "org", "object_uuid": uuid}))
    ended = [entity for entity in held if not isinstance(entity, Tuple)]
    as_flushed(session, [org, *ended], [entity for entity in held if isinstance(entity, Tuple)])
    for model in (Membership, Invitation):
        ids = [entity.id for entity in ended if isinstance(entity, model)]
        if ids:  # read again: not all need have ended with the organization
            session.execute(bare(select(model)).where(among(model.id, ids, session))).all()


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


_org, _mem, _inv, _tup = map(table_of, (Organization, Membership, Invitation, Tuple))
_open = (word(Status.ACTIVE), word(Status.SUSPENDED))
_PARTS: Final = (
    update(_org)
    .where(_org.c.id == bindparam("there"))
    .values(status=Status.REVOKED, updated_at=bindparam("at")),
    update(_mem)
    .where(_mem.c.org_id == bindparam("there"), _mem.c.status.in_(_open))
    .values(status=Status.REVOKED, removed_by=None, updated_at=bindparam("at")),
    delete(_tup).where(_tup.c.object_type == "org", _tup.c.object_id == bindparam("about")),
    update(_inv)
    .where(_inv.c.org_id == bindparam("there"), _inv.c.status == word(InvitationStatus.PENDING))
    .values(status=InvitationStatus.REVOKED, terminal_at=bindparam("at"), terminal_by=None),
)
*_first, _last = _PARTS
_ALL: Final = _last.add_cte(*(part.cte(f"part_{n}") for n, part in enumerate(_first)))
