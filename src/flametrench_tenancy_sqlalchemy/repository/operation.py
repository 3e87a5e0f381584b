"""An operation under way: its time, who does it, what it writes and what follows from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy.exc import DBAPIError

from .. import _integrity
from ..changes import Changed, TenancyChange
from ..errors import TenancyError
from ..models import Invitation, Organization, Tuple
from ..policy import Policy
from ..transactions.sessions import AnySession, itself
from ..transactions.settings import Saying
from ..writing import (
    Change,
    Guard,
    Written,
    what_was,
    write,
    write_expiry,
    write_revocation,
)
from . import locks, queries
from .consequences import end_offers, grants_to_take, partings
from .entries import Ending, Entries, Newcomer, as_it_is

Reference: TypeAlias = tuple[str, str | None]
"""A parameter, and the user whom it refers to."""


class Operation:
    """An operation under way.

    Attributes:
        name: its name.
        at: its time.
        saying: who does it, for the audit log.
        ending: refuses them to end offers of roles that rank above their own.
        relies_on: the users whom it has found to exist, and who may yet vanish.
    """

    def __init__(
        self,
        session: AnySession,
        name: str,
        policy: Policy,
        *,
        by: str | None,
        at: datetime,
        saying: Saying,
        ending: Ending,
    ) -> None:
        self.at = at
        self.saying = saying
        self.ending = ending
        self.relies_on: Sequence[Reference] = ()
        self._session = session
        self.name = name
        self._policy = policy
        self._by = by
        self._conflicts: Mapping[str, TenancyError] = {}

    def write(
        self, *, added: Sequence[Any] = (), changed: Sequence[Any] = (), **other: Any
    ) -> Written:
        """Write a `Change`, which has the operation's time, with what follows from it."""
        policy, offers, taken = self._policy, list[Invitation](), list[Tuple]()
        if policy.departure_revokes_offers or policy.departure_withdraws_grants:
            with self._session.no_autoflush:
                parted = partings(self._session, changed, added)
                if policy.departure_revokes_offers:
                    offers = end_offers(self._session, parted, by=self._by, at=self.at)
                if policy.departure_withdraws_grants:
                    taken = grants_to_take(self._session, parted)
        return self.write_all(added=added, changed=[*changed, *offers], taken=taken, **other)

    def write_all(self, *, taken: Sequence[Tuple] = (), **change: Any) -> Written:
        """Write a `Change` with the operation's time; nothing follows from it.

        Args:
            taken: the tuples that are taken back.
            change: what else it has.
        """
        keys = [tuple_.key for tuple_ in taken]
        return self._write(self._change(taken=keys, **change), taken=taken)

    def join(self, org_id: str, newcomer: Newcomer, *, named: bool = False) -> None:
        """Write what joins an organization, behind a lock on it, if it may.

        The lock is a shared one, unless the policy looks at who else is there.

        Args:
            org_id: the organization.
            newcomer: the membership or invitation.
            named: whether the caller has chosen its id, which may be taken.
        """
        session, policy = self._session, self._policy
        offers = isinstance(newcomer, Invitation)
        alone = policy.looks_at_others(offers=offers)
        if not alone and not named and not (offers and policy.inviter_authority):
            lock = partial(locks.organization, session, org_id, joining=True)
            change = self._change(added=[newcomer], by_inviters=True)
            self._write(change, guard=Guard(org_id, lock, newcomer.enter))
            return
        org = locks.organization(session, org_id, joining=not alone)
        newcomer.enter(org)
        if named and isinstance(newcomer, Invitation) and queries.is_there(session, newcomer):
            raise newcomer.already_there()
        entries = Entries(session, policy, [org], [newcomer], ending=self.ending, at=self.at)
        entries.require_entitled(newcomer)
        ended = entries.admit(newcomer)
        self.write(
            added=[newcomer],
            changed=[*ended, *([as_it_is(org)] if alone else [])],
            by_inviters=True,
        )

    def revoke_all_of(self, org: Organization) -> None:
        """Write that an organization has been revoked, with everything that it grants."""
        was, told = what_was(org), self._policy.on_change is not None
        counts = queries.revocable(self._session, org.id) if told else {}
        write_revocation(self._session, org, at=self.at, saying=self.saying)
        self.tell(changed=[Changed(org, was)], counts=counts)

    def expire(self, *, limit: int) -> int:
        """Write that overdue invitations have expired, and return how many."""
        if self._policy.on_change is None:
            expired = write_expiry(self._session, at=self.at, saying=self.saying, limit=limit)
            return len(expired)
        overdue = locks.overdue_invitations(self._session, at=self.at, limit=limit)
        for invitation in overdue:
            invitation.expire(self.at)
        self.write(changed=overdue)
        return len(overdue)

    def tell(self, **what: Any) -> None:
        """Tell the application what has been written, if the policy says to."""
        if self._policy.on_change is not None:
            told = TenancyChange(self.name, self.at, self._by, **what)
            self._policy.on_change(itself(self._session), told)

    def _change(self, **what: Any) -> Change:
        return Change(at=self.at, saying=self.saying, **what)

    def _write(
        self, change: Change, *, guard: Guard | None = None, taken: Sequence[Tuple] = ()
    ) -> Written:
        self._conflicts = change.conflicts()
        if self._policy.on_change is None:
            return write(self._session, change, guard=guard)
        before = [Changed(entity, what_was(entity)) for entity in change.changed]
        written = write(self._session, change, guard=guard)
        added, changed = list(written.added), [changed for changed in before if changed.before]
        if added or changed:
            granted = list(written.grants.values())
            withdrawn = [tuple_ for tuple_ in taken if tuple_.key not in change.withdrawn]
            self.tell(added=added, changed=changed, granted=granted, withdrawn=withdrawn)
        return written

    def refusal(self, cause: DBAPIError) -> TenancyError | None:
        """Return what a constraint that was violated means, if that is foreseen."""
        conflict = self._conflicts.get(_integrity.constraint_name(cause) or "")
        return conflict or _integrity.broken_rule(cause)
