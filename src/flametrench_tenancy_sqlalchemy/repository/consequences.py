"""What members take along when they leave, are removed, suspended or demoted, as the policy wants.

Their pending offers, and what accepted invitations of the organization granted them. It follows
from what is written, whatever the operation; asked behind the organizations' locks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple, TypeAlias

from ..errors import PreconditionError
from ..models import Base, Invitation, Membership, Tuple
from ..models.pre_tuples import well_formed
from ..models.tuple import TupleKey
from ..transactions.isolation import View, Way, reach, seeing
from ..transactions.sessions import AnySession
from ..values import Status
from ..writing import tuples, was
from . import locks, queries

Origin: TypeAlias = tuple[datetime | None, str | None]
"""When an invitation was accepted, and by whom it was made: what its tuples say of themselves."""


class Parting(NamedTuple):
    """A membership that has ended or been suspended, and what its user holds instead.

    Attributes:
        membership: what they held.
        successor: the membership that replaces it, or has been beside it, if there is one.
    """

    membership: Membership
    successor: Membership | None

    @property
    def is_promotion(self) -> bool:
        """Whether they may do no less than before."""
        held, new = self.membership, self.successor
        return new is not None and new.status is Status.ACTIVE and new.role.rank >= held.role.rank

    @property
    def is_for_good(self) -> bool:
        """Whether they belong to the organization no longer."""
        return self.successor is None and self.membership.status is Status.REVOKED


def partings(session: AnySession, changed: Iterable[Base], added: Iterable[Base]) -> list[Parting]:
    """Find in what is to be written who parts with what they held."""
    successors = {m.replaces: m for m in added if isinstance(m, Membership) and m.replaces}
    parted = [
        m
        for m in changed
        if isinstance(m, Membership) and m.status is not Status.ACTIVE and was(m, "status")
    ]
    beside = locks.beside(session, [m for m in parted if m.id not in successors])
    return [Parting(m, successors.get(m.id) or beside.get((m.usr_id, m.org_id))) for m in parted]


def end_offers(
    session: AnySession, parted: Iterable[Parting], *, by: str | None, at: datetime
) -> list[Invitation]:
    """End the pending invitations that the inviters may no longer make, and return them."""
    standing = {
        (p.membership.org_id, p.membership.usr_id): p.successor
        for p in parted
        if not p.is_promotion
    }
    ended = [
        offer
        for offer in locks.offers_made(session, standing)
        if not offer.may_be_offered_by(standing[offer.org_id, offer.invited_by])
    ]
    for offer in ended:
        offer.end(at, by=by)
    return ended


def grants_to_take(session: AnySession, parted: Iterable[Parting]) -> list[Tuple]:
    """Return the tuples that invitations brought those who leave for good, as was promised there.

    One that an organization to which they still belong has promised, too, is theirs to keep. It
    goes with the last of those that have promised it, whichever it was that brought it.
    """
    left = {(p.membership.usr_id, p.membership.org_id) for p in parted if p.is_for_good}
    if not left:
        return []
    users = {usr_id for usr_id, _ in left}
    reach(session, users)
    with seeing(session, View.of(Way.USERS, *users, beyond=True), undone=True):
        brought: dict[TupleKey, set[Origin]] = defaultdict(set)
        concerned: set[TupleKey] = set()
        for usr_id, key, invitation in _promises(session, users):
            brought[key].add((invitation.terminal_at, invitation.invited_by))
            if (usr_id, invitation.org_id) in left:
                concerned.add(key)
        held = tuples.find(session, concerned, to_delete=True)
        theirs = [t for t in held.values() if (t.created_at, t.created_by) in brought[t.key]]
        kept = promised(session, users, theirs, besides=left)
        # Of two organizations that are left at once, the one that comes second sees the other
        # gone, or, by an older snapshot, fails to serialize.
        tuples.write_as_they_are(session, [t for t in theirs if t.key in kept])
    return [t for t in theirs if t.key not in kept]


def promised(
    session: AnySession,
    usr_ids: Collection[str],
    held: Collection[Tuple],
    *,
    besides: Collection[tuple[str, str]],
) -> set[TupleKey]:
    """Return which tuples accepted invitations promise of organizations to which users belong.

    Asked when the tuples are locked: whoever has accepted meanwhile held them.

    Args:
        session: the Session.
        usr_ids: the users.
        held: the tuples.
        besides: users and organizations, each place one that does not count any more.
    """
    if not held:
        return set()
    keys = {tuple_.key for tuple_ in held}
    places: dict[TupleKey, set[tuple[str, str]]] = defaultdict(set)
    for usr_id, key, invitation in _promises(session, usr_ids):
        if key in keys and (usr_id, invitation.org_id) not in besides:
            places[key].add((usr_id, invitation.org_id))
    belongs = queries.belonging(session, {place for of in places.values() for place in of})
    return {key for key, of in places.items() if not belongs.isdisjoint(of)}


def _promises(
    session: AnySession, usr_ids: Collection[str]
) -> Iterator[tuple[str, TupleKey, Invitation]]:
    """Return what invitations that users have accepted have promised them."""
    for invitation in queries.accepted_by(session, usr_ids):
        usr_id = str(invitation.invited_user_id)
        for grant in invitation.pre_tuples:
            try:
                yield usr_id, TupleKey.of(usr_id, well_formed(grant, invitation.org_id)), invitation
            except PreconditionError:
                continue  # another SDK has accepted what ours would not: ours to take it is not
