"""The frame around an operation: its unit, its time, what it writes, and what a refusal means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, Final, Self, TypeAlias, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionInTimeError

from .. import _integrity
from .._sql import deciding, table_of
from ..changes import Changed, TenancyChange
from ..clock import Clock, time_of, utc_now
from ..errors import (
    DuplicateInvitationError,
    DuplicateInvitationIdError,
    DuplicateOrganizationError,
    ForbiddenError,
    OrgSlugConflictError,
    PoolTimeoutError,
    PreconditionError,
    SeatLimitError,
    TenancyError,
)
from ..models import Base, Invitation, Organization, Tuple, User
from ..models.base import not_found
from ..policy import LETTER, Policy
from ..transactions.isolation import Sight, View, Way, seeing
from ..transactions.savepoint import savepoint
from ..transactions.sessions import AnySession, among, connection_of, itself, where_writes_go
from ..transactions.settings import Saying
from ..transactions.tenant import keep
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
from .entries import Entries, Newcomer, as_it_is
from .permission import ForSomebody

F = TypeVar("F", bound=Callable[..., Any])

Unit: TypeAlias = Callable[[AnySession, str], AbstractContextManager[None]]
"""What an operation is to its transaction: a savepoint, or the whole of it."""

Admission: TypeAlias = Callable[[AnySession, Collection[str], datetime], object]
"""Makes users known."""

Reference: TypeAlias = tuple[str, str | None]
"""A parameter, and the user whom it refers to."""


# What comes after the question whether the users exist.
_AFTER_USERS: Final = (
    DuplicateInvitationError,
    DuplicateInvitationIdError,
    DuplicateOrganizationError,
    ForbiddenError,
    OrgSlugConflictError,
    SeatLimitError,
)


@contextmanager
def _pool_in_our_words() -> Iterator[None]:
    try:
        yield
    except NoConnectionInTimeError as exc:
        raise PoolTimeoutError from exc


class Kind(Enum):
    """What an operation does, which says where it may be done."""

    WRITES = "writes"
    READS = "reads"
    GUARDS = "guards"


def reads(operation: F) -> F:
    """Mark an operation that only reads: it needs no unit, and may go to a replica."""
    return _marked(operation, Kind.READS)


def guards(operation: F) -> F:
    """Mark a read that lets requests pass: a replica would admit whom the primary has removed."""
    return _marked(operation, Kind.GUARDS)


def _marked(operation: F, kind: Kind) -> F:
    read = _pool_in_our_words()(operation)
    read.__dict__["kind"] = kind
    return read


def kind_of(operation: Callable[..., Any]) -> Kind:
    """Return what an operation has been marked as; one without a mark writes."""
    return getattr(operation, "kind", Kind.WRITES)


class Operation:
    """An operation under way.

    Attributes:
        name: its name.
        at: its time.
        saying: who does it, for the audit log.
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
    ) -> None:
        self.at = at
        self.saying = saying
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
        entries = Entries(session, policy, [org], [newcomer], at=self.at)
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


