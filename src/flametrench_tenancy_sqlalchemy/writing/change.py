"""What an operation writes, as data; the tuples beside memberships follow from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy.orm.attributes import get_history

from .._integrity import INV_KEY, MEM_UNIQUE_ACTIVE, ORG_KEY, ORG_SLUG_UNIQUE
from ..errors import TenancyError
from ..ids import new_id
from ..models import Base, Invitation, Membership, Organization, Tuple
from ..models.tuple import TupleKey
from ..transactions.settings import Saying
from ..values import Status


class Guard(NamedTuple):
    """The organization that what is added joins, how to lock it, and who judges whether it may.

    Where the change is one statement, that takes the lock in the same wait.
    """

    org_id: str
    lock: Callable[[], Organization]
    judge: Callable[[Organization], object]


class Written(NamedTuple):
    """What has become of a change.

    Attributes:
        added: what was added, but for what collided and was passed over.
        grants: the tuples of the grants, those that were there before included.
    """

    added: Sequence[Any]
    grants: dict[TupleKey, Tuple]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an operation writes.

    Attributes:
        at: the time of the change.
        saying: who makes it, for the audit log.
        added: new entities, each after those that it refers to.
        changed: entities of the Session that have been changed.
        grants: tuples of users besides, without repetition; one that exists is kept.
        taken: keys of such tuples that are taken back.
        created_by: the user behind the tuples.
        by_inviters: whether the tuple of each member has whoever invited them behind it, instead.
        passes_over: whether all that is added are memberships, of which those that collide with
            another one of the same user are passed over, and their tuples with them.
    """

    at: datetime
    saying: Saying
    added: Sequence[Any] = ()
    changed: Sequence[Any] = ()
    grants: Collection[TupleKey] = ()
    taken: Collection[TupleKey] = ()
    created_by: str | None = None
    by_inviters: bool = False
    passes_over: bool = False

    @property
    def gone(self) -> list[TupleKey]:
        """The keys of all tuples that go."""
        return [*self.withdrawn, *self.taken]

    @cached_property
    def withdrawn(self) -> list[TupleKey]:
        """The keys of the tuples of memberships that have ceased to be active."""
        return [
            m.tuple_key
            for m in _memberships(self.changed)
            if m.status is not Status.ACTIVE and was(m, "status") is Status.ACTIVE
        ]

    @cached_property
    def entering(self) -> list[Membership]:
        """The memberships that are active now, and were not."""
        return [m for m in _memberships([*self.changed, *self.added]) if m.status is Status.ACTIVE]

    def tuples_of(self, memberships: Collection[Membership]) -> list[Tuple]:
        """Return the tuples that come with memberships."""
        return [
            self._tuple(m.tuple_key, m.invited_by if self.by_inviters else self.created_by)
            for m in memberships
        ]

    @cached_property
    def granted(self) -> list[Tuple]:
        """The tuples of the grants, always in the same order: or two such changes deadlock."""
        return [self._tuple(key, self.created_by) for key in sorted(self.grants)]

    def conflicts(self) -> dict[str, TenancyError]:
        """Return what the violation of a unique index would mean, by the index's name.

        Asked before anything is written: after a refusal, the entities are as they were.
        """
        meant: dict[str, TenancyError] = {}
        if len(self.entering) == 1 and not self.passes_over:
            meant[MEM_UNIQUE_ACTIVE] = self.entering[0].already_active()
        for entity in [*self.changed, *self.added]:
            if isinstance(entity, Organization):
                meant[ORG_SLUG_UNIQUE] = entity.slug_taken()
                meant[ORG_KEY] = entity.already_there()
            elif isinstance(entity, Invitation):
                meant[INV_KEY] = entity.already_there()
        return meant

    def _tuple(self, key: TupleKey, created_by: str | None) -> Tuple:
        return Tuple(
            id=new_id("tup"),
            subject_type="usr",
            **key._asdict(),
            created_at=self.at,
            created_by=created_by,
        )


def was(entity: Base, name: str) -> Any | None:
    """Return what an attribute was before it was changed, ``None`` if it is as it was."""
    before = get_history(entity, name).deleted
    return before[0] if before else None


def what_was(entity: Base) -> dict[str, Any]:
    """Return the attributes of an entity that have been changed, as they were."""
    names = entity.__mapper__.column_attrs.keys()
    return {name: before[0] for name in names if (before := get_history(entity, name).deleted)}


def _memberships(entities: Sequence[Base]) -> Iterator[Membership]:
    return (entity for entity in entities if isinstance(entity, Membership))
