"""Every lock, in the one order: organizations, then memberships, then invitations.

What an operation judges is read by the statement that locks it, fresh from the database. Rows of
one kind are locked in the order of their ids. What may take an owner away, and what changes an
organization itself, locks it ``FOR NO KEY UPDATE``; what only adds locks it ``FOR SHARE``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar, cast

from sqlalchemy import Select, select, true
from sqlalchemy.orm.attributes import set_committed_value

from .._sql import deciding, table_of, word
from ..ids import decode
from ..models import Base, Invitation, Membership, Organization, Tuple, User
from ..models.base import not_found
from ..transactions.isolation import Way, found_by
from ..transactions.sessions import AnySession, among, connection_of, found_first, pairs_among
from ..transactions.tenant import is_isolated
from ..values import InvitationStatus, Status
from ..writing import overdue
from . import locking_reads as reads
from .locking_reads import is_active, is_owner, side_by_side, to_change

Entity = TypeVar("Entity", bound=Base)
Owners: TypeAlias = dict[str, dict[str, Membership]]

_org, _mem, _inv, _tup = map(table_of, (Organization, Membership, Invitation, Tuple))
# A word of the statement: an index of pending invitations is used for no parameter.
_is_pending: Final = _inv.c.status == word(InvitationStatus.PENDING)
_is_revoked: Final = _mem.c.status == word(Status.REVOKED)

# One row, or two.


def organization(session: AnySession, org_id: str, *, joining: bool = False) -> Organization:
    """Lock an organization: to change it, or, side by side with others, to join it."""
    query = reads.ORG_TO_JOIN if joining else reads.ORG
    return _one(session, Organization, query, "org_id", org_id)


def is_held(session: AnySession, slug: str | None, org_id: str) -> bool:
    """Tell, without a lock, whether another organization holds a slug that one asks for.

    Once who asks is locked itself.

    The unique index alone would let two that ask for each other's wait for each other: each has
    been changed when it looks. Locking the holder would let anybody keep it waiting.
    """
    if slug is not None and is_isolated(session):
        return bool({*found_by(session, Way.SLUGS, slug)} - {org_id})
    return (
        connection_of(session).scalar(reads.HOLDER, {"wanted": slug, "sought": org_id}) is not None
    )


def membership(session: AnySession, mem_id: str) -> Membership:
    """Lock a membership behind its organization, which comes loaded with it."""
    return _one(session, Membership, reads.MEMBERSHIP, "mem_id", mem_id)


def memberships(session: AnySession, **ids: str) -> list[Membership]:
    """Lock two memberships behind their organizations, and return them in the order given.

    Args:
        session: the Session.
        ids: a parameter's name -> the id that it holds.
    """
    one, other = ids.values()
    found = session.scalars(reads.TWO_MEMBERSHIPS, {"sought": one, "other": other})
    by_id = {each.id: each for each in found}
    return [_named(Membership, by_id, parameter, id_) for parameter, id_ in ids.items()]


def other_owners(
    session: AnySession, membership: Membership, *, or_user: str | None = None
) -> list[Membership]:
    """Lock another active owner for a last owner to lean on, and a user's membership if asked.

    Asked after the organization is locked, and of the rows themselves: counting in an older
    snapshot is how an organization loses its last owner.
    """
    if not membership.is_active_owner:
        return []
    given = {"there": membership.org_id, "sought": membership.id}
    if or_user is None:
        return list(session.scalars(reads.OTHER_OWNER, given))
    return list(session.scalars(reads.OTHER_OWNERS_OR_USER, given | {"whose": or_user}))


def membership_and_administrator(
    session: AnySession, mem_id: str, usr_id: str
) -> tuple[Membership, Membership | None]:
    """Lock a membership and, with luck in the same statement, the one by which a user acts."""
    found = session.scalars(reads.MEMBERSHIP_AND_ANOTHER, {"sought": mem_id, "whose": usr_id}).all()
    wanted = _named(Membership, {each.id: each for each in found}, "mem_id", mem_id)
    # What is locked is as it is now; what is missing may have come while we waited.
    acting = (m for m in found if m.usr_id == usr_id and m.status is Status.ACTIVE)
    return wanted, next(acting, None) or administrator(session, usr_id, wanted.org_id)


def administrator(session: AnySession, usr_id: str, org_id: str) -> Membership | None:
    """Lock the active membership by which a user acts on others, if they have one."""
    found: Membership | None = session.scalars(
        reads.ADMINISTRATOR, {"whose": usr_id, "there": org_id}
    ).one_or_none()
    return found


def present(session: AnySession, org_id: str, usr_id: str) -> list[Membership]:
    """Return a user's active and suspended memberships, once the organization is locked."""
    return list(session.scalars(reads.PRESENT, {"there": org_id, "whose": usr_id}))


def invitation(session: AnySession, inv_id: str, *, alone: bool = False) -> Invitation:
    """Lock an invitation behind a lock on its organization, which comes with it.

    Args:
        session: the Session.
        inv_id: the invitation.
        alone: whether others in the organization matter, so that its lock may not be shared.
    """
    return _one(session, Invitation, reads.invitation(alone), "inv_id", inv_id)


