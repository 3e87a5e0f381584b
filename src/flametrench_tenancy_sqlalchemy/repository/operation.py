"""The frame around an operation: its unit, its time, what it writes, and what a refusal means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionInTimeError

from .. import _integrity
from .._sql import among, deciding, table_of
from ..clock import Clock, time_of, utc_now
from ..errors import PoolTimeoutError, PreconditionError, TenancyError
from ..ids import require
from ..models import Base, Invitation, Membership, Organization, User
from ..models.base import not_found
from ..policy import LETTER, Policy
from ..transactions.savepoint import savepoint
from ..transactions.sessions import AnySession, connection_of, is_sqlite, where_writes_go
from ..writing import Change, Guard, Written, write
from . import locks

F = TypeVar("F", bound=Callable[..., Any])

Unit: TypeAlias = Callable[[AnySession, str], AbstractContextManager[None]]
"""What an operation is to its transaction: a savepoint, or the whole of it."""

Admission: TypeAlias = Callable[[AnySession, Collection[str], datetime], object]
"""Makes users known."""

Reference: TypeAlias = tuple[str, str | None]
"""A parameter, and the user whom it refers to."""


@contextmanager
def _pool_in_our_words() -> Iterator[None]:
    try:
        yield
    except NoConnectionInTimeError as exc:
        raise PoolTimeoutError from exc


def reads(operation: F) -> F:
    """Mark an operation that only reads: it needs no unit, and may go to a replica."""
    read = _pool_in_our_words()(operation)
    read.__dict__["reads"] = True
    return read


def only_reads(operation: Callable[..., Any]) -> bool:
    """Tell whether an operation has been marked so."""
    return getattr(operation, "reads", False)


class Operation:
    """An operation under way.

    Attributes:
        at: its time.
        relies_on: the users whom it has found to exist, and who may yet vanish.
    """

    def __init__(self, session: AnySession, at: datetime) -> None:
        self.at = at
        self.relies_on: Sequence[Reference] = ()
        self._session = session
        self._conflicts: Mapping[str, TenancyError] = {}

    def write(self, **change: Any) -> Written:
        """Write a `Change`, which has the operation's time."""
        return write(self._session, self._foreseen(Change(at=self.at, **change)))

    def join(
        self, org_id: str, newcomer: Membership | Invitation, *, created_by: str | None = None
    ) -> None:
        """Write what joins an organization, behind a shared lock on it, if it may."""
        lock = partial(locks.organization, self._session, org_id, joining=True)
        change = Change(at=self.at, added=[newcomer], created_by=created_by)
        guard = Guard(org_id, lock, newcomer.enter)
        write(self._session, self._foreseen(change), guard=guard)

    def refusal(self, cause: DBAPIError) -> TenancyError | None:
        """Return what a constraint that was violated means, if that is foreseen."""
        conflict = self._conflicts.get(_integrity.constraint_name(cause) or "")
        return conflict or _integrity.broken_rule(cause)

    def _foreseen(self, change: Change) -> Change:
        self._conflicts = change.conflicts()
        return change


class Repository:
    """The common ground of the operations, bound to the caller's Session.

    Args:
        session: the caller's Session, or a ``scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
        unit: what an operation is to its transaction: a savepoint, if nothing else is said.
        admits: makes users known who are about to be referred to; others keep them, if nothing
            is said, and foreign keys answer whether they exist.
    """

    def __init__(
        self,
        session: AnySession,
        *,
        clock: Clock = utc_now,
        policy: Policy = LETTER,
        unit: Unit = savepoint,
        admits: Admission | None = None,
    ) -> None:
        self.session = session
        self._clock = clock
        self._policy = policy
        self._unit = unit
        self._admits = admits

    @contextmanager
    def _operation(
        self,
        name: str,
        *,
        into: str | None = None,
        users: Mapping[str, str | None] | None = None,
    ) -> Iterator[Operation]:
        """Run an operation as a unit, and say in the domain's words why the database refused.

        Foreign keys and unique indexes answer what a question in advance could only guess at.

        Args:
            name: the operation, for the savepoint.
            into: the organization that must be active, before anything else is amiss.
            users: argument name -> the user it refers to, in the order of the contract's checks.
        """
        session, users = self.session, users or {}
        operation = Operation(session, time_of(self._clock))
        with _pool_in_our_words():
            session.flush()  # the caller's own pending rows; what they break is theirs to see
            with (
                where_writes_go(session),
                self._refusals_in_our_words(operation, into, users),
                self._unit(session, name),
            ):
                self._admit(users.values(), operation.at)
                yield operation

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
        org = self.session.scalars(query).one_or_none()
        if org is None:
            raise not_found(Organization, org_id, "org_id")
        org.require_active()

    def _require_users(self, users: Sequence[Reference], cause: DBAPIError) -> None:
        """Name the first argument whose user does not exist, after a refusal that may hide it."""
        given = [(parameter, usr_id) for parameter, usr_id in users if usr_id is not None]
        if not given or self._admits is not None:  # whom the refusal has made unknown again
            return
        known = existing_users(self.session, given)
        for parameter, usr_id in given:
            if usr_id not in known:
                raise not_found(User, usr_id, parameter) from cause
        column = _USER_COLUMNS.get(_integrity.constraint_name(cause) or "")
        if column is not None:  # they have come since the database looked for them
            parameter, usr_id = next((each for each in given if each[0] == column), given[0])
            raise not_found(User, usr_id, parameter) from cause


def existing_users(session: AnySession, users: Iterable[Reference]) -> set[str]:
    """Return which of these users exist."""
    given = {usr_id for _, usr_id in users if usr_id is not None}
    if not given:
        return set()
    query = select(_usr.c.id).where(among(_usr.c.id, given, arrays=not is_sqlite(session)))
    return set(connection_of(session).execute(query).scalars())


def parsed_users(**users: Any) -> dict[str, str | None]:
    """Return arguments that refer to users, each a wire id or ``None``, after checking them.

    Raises:
        InvalidIdError: one of them is no ``usr_`` wire id.
    """
    return {
        parameter: None if value is None else require(value, "usr", parameter)
        for parameter, value in users.items()
    }


_org, _usr = map(table_of, (Organization, User))

# A foreign key's name -> its column, of all that refer to users.
_USER_COLUMNS: Final[dict[Any, str]] = {
    key.name: key.column_keys[0]
    for table in Base.metadata.tables.values()
    for key in table.foreign_key_constraints
    if key.referred_table is _usr
}