class Repository(ForSomebody):
    """The common ground of the operations, bound to the caller's Session.

    Args:
        session: the caller's Session, or a ``scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """

    def __init__(
        self, session: AnySession, *, clock: Clock = utc_now, policy: Policy = LETTER
    ) -> None:
        self.session = session
        self._clock = clock
        self._policy = policy
        self._unit: Unit = savepoint
        self._admits: Admission | None = None

    @classmethod
    def _within(
        cls,
        unit: Unit,
        session: AnySession,
        *,
        clock: Clock,
        policy: Policy,
        admits: Admission | None = None,
    ) -> Self:
        """Return the operations for a store, which says what surrounds them.

        Args:
            unit: what an operation is to its transaction.
            session: the store's Session.
            clock: as above.
            policy: as above.
            admits: makes users known who are about to be referred to; others keep them, if nothing
                is said, and foreign keys answer whether they exist.
        """
        repository = cls(session, clock=clock, policy=policy)
        repository._unit, repository._admits = unit, admits
        return repository

    @contextmanager
    def _operation(
        self,
        name: str,
        *,
        view: View,
        into: str | None = None,
        users: Mapping[str, str | None] | None = None,
        by: str | None = None,
    ) -> Iterator[Operation]:
        """Run an operation as a unit, and say in the domain's words why the database refused.

        Foreign keys and unique indexes answer what a question in advance could only guess at.

        Args:
            name: the operation, for the savepoint.
            view: what it needs to see.
            into: the organization that must be active, before anything else is amiss.
            users: argument name -> the user it refers to, in the order of the contract's checks.
            by: the user whose doing it is, if the arguments tell.
        """
        session, users = self.session, users or {}
        if self._actor is not None:
            by = self._actor.usr_id
        operation = Operation(
            *(session, name, self._policy),
            by=by,
            at=time_of(self._clock),
            saying=Saying.of(name, self._actor),
        )
        with _pool_in_our_words():
            session.flush()  # the caller's own pending rows; what they break is theirs to see
            with (
                where_writes_go(session),
                self._denials_kept(),
                self._refusals_in_our_words(operation, into, users),
                self._unit(session, name),
                self._seeing(view, undone=True),
            ):
                self._admit(users.values(), operation.at)
                yield operation
            keep(session)

    def _seeing(self, view: View, *, undone: bool = False) -> AbstractContextManager[Sight]:
        """Let the block see what it needs to, where row-level security would hide it.

        Args:
            view: what that is.
            undone: whether a unit around it takes it back where the block raises.
        """
        return seeing(
            self.session,
            view,
            usr_id=None if self._actor is None else self._actor.usr_id,
            lasting=self._unit is savepoint,
            undone=undone,
        )

    @contextmanager
    def _refusals_in_our_words(
        self, operation: Operation, into: str | None, users: Mapping[str, str | None]
    ) -> Iterator[None]:
        try:
            yield
        except PreconditionError:
            if into is not None:
                self._require_active(into)
            raise
        except _AFTER_USERS as exc:
            if self._actor is None or not isinstance(exc, ForbiddenError):
                self._require_users([*users.items()], exc)
            raise  # at once to whoever may not do it: they are not to learn who exists
        except DBAPIError as exc:
            if late := _integrity.lock_timeout(exc):
                raise late from exc
            if not _integrity.is_violation(exc):
                raise
            if into is not None:
                self._require_active(into)
            self._require_users([*users.items(), *operation.relies_on], exc)
            error = operation.refusal(exc)
            if error is None:
                raise
            raise error from exc

    def _admit(self, usr_ids: Iterable[str | None], at: datetime) -> None:
        if self._admits is not None:
            self._admits(self.session, {usr_id for usr_id in usr_ids if usr_id is not None}, at)

    def _require_active(self, org_id: str) -> None:
        query = deciding(select(_org).where(_org.c.id == org_id), Organization)
        with self._seeing(View.of(Way.NAMED, org_id)) as sight:
            sight.stays = False  # something else has been refused
            org = self.session.scalars(query).one_or_none()
        if org is None:
            raise not_found(Organization, org_id, "org_id")
        org.require_active()

    def _require_users(self, users: Sequence[Reference], cause: Exception) -> None:
        """Name the first argument whose user does not exist, after a refusal that may hide it."""
        given = [(parameter, usr_id) for parameter, usr_id in users if usr_id is not None]
        if not given or self._admits is not None:  # whom the refusal has made unknown again
            return
        known = existing_users(self.session, given)
        for parameter, usr_id in given:
            if usr_id not in known:
                raise not_found(User, usr_id, parameter) from cause
        if not isinstance(cause, DBAPIError):
            return
        column = _USER_COLUMNS.get(_integrity.constraint_name(cause) or "")
        if column is not None:  # they have come since the database looked for them
            parameter, usr_id = next((each for each in given if each[0] == column), given[0])
            raise not_found(User, usr_id, parameter) from cause


def existing_users(session: AnySession, users: Iterable[Reference]) -> set[str]:
    """Return which of these users exist."""
    given = {usr_id for _, usr_id in users if usr_id is not None}
    if not given:
        return set()
    query = select(_usr.c.id).where(among(session, _usr.c.id, given))
    return set(connection_of(session).execute(query).scalars())


_org, _usr = map(table_of, (Organization, User))

# A foreign key's name -> its column, of all that refer to users.
_USER_COLUMNS: Final[dict[Any, str]] = {
    key.name: key.column_keys[0]
    for table in Base.metadata.tables.values()
    for key in table.foreign_key_constraints
    if key.referred_table is _usr
}
