"""The frame around an operation: its unit, what it sees, and what a refusal means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, Self, TypeAlias

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from .. import _integrity
from .._sql import deciding, table_of
from ..clock import Clock, time_of, utc_now
from ..errors import (
    DuplicateInvitationError,
    DuplicateInvitationIdError,
    DuplicateOrganizationError,
    ForbiddenError,
    OrgSlugConflictError,
    PreconditionError,
    SeatLimitError,
)
from ..models import Base, Organization, User
from ..models.base import not_found
from ..policy import LETTER, Policy
from ..transactions.isolation import Sight, View, Way, seeing
from ..transactions.savepoint import savepoint
from ..transactions.sessions import (
    AnySession,
    among,
    connection_of,
    pool_in_our_words,
    where_writes_go,
)
from ..transactions.settings import Saying
from ..transactions.tenant import keep
from .operation import Operation, Reference
from .permission import ForSomebody

Unit: TypeAlias = Callable[[AnySession, str], AbstractContextManager[None]]
"""What an operation is to its transaction: a savepoint, or the whole of it."""

Admission: TypeAlias = Callable[[AnySession, Collection[str], datetime], object]
"""Makes users known."""

# What comes after the question whether the users exist.
_AFTER_USERS: Final = (
    DuplicateInvitationError,
    DuplicateInvitationIdError,
    DuplicateOrganizationError,
    ForbiddenError,
    OrgSlugConflictError,
    SeatLimitError,
)


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
            ending=partial(self._permit_ending, name),
        )
        with pool_in_our_words:
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
