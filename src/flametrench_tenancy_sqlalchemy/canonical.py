"""Identifiers that were stored before a policy made them canonical, brought into that form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from .errors import PreconditionError
from .models import Invitation
from .policy import Policy
from .repository import locks, queries
from .transactions.isolation import spans_organizations

BATCH: Final = 100
"""How many organizations are locked at once."""


@dataclass(slots=True)
class Canonicalized:
    """What has become of the identifiers of pending invitations.

    Attributes:
        changed: the invitations that have another identifier now.
        collisions: open invitations of one organization that would have the same identifier, which
            somebody has to choose between; none of them is changed.
        refused: an invitation -> why its identifier has no canonical form that may be stored.
    """

    changed: list[str] = field(default_factory=list)
    collisions: list[list[str]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def canonicalize(session: Session, policy: Policy, *, at: datetime) -> Iterator[Canonicalized]:
    """Store the identifiers of pending invitations as the policy has it, batch by batch.

    Each batch is flushed; that is the moment to commit, so that its organizations are free again.
    Answered invitations say what they said: that never changes.

    Args:
        session: a Session in a READ COMMITTED transaction.
        policy: makes identifiers canonical.
        at: the time by which invitations are overdue, which collide with nothing.

    Raises:
        PreconditionError: ``spans_organizations``; row-level security hides organizations.
    """
    spans_organizations(session, "canonicalize", "org", None)
    after: str | None = None
    while org_ids := queries.inviting(session, after=after, limit=BATCH):
        concerned = {
            org_id
            for org_id, identifier in queries.identifiers_pending(session, org_ids)
            if policy.canonical(identifier) != identifier
        }
        locked = locks.organizations(session, concerned, joining=False)
        done = Canonicalized()
        for same in _by_identifier(locks.pending_in(session, locked), policy):
            _unify(same, policy, done, at=at)
        session.flush()
        yield done
        after = org_ids[-1]


def _by_identifier(invitations: Iterable[Invitation], policy: Policy) -> Iterable[list[Invitation]]:
    same: dict[tuple[str, str], list[Invitation]] = defaultdict(list)
    for each in invitations:
        same[each.org_id, policy.canonical(each.identifier)].append(each)
    return same.values()


def _unify(same: list[Invitation], policy: Policy, done: Canonicalized, *, at: datetime) -> None:
    """Change the identifiers of what is for the same invitee, unless several are open."""
    others = [each for each in same if policy.canonical(each.identifier) != each.identifier]
    live = [each.id for each in same if not each.is_overdue(at)]
    if len(live) > 1 and any(each.id in live for each in others):
        done.collisions.append(live)
        others = [each for each in others if each.id not in live]
    for each in others:
        try:
            each.canonicalize(policy)
        except PreconditionError as exc:
            done.refused[each.id] = str(exc)
        else:
            done.changed.append(each.id)
