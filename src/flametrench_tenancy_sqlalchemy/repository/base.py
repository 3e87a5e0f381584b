"""What all operations share: the Session, the clock, the unit of work, locked loads and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    ScalarResult,
    Select,
    bindparam,
    literal_column,
    or_,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import aliased, contains_eager

from .. import _integrity
from ..errors import PreconditionError, TenancyError
from ..ids import decode, require
from ..models import Base, Invitation, Membership, Organization, User
from ..models.base import not_found
from ..unit_of_work import AnySession, savepoint
from ..values import Page, Role, Status
from .locking import FRESH, LockingRead, Query
from .pages import BEFORE_ALL

Entity = TypeVar("Entity", Organization, Membership, Invitation)

Clock = Callable[[], datetime]

MAX_LIMIT: Final = 200


def utc_now() -> datetime:
    """Return the current time; the clock of every repository that is given no other."""
    return datetime.now(UTC)


class Repository:
    """The common ground of the operations, bound to the caller's Session.

    Rows are locked in one order everywhere: the organization, then memberships, then invitations.
    """

    def __init__(self, session: AnySession, *, clock: Clock = utc_now) -> None:
        self.session = session
        self._clock = clock

    def _now(self) -> datetime:
        now = self._clock()
        if now.utcoffset() is None:
            raise ValueError(f"the clock returned {now!r}, which is not timezone-aware")
        return now.astimezone(UTC)

    @contextmanager
    def _operation(
        self,
        name: str,
        *,
        into: str | None = None,
        users: Mapping[str, str | None] | None = None,
        conflicts: Mapping[str, TenancyError] | None = None,
    ) -> Iterator[datetime]:
        """Run an operation as a unit, and say in the domain's words why the database refused.

        Foreign keys and unique indexes answer what a question in advance could only guess at.

        Args:
            name: the operation, for the savepoint.
            into: the organization that must be active, before anything else is amiss.
            users: argument name -> the user it refers to, in the order of the contract's checks.
            conflicts: name of a unique index -> the error that its violation means here.

        Yields:
            The time of the operation.
        """
        users = users or {}
        self.session.flush()  # the caller's own pending rows; what they break is his to see
        try:
            with self._unit_of_work(name):
                self._admit(users)
                yield self._now()
        except PreconditionError:
            if into is not None:
                self._require_active(into)
            raise
        except DBAPIError as exc:
            if not _integrity.is_violation(exc):
                raise
            if into is not None:
                self._require_active(into)
            self._require_users(users, exc)
            conflict = (conflicts or {}).get(_integrity.constraint_name(exc) or "")
            error = conflict or _integrity.broken_rule(exc)
            if error is None:
                raise
            raise error from exc

    def _require_active(self, org_id: str) -> None:
        self._get(Organization, "org_id", org_id).require_active()

    def _unit_of_work(self, name: str) -> AbstractContextManager[None]:
        return savepoint(self.session, name)

    def _admit(self, users: Mapping[str, str | None]) -> None:
        """Prepare for users who are about to be referred to: nothing, where others keep them."""

    def _require_users(self, users: Mapping[str, str | None], cause: DBAPIError) -> None:
        """Name the first argument whose user does not exist, after a refusal that may hide it."""
        given = {usr_id for usr_id in users.values() if usr_id is not None}
        if not given:
            return
        known = set(self.session.scalars(select(User.id).where(User.id.in_(given))))
        for parameter, usr_id in users.items():
            if usr_id is not None and usr_id not in known:
                raise not_found(User, usr_id, parameter) from cause
        column = _USER_COLUMNS.get(_integrity.constraint_name(cause) or "")
        if column is not None:  # he has come since the database looked for him
            parameter = column if column in users else next(iter(users))
            raise not_found(User, str(users[parameter]), parameter) from cause

    def _lock_org(self, org_id: str, *, joining: bool = False) -> Organization:
        """Lock an organization: to change it, or, side by side with others, to join it."""
        read = _ORG_TO_JOIN if joining else _ORG_TO_CHANGE
        return self._lock_one(Organization, read, "org_id", org_id)

    def _lock_membership(self, mem_id: str) -> Membership:
        """Lock a membership behind its organization, which comes loaded with it."""
        return self._lock_one(Membership, _MEMBERSHIP_TO_CHANGE, "mem_id", mem_id)

    def _lock_memberships(self, one: str, other: str) -> dict[str, Membership]:
        """Lock two memberships behind their organizations, in the one order; return them by id."""
        found = self._lock(_MEMBERSHIPS_TO_CHANGE, {"sought": one, "other": other})
        return {membership.id: membership for (membership,) in found}

    def _lock_other_owners(
        self, membership: Membership, *, or_user: str | None = None
    ) -> list[Membership]:
        """Lock another active owner for a last owner to lean on, and a user's membership if asked.

        Asked after the organization is locked, and of the rows themselves: counting in an older
        snapshot is how an organization loses its last owner.
        """
        if not membership.is_active_owner:
            return []
        others = {"there": membership.org_id, "sought": membership.id}
        if or_user is None:
            found = self._lock(_OTHER_OWNER, others)
        else:
            found = self._lock(_OTHER_OWNERS_OR_USER, others | {"whose": or_user})
        return [membership for (membership,) in found]

    def _lock_with_administrator(
        self, mem_id: str, usr_id: str
    ) -> tuple[Membership, Membership | None]:
        """Lock a membership and, with luck in the same statement, the one by which a user acts."""
        given = {"sought": mem_id, "whose": usr_id}
        found = [row[0] for row in self._lock(_MEMBERSHIP_AND_ANOTHER, given)]
        membership = next((m for m in found if m.id == mem_id), None)
        if membership is None:
            raise not_found(Membership, mem_id, "mem_id")
        # What is locked is as it is now; what is missing may have come while we waited.
        acting = (m for m in found if m.usr_id == usr_id and m.status is Status.ACTIVE)
        admin = next(acting, None) or self._lock_administrator(usr_id, membership.org_id)
        return membership, admin

    def _lock_administrator(self, usr_id: str, org_id: str) -> Membership | None:
        """Lock the active membership by which a user acts on others, if he has one."""
        found = self._lock(_ADMINISTRATOR, {"whose": usr_id, "there": org_id})
        return found[0][0] if found else None

    def _lock_one(
        self, entity: type[Entity], read: LockingRead, parameter: str, id_: str
    ) -> Entity:
        """Lock what a read finds for the id that it asks for as ``:sought``."""
        found = self._lock(read, {"sought": id_})
        if not found:
            raise not_found(entity, id_, parameter)
        return cast("Entity", found[0][0])

    def _lock(self, read: LockingRead, given: dict[str, Any]) -> list[Any]:
        """Lock rows until the transaction ends, and return them."""
        return list(self.session.execute(read.locked, given))

    def _read(self, statement: Select[Any], given: dict[str, Any]) -> ScalarResult[Any]:
        """Return what a statement finds, with what the application relates to it eagerly."""
        return self.session.scalars(statement, given).unique()

    def _one(
        self, entity: type[Entity], statement: Select[Any], parameter: str, id_: str
    ) -> Entity:
        """Return what a statement finds for the id that it asks for as ``:sought``."""
        found = self._read(statement, {"sought": id_}).one_or_none()
        if found is None:
            raise not_found(entity, id_, parameter)
        return cast("Entity", found)

    def _page(
        self,
        entity: type[Entity],
        query: Select[Any],
        *,
        cursor: str | None,
        limit: int,
        **given: Any,
    ) -> Page[Entity]:
        """Return a page of a list, and a cursor if there is more; at most 200 rows.

        Args:
            entity: what is listed.
            query: the query for a page of it.
            cursor: the id to go on after.
            limit: how many.
            given: the query's further parameters.
        """
        limit = max(1, min(whole_number(limit), MAX_LIMIT))
        # A table is named after its type of id.
        type_ = entity.__tablename__
        after = BEFORE_ALL if cursor is None else decode(cursor, type_, "cursor")
        rows = list(self._read(query, {"after": after, "rows": limit + 1, **given}))
        more = len(rows) > limit
        return Page(rows[:limit], rows[limit - 1].id if more else None)

    def _get(self, entity: type[Entity], parameter: str, id_: str) -> Entity:
        """Return what an argument names."""
        # A table is named after its type of id.
        require(id_, entity.__tablename__, parameter)
        return self._one(entity, _BY_ID[entity], parameter, id_)

    def _require_known(
        self, entity: type[Organization] | type[User], parameter: str, id_: str
    ) -> None:
        """Tell an empty list from a list of something that does not exist."""
        if self.session.scalar(select(entity.id).where(entity.id == id_)) is None:
            raise not_found(entity, id_, parameter)


def word(term: str) -> ColumnElement[Any]:
    """Return a word that the statement itself contains.

    A plan for all parameters may use a partial index only if its condition is no parameter.
    """
    return literal_column(f"'{term}'")


# Built once: on every call, they would take longer than the server does.
ACTIVE_MEMBERSHIP: Final = (
    select(Membership)
    .where(
        Membership.usr_id == bindparam("whose"),
        Membership.org_id == bindparam("there"),
        Membership.status == word(Status.ACTIVE),
    )
    .execution_options(**FRESH)
)
_ADMINISTRATOR: Final = LockingRead(
    Query(ACTIVE_MEMBERSHIP, ("mem.id", "mem.xmin")), {"read": True, "of": Membership}
)

_BY_ID: Final[dict[type[Base], Select[Any]]] = {
    entity: select(entity).where(entity.id == bindparam("sought")).execution_options(**FRESH)
    for entity in (Organization, Membership, Invitation)
}
ORG_VERSION: Final = ("org.id", "org.xmin")
_ORG: Final = Query(_BY_ID[Organization], ORG_VERSION)
_ORG_TO_JOIN: Final = LockingRead(_ORG, {"read": True, "of": Organization})
_ORG_TO_CHANGE: Final = LockingRead(_ORG, {"key_share": True, "of": Organization})

# A foreign key's name -> its column, of all that refer to users.
_USER_COLUMNS: Final = {
    key.name: key.column_keys[0]
    for table in Base.metadata.tables.values()
    for key in table.foreign_key_constraints
    if key.referred_table is User.__table__
}

_BEHIND_ORG: Final = select(Membership).join(Membership.organization)


def _behind_org(query: Select[Any]) -> LockingRead:
    """Return the read of memberships which locks their organizations first."""
    version = ("mem.id", "mem.xmin", "org.xmin")
    return LockingRead(
        Query(query, version, (contains_eager(Membership.organization),)),
        {"key_share": True, "of": [Organization, Membership]},
    )


_MEMBERSHIP_TO_CHANGE: Final = _behind_org(_BEHIND_ORG.where(Membership.id == bindparam("sought")))
_its = aliased(Membership)
_another = aliased(Membership)
# A scalar subquery: the rows of any other would be asked for again after waiting for a lock.
_MEMBERSHIP_AND_ANOTHER: Final = _behind_org(
    _BEHIND_ORG.where(
        Membership.id.in_(
            [
                bindparam("sought"),
                select(_another.id)
                .join(_its, _its.org_id == _another.org_id)
                .where(
                    _its.id == bindparam("sought"),
                    _another.usr_id == bindparam("whose"),
                    _another.status == word(Status.ACTIVE),
                )
                .scalar_subquery(),
            ]
        )
    )
)
_one, _other = (bindparam(name, type_=Membership.id.type) for name in ("sought", "other"))
_MEMBERSHIPS_TO_CHANGE: Final = _behind_org(
    _BEHIND_ORG.where(Membership.id.in_([_one, _other])).order_by(Membership.org_id, Membership.id)
)

_IS_OWNER: Final = Membership.role == word(Role.OWNER)
_OTHERS: Final = (
    select(Membership)
    .where(
        Membership.org_id == bindparam("there"),
        Membership.status == word(Status.ACTIVE),
        Membership.id != bindparam("sought"),
    )
    .order_by(Membership.id)
)


def _of_others(query: Select[Any]) -> LockingRead:
    return LockingRead(Query(query, ("mem.id", "mem.xmin")), {"key_share": True, "of": Membership})


_OTHER_OWNER: Final = _of_others(_OTHERS.where(_IS_OWNER).limit(1))
_OTHER_OWNERS_OR_USER: Final = _of_others(
    _OTHERS.where(or_(_IS_OWNER, Membership.usr_id == bindparam("whose")))
)


def whole_number(limit: object) -> int:
    """Return a limit if it is a whole number.

    Raises:
        PreconditionError: ``limit_format``; it is something else.
    """
    if isinstance(limit, int):
        return limit
    raise PreconditionError(
        f"limit: {limit!r} is not a whole number", "limit_format", parameter="limit"
    )


def parsed_users(**users: Any) -> dict[str, str | None]:
    """Return arguments that refer to users, each a wire id or ``None``, after checking them.

    Raises:
        InvalidIdError: one of them is no ``usr_`` wire id.
    """
    return {
        parameter: None if value is None else require(value, "usr", parameter)
        for parameter, value in users.items()
    }
