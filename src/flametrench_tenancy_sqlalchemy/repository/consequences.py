"""What members take along when they leave, are removed, suspended or demoted, as the policy wants.

Their pending offers, and what accepted invitations of the organization granted them. It follows
from what is written, whatever the operation; asked behind the organizations' locks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple, TypeAlias

from ..errors import PreconditionError
from ..models import Base, Invitation, Membership, Tuple
from ..models.pre_tuples import well_formed
from ..models.tuple import TupleKey
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
        successor: the membership that replaces it, if one does.
    """

    membership: Membership
    successor: Membership | None

    @property
    def is_promotion(self) -> bool:
        """Whether they may do no less than before."""
        return self.successor is not None and self.successor.role.rank >= self.membership.role.rank

    @property
    def is_for_good(self) -> bool:
        """Whether they belong to the organization no longer."""
        return self.successor is None and self.membership.status is Status.REVOKED


def partings(changed: Iterable[Base], added: Iterable[Base]) -> Iterator[Parting]:
    """Find in what is to be written who parts with what they held."""
    successors = {m.replaces: m for m in added if isinstance(m, Membership) and m.replaces}
    for m in changed:
        if isinstance(m, Membership) and m.status is not Status.ACTIVE and was(m, "status"):
            yield Parting(m, successors.get(m.id))


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
    """Return the tuples that their organizations' invitations brought those who leave for good.

    One that an organization to which they still belong has promised, too, is theirs to keep.
    """
    left = {(p.membership.usr_id, p.membership.org_id) for p in parted if p.is_for_good}
    if not left:
        return []
    accepted = queries.accepted_by(session, {usr_id for usr_id, _ in left})
    brought: dict[TupleKey, set[Origin]] = defaultdict(set)
    promised: dict[TupleKey, set[tuple[str, str]]] = defaultdict(set)
    for invitation in accepted:
        usr_id = str(invitation.invited_user_id)
        for key in _keys(invitation, usr_id):
            if (usr_id, invitation.org_id) in left:
                brought[key].add((invitation.terminal_at, invitation.invited_by))
            else:
                promised[key].add((usr_id, invitation.org_id))
    # Of two organizations that are left at once, the one that waits here sees the other gone.
    held = tuples.find(session, brought, to_delete=True)
    belongs = queries.belonging(session, {place for of in promised.values() for place in of}) - left
    return [
        tuple_
        for key, tuple_ in held.items()
        if (tuple_.created_at, tuple_.created_by) in brought[key]
        and belongs.isdisjoint(promised.get(key, ()))
    ]


def _keys(invitation: Invitation, usr_id: str) -> Iterator[TupleKey]:
    for grant in invitation.pre_tuples:
        try:
            yield TupleKey.of(usr_id, well_formed(grant, invitation.org_id))
        except PreconditionError:
            continue  # another SDK has accepted what ours would not have: ours to take it is not