def invitation_and_user(
    session: AnySession, inv_id: str, usr_id: str, *, alone: bool = False
) -> tuple[Invitation, User | None]:
    """Do the same, and read the user beside it, if there is one."""
    return _pair(session, reads.invitation_and_user(alone), inv_id, usr_id)


def invitation_and_administrator(
    session: AnySession, inv_id: str, usr_id: str
) -> tuple[Invitation, Membership | None]:
    """Do the same, and lock the membership by which a user acts on it, if they have one."""
    locked, admin = _pair(session, reads.invitation_and_administrator(), inv_id, usr_id)
    # They may have become one while we waited.
    return locked, admin or administrator(session, usr_id, locked.org_id)


# Many rows.


def organizations(
    session: AnySession, org_ids: Collection[str], *, joining: bool
) -> dict[str, Organization]:
    """Lock organizations, by id: to change them, or, side by side with others, to join them."""
    if not org_ids:
        return {}
    query = select(_org).where(among(session, _org.c.id, org_ids)).order_by(_org.c.id)
    locked = (side_by_side if joining else to_change)(query, _org)
    return {each.id: each for each in session.scalars(deciding(locked, Organization))}


def many_memberships(session: AnySession, mem_ids: Collection[str]) -> dict[str, Membership]:
    """Lock memberships behind their organizations, which come loaded with them."""
    if not mem_ids:
        return {}
    chosen = among(session, _mem.c.id, mem_ids)
    concerned = found_first(session, _org.c.id, select(_mem.c.org_id).where(chosen).distinct())
    orgs_query = select(_org).where(concerned).order_by(_org.c.id)
    orgs = {
        each.id: each
        for each in session.scalars(deciding(to_change(orgs_query, _org), Organization))
    }
    query = select(_mem).where(chosen).order_by(_mem.c.id)
    found = session.scalars(deciding(to_change(query, _mem), Membership))
    # One that was committed between the two statements came too late.
    behind = {each.id: each for each in found if each.org_id in orgs}
    for each in behind.values():
        set_committed_value(each, "organization", orgs[each.org_id])
    return behind


def owners_among(session: AnySession, memberships: Collection[Membership]) -> Owners:
    """Return the active owners among memberships, by organization and id, and a spare one.

    The spare is another owner of the same organization, locked, for a last one to lean on.
    """
    owners: Owners = defaultdict(dict)
    for each in memberships:
        if each.is_active_owner:
            owners[each.org_id][each.id] = each
    if not owners:
        return owners
    known = [id_ for of_one in owners.values() for id_ in of_one]
    other = _mem.alias("other")
    spare = (
        select(other.c.id)
        .where(
            other.c.org_id == _org.c.id,
            is_owner(other),
            is_active(other),
            ~among(session, other.c.id, known),
        )
        .order_by(other.c.id)
        .limit(1)
        .correlate(_org)
        .scalar_subquery()
    )
    query = (
        select(_mem)
        .join(_org, true())
        .where(among(session, _org.c.id, owners), _mem.c.id == spare)
        .order_by(_mem.c.org_id)
    )
    for each in session.scalars(deciding(to_change(query, _mem), Membership)):
        owners[each.org_id][each.id] = each
    return owners


def administrators(
    session: AnySession, usr_id: str, org_ids: Collection[str]
) -> dict[str, Membership]:
    """Lock the active memberships by which a user acts on others, by organization."""
    found = acting(session, {(usr_id, org_id) for org_id in org_ids})
    return {org_id: membership for (_, org_id), membership in found.items()}


def acting(
    session: AnySession, places: Collection[tuple[str, str]], *, alone: bool = False
) -> dict[tuple[str, str], Membership]:
    """Lock the active memberships by which users act, at places: a user in an organization each.

    Args:
        session: the Session.
        places: the users and organizations.
        alone: whether they are going to be changed, so that the locks may not be shared.
    """
    if not places:
        return {}
    there = pairs_among(session, (_mem.c.usr_id, _mem.c.org_id), places)
    query = select(_mem).where(there, is_active(_mem)).order_by(_mem.c.id)
    query = (to_change if alone else side_by_side)(query, _mem)
    found = session.scalars(deciding(query, Membership))
    return {(each.usr_id, each.org_id): each for each in found}


def beside(
    session: AnySession, memberships: Collection[Membership]
) -> dict[tuple[str, str], Membership]:
    """Lock what users hold, active or suspended, beside memberships of the same organizations."""
    if not memberships:
        return {}
    places = {(m.usr_id, m.org_id) for m in memberships}
    query = select(_mem).where(
        pairs_among(session, (_mem.c.usr_id, _mem.c.org_id), places),
        ~_is_revoked,
        ~among(session, _mem.c.id, [m.id for m in memberships]),
    )
    found = session.scalars(deciding(to_change(query.order_by(_mem.c.id), _mem), Membership))
    # Of several, the active one counts.
    ordered = sorted(found, key=lambda m: m.status is Status.ACTIVE)
    return {(each.usr_id, each.org_id): each for each in ordered}


