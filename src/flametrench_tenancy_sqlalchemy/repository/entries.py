"""Who may come in as the policy wants it: seats, one live invitation, the inviter's authority.

Asked behind the organizations' locks, for all who come in at once, by a number of statements that
does not depend on how many they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, cast

from sqlalchemy.orm.attributes import flag_modified

from ..errors import DuplicateInvitationError, SeatLimitError
from ..models import Base, Invitation, Membership, Organization
from ..policy import Policy
from ..transactions.sessions import AnySession, itself
from ..values import SeatCount
from . import locks, queries

Newcomer: TypeAlias = Membership | Invitation

Ending: TypeAlias = Callable[[Sequence[Invitation]], None]
"""Refuses the acting user, if there is one, to end offers of roles that rank above their own."""


@dataclass
class Seats:
    """The seats of an organization: who has one, and who may take another.

    Attributes:
        org_id: the organization.
        limit: how many there are; ``None`` if the policy sets this organization no limit.
        users: how many users are active or suspended members.
        seated: those of them who are asked about.
        identifiers: those with a pending invitation.
    """

    org_id: str
    limit: int | None
    users: int = 0
    seated: set[str] = field(default_factory=set)
    identifiers: set[str] = field(default_factory=set)

    @property
    def count(self) -> SeatCount:
        """How many seats there are, and how many are taken."""
        return SeatCount(self.limit, self.users + len(self.identifiers))

    def take(self, newcomer: Newcomer, policy: Policy) -> None:
        """Take a seat for a member, or for whom an invitation is for, unless they have one.

        Raises:
            SeatLimitError: none is free.
        """
        if isinstance(newcomer, Membership):
            if newcomer.usr_id not in self.seated:
                self._require_free()
                self.seated.add(newcomer.usr_id)
                self.users += 1
        elif (identifier := policy.canonical(newcomer.identifier)) not in self.identifiers:
            self._require_free()
            self.identifiers.add(identifier)

    def _require_free(self) -> None:
        taken = self.count.taken
        if self.limit is not None and taken >= self.limit:
            raise SeatLimitError(
                f"all {self.limit} seats of {self.org_id} are taken",
                org_id=self.org_id,
                limit=self.limit,
                taken=taken,
            )


class Entries:
    """Judges newcomers to locked organizations, one after the other.

    Args:
        session: the Session.
        policy: what the application decides.
        orgs: the organizations, locked.
        newcomers: all who are going to be judged.
        ending: asked before other offers end.
        at: the time by which invitations are overdue.
    """

    def __init__(
        self,
        session: AnySession,
        policy: Policy,
        orgs: Collection[Organization],
        newcomers: Collection[Newcomer],
        *,
        ending: Ending,
        at: datetime,
    ) -> None:
        offers = [each for each in newcomers if isinstance(each, Invitation)]
        self._policy = policy
        self._ending = ending
        self._at = at
        self._seats: dict[str, Seats] = {}
        if policy.seats is not None:
            users = {each.usr_id for each in newcomers if isinstance(each, Membership)}
            self._seats = seats_of(session, policy, orgs, users, at=at)
        self._live: dict[tuple[str, str], list[Invitation]] = defaultdict(list)
        if policy.pending_invitations != "keep" and offers:
            places = {(each.org_id, each.identifier) for each in offers}
            for each in locks.live_invitations(session, places, at=at):
                self._live[each.org_id, each.identifier].append(each)
        self._inviters: dict[tuple[str, str], Membership] = {}
        if policy.inviter_authority and offers:
            self._inviters = locks.acting(session, {(o.invited_by, o.org_id) for o in offers})

    def require_entitled(self, newcomer: Newcomer) -> None:
        """Refuse an offer of somebody's who may not make it.

        Raises:
            ForbiddenError: the inviter may not offer the role.
        """
        if self._policy.inviter_authority and isinstance(newcomer, Invitation):
            inviter = self._inviters.get((newcomer.invited_by, newcomer.org_id))
            newcomer.require_offered_by(inviter)

    def admit(self, newcomer: Newcomer) -> list[Invitation]:
        """Let somebody in, or offer them a place, and return the offers that this ends.

        Raises:
            DuplicateInvitationError: another offer stands, and the policy allows one.
            ForbiddenError: another offer is of a role that the acting user may not touch.
            SeatLimitError: no seat is free.
        """
        ended = self._others(newcomer) if isinstance(newcomer, Invitation) else []
        self._ending(ended)
        if seats := self._seats.get(newcomer.org_id):
            seats.take(newcomer, self._policy)
        for other in ended:
            other.end(self._at, by=newcomer.invited_by)
        if isinstance(newcomer, Invitation) and self._policy.pending_invitations != "keep":
            self._live[newcomer.org_id, newcomer.identifier] = [newcomer]
        return ended

    def _others(self, offer: Invitation) -> list[Invitation]:
        others = self._live[offer.org_id, offer.identifier]
        if others and self._policy.pending_invitations == "refuse":
            raise DuplicateInvitationError(
                f"invitation {others[0].id} to {offer.org_id} is open for the same identifier",
                org_id=offer.org_id,
                inv_id=others[0].id,
            )
        return others


def end_rivals(session: AnySession, policy: Policy, accepted: Invitation) -> list[Base]:
    """End the other pending invitations of an accepted one's identifier, and return what changes.

    Where there are seats they would hold one for somebody who has come, however they are spelled.
    """
    org, at = accepted.organization, cast("datetime", accepted.terminal_at)
    rivals: list[Invitation] = []
    with session.no_autoflush:  # whoever has accepted may not be known yet
        limited = policy.seats is not None and policy.seats(itself(session), org) is not None
        if policy.accept_ends_others or limited:
            identifier = policy.canonical(accepted.identifier)
            stored = queries.identifiers_invited(session, [org.id], at=at) if limited else ()
            same = {given for _, given in stored if policy.canonical(given) == identifier}
            places = {(org.id, each) for each in (accepted.identifier, identifier, *same)}
            rivals = locks.live_invitations(session, places, at=at, besides=accepted.id)
    for rival in rivals:
        rival.end(at, by=accepted.terminal_by)
    return [as_it_is(org), *rivals]


def as_it_is(org: Organization) -> Organization:
    """Have an organization's row written as it is.

    Whoever judges newcomers by an older snapshot then fails to serialize.
    """
    flag_modified(org, "status")
    return org


def seats_of(
    session: AnySession,
    policy: Policy,
    orgs: Collection[Organization],
    usr_ids: Collection[str] = (),
    *,
    at: datetime,
    unlimited: bool = False,
) -> dict[str, Seats]:
    """Return the seats of organizations, and which of some users have one.

    Args:
        session: the Session.
        policy: what the application decides.
        orgs: the organizations.
        usr_ids: the users.
        at: the time by which invitations are overdue.
        unlimited: whether to count where there is no limit, too: it takes time with the members.
    """
    limit = policy.seats or (lambda session, org: None)
    seats = {org.id: Seats(org.id, limit(itself(session), org)) for org in orgs}
    if not unlimited:
        seats = {org_id: each for org_id, each in seats.items() if each.limit is not None}
    if not seats:
        return {}
    for org_id, users in queries.seats_of_members(session, seats):
        seats[org_id].users = users
    for org_id, identifier in queries.identifiers_invited(session, seats, at=at):
        seats[org_id].identifiers.add(policy.canonical(identifier))
    if usr_ids:
        for org_id, usr_id in queries.seated(session, seats, usr_ids):
            seats[org_id].seated.add(usr_id)
    return seats