def live_invitations(
    session: AnySession,
    places: Collection[tuple[str, str]],
    *,
    at: datetime,
    besides: str | None = None,
) -> list[Invitation]:
    """Lock the pending invitations, not overdue, at places: an organization and an identifier.

    Besides, perhaps, one that is locked and has been changed already.
    """
    query = select(_inv).where(
        _is_pending,
        _inv.c.id.is_distinct_from(besides),
        pairs_among(session, (_inv.c.org_id, _inv.c.identifier), places),
        _inv.c.expires_at >= at,
    )
    return _invitations(session, query)


def offers_made(session: AnySession, places: Collection[tuple[str, str]]) -> list[Invitation]:
    """Lock the pending invitations, overdue or not, at places: an organization and an inviter."""
    if not places:
        return []
    there = pairs_among(session, (_inv.c.org_id, _inv.c.invited_by), places)
    return _invitations(session, select(_inv).where(_is_pending, there))


def invitations_of(session: AnySession, identifiers: Collection[str]) -> list[Invitation]:
    """Lock all invitations of some identifiers, behind shared locks on their organizations."""
    theirs = among(session, _inv.c.identifier, identifiers)
    concerned = found_first(session, _org.c.id, select(_inv.c.org_id).where(theirs).distinct())
    orgs_query = select(_org).where(concerned).order_by(_org.c.id)
    orgs = session.scalars(deciding(side_by_side(orgs_query, _org), Organization)).all()
    org_ids = {org.id for org in orgs}
    # One that was committed between the two statements came too late.
    return [i for i in _invitations(session, select(_inv).where(theirs)) if i.org_id in org_ids]


def concerned_by(session: AnySession, usr_id: str) -> list[Organization]:
    """Lock the organizations to which a user belongs, or to which offers of theirs are pending."""
    member = select(_mem.c.org_id).where(_mem.c.usr_id == usr_id, ~_is_revoked)
    inviter = select(_inv.c.org_id).where(_inv.c.invited_by == usr_id, _is_pending)
    query = select(_org).where(found_first(session, _org.c.id, member.union(inviter)))
    locked = to_change(query.order_by(_org.c.id), _org)
    return list(session.scalars(deciding(locked, Organization)))


def memberships_of(
    session: AnySession, usr_id: str, orgs: Collection[Organization]
) -> list[Membership]:
    """Lock a user's active and suspended memberships in locked organizations."""
    by_id = {org.id: org for org in orgs}
    there = among(session, _mem.c.org_id, by_id)
    query = select(_mem).where(_mem.c.usr_id == usr_id, ~_is_revoked, there).order_by(_mem.c.id)
    found = session.scalars(deciding(to_change(query, _mem), Membership)).all()
    for each in found:
        set_committed_value(each, "organization", by_id[each.org_id])
    return list(found)


def tuples_of(session: AnySession, usr_id: str) -> list[Tuple]:
    """Lock all of a user's tuples, to delete them."""
    query = select(_tup).where(
        _tup.c.subject_type == "usr", _tup.c.subject_id == decode(usr_id, "usr", "usr_id")
    )
    locked = query.order_by(_tup.c.relation, _tup.c.object_type, _tup.c.object_id)
    return list(session.scalars(deciding(locked.with_for_update(), Tuple)))


def pending_in(session: AnySession, org_ids: Collection[str]) -> list[Invitation]:
    """Lock the pending invitations, overdue or not, to organizations."""
    there = among(session, _inv.c.org_id, org_ids)
    return _invitations(session, select(_inv).where(_is_pending, there)) if org_ids else []


def overdue_invitations(session: AnySession, *, at: datetime, limit: int) -> list[Invitation]:
    """Lock overdue invitations that nobody has locked, the oldest first."""
    query = overdue(at).order_by(_inv.c.id).limit(limit)
    return list(session.scalars(deciding(query, Invitation)))


def _invitations(session: AnySession, query: Select[Any]) -> list[Invitation]:
    found = session.scalars(deciding(to_change(query.order_by(_inv.c.id), _inv), Invitation))
    return list(found)


def _one(session: AnySession, entity: type[Entity], read: Any, parameter: str, id_: str) -> Entity:
    found = session.scalars(read, {"sought": id_}).one_or_none()
    if found is None:
        raise not_found(entity, id_, parameter)
    return cast("Entity", found)


def _named(entity: type[Base], found: dict[str, Any], parameter: str, id_: str) -> Any:
    if id_ not in found:
        raise not_found(entity, id_, parameter)
    return found[id_]


def _pair(session: AnySession, read: Any, inv_id: str, usr_id: str) -> tuple[Invitation, Any]:
    found = session.execute(read, {"sought": inv_id, "whose": usr_id}).one_or_none()
    if found is None:
        raise not_found(Invitation, inv_id, "inv_id")
    locked, beside = found
    return locked, beside
