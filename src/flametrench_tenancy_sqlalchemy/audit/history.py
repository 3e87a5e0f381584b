"""Who was what, and when: from the chain of roles, and from the log's suspensions.

A membership's row tells when it began, and, once it is revoked, when it ended; a role never changes
in place. That a member was suspended for a while only the log tells.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Table,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
    union_all,
)

from .._sql import table_of, word
from ..ids import require
from ..models import AuditEvent, Membership, Organization
from ..models.base import not_found
from ..values import Role, Status
from .base import STREAMED, OnSession, moment


@dataclass(frozen=True, slots=True)
class RoleAt:
    """What a user was in an organization at a moment.

    Attributes:
        role: their role; ``None`` if they were no member, or suspended.
        suspensions_since: since when the log knows of suspensions; before that, and if it is
            ``None``, somebody who was suspended counts as what they were otherwise.
    """

    role: Role | None
    suspensions_since: datetime | None


@dataclass(frozen=True, slots=True)
class MembersAt:
    """Who was what in an organization at a moment.

    Attributes:
        roles: a user's wire id -> their role; nobody who was suspended.
        suspensions_since: as in `RoleAt`.
    """

    roles: Mapping[str, Role]
    suspensions_since: datetime | None


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a membership did not change.

    Attributes:
        mem_id: the membership's wire id.
        usr_id: its user's wire id.
        role: its role.
        status: whether it was active or suspended.
        since: when that began.
        until: when it ended; ``None`` if it has not.
        recorded: whether the log was there all the time; if not, it may hide a suspension.
    """

    mem_id: str
    usr_id: str
    role: Role
    status: Status
    since: datetime
    until: datetime | None
    recorded: bool


class History(OnSession):
    """What organizations were in the past."""

    def members_at(self, org_id: str, at: datetime) -> MembersAt:
        """Return who was what in an organization at a moment, active or not itself.

        Args:
            org_id: the organization's wire id (``org_…``).
            at: the moment, a timezone-aware datetime.

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            PreconditionError: ``moment_format``; ``at`` is no timezone-aware datetime.
            NotFoundError: there is no such organization.
        """
        given = self._known(org_id) | {"at": moment(at, "at")}
        roles: dict[str, Role] = dict(self._ask(_members_at(), given).all())
        return MembersAt(roles, self._suspensions_since())

    def role_at(self, org_id: str, usr_id: str, at: datetime) -> RoleAt:
        """Return what a user was in an organization at a moment.

        Args:
            org_id: the organization's wire id (``org_…``).
            usr_id: the user's wire id (``usr_…``).
            at: the moment, a timezone-aware datetime.

        Raises:
            InvalidIdError: an id is no wire id of its type.
            PreconditionError: ``moment_format``; ``at`` is no timezone-aware datetime.
            NotFoundError: there is no such organization.
        """
        given = self._known(org_id) | {"at": moment(at, "at")}
        given["usr"] = require(usr_id, "usr", "usr_id")
        role = self._ask(_members_at(of_user=True), given).scalars(1).first()
        return RoleAt(role, self._suspensions_since())

    def timeline(self, org_id: str, *, usr_id: str | None = None) -> Iterator[Span]:
        """Return an iterator over the times of an organization's memberships, oldest first.

        It holds no more than a thousand of them.

        Args:
            org_id: the organization's wire id (``org_…``).
            usr_id: only those of the user of this wire id (``usr_…``).

        Raises:
            InvalidIdError: an id is no wire id of its type.
            NotFoundError: there is no such organization.
        """
        given = self._known(org_id)
        if usr_id is not None:
            given["usr"] = require(usr_id, "usr", "usr_id")
        query = _timeline(of_user=usr_id is not None)
        return (Span(*row) for row in self._ask(query, given, yield_per=STREAMED))

    def _known(self, org_id: str) -> dict[str, Any]:
        require(org_id, "org", "org_id")
        if self._ask(select(_org.c.id).where(_org.c.id == org_id)).first() is None:
            raise not_found(Organization, org_id, "org_id")
        return {"org": org_id, "scope": org_id}

    def _suspensions_since(self) -> datetime | None:
        since: datetime | None = self._ask(select(_SINCE)).scalar()
        return since


_org, _mem = map(table_of, (Organization, Membership))
_aud: Final = typing.cast("Table", AuditEvent.__table__)

_SUSPENDED: Final = "tenancy.member_suspended"
_REINSTATED: Final = "tenancy.member_reinstated"
_TURNS: Final = (_SUSPENDED, _REINSTATED, "tenancy.member_left", "tenancy.member_removed")

# The ids of events begin with the time of the server.
_SINCE: Final = select(_aud.c.recorded_at).order_by(_aud.c.id).limit(1).scalar_subquery()
"""Since when the log is there: from then on no suspension is missing in it."""


@cache
def _members_at(*, of_user: bool = False) -> Select[Any]:
    """Return the query for who was active in the organization ``:org`` ``:at`` a moment."""
    span = _spans(of_user=of_user, at=bindparam("at", type_=_mem.c.created_at.type))
    at = bindparam("at", type_=_mem.c.created_at.type)
    return select(span.c.usr_id, span.c.role).where(
        span.c.since <= at,
        or_(span.c.until.is_(None), span.c.until > at),
        span.c.status == word(Status.ACTIVE),
    )


@cache
def _timeline(*, of_user: bool) -> Select[Any]:
    """Return the query for the spans of the organization ``:org``, maybe of one ``:usr`` only."""
    span = _spans(of_user=of_user)
    recorded = func.coalesce(span.c.since >= _SINCE, False)
    columns = (span.c[name] for name in ("id", "usr_id", "role", "status", "since", "until"))
    return select(*columns, recorded).order_by(span.c.since, span.c.id)


def _spans(*, of_user: bool, at: ColumnElement[datetime] | None = None) -> CTE:
    """Return the spans of memberships in ``:org``: those there ``:at`` a moment, if one is named.

    A membership begins active. If what is known of it first is that it was suspended before, it has
    been so since the log is there; and if the log tells nothing of it, as its row says.
    """
    tenure = _tenures(of_user=of_user, at=at)
    turn = _turns(tenure)
    first = select(turn.c.id, turn.c.at, turn.c.was).where(turn.c.place == 1).cte("first")
    no_later = func.least(_SINCE, func.coalesce(first.c.at, tenure.c.updated_at))
    state = union_all(
        select(
            tenure.c.id, tenure.c.since.label("at"), literal_column("0").label("place"), _ACTIVE
        ),
        select(tenure.c.id, func.greatest(tenure.c.since, no_later), literal_column("1"), _PAUSED)
        .outerjoin_from(tenure, first, first.c.id == tenure.c.id)
        .where(func.coalesce(first.c.was, tenure.c.status) == word(Status.SUSPENDED)),
        select(turn.c.id, turn.c.at, turn.c.place + 1, turn.c.status).where(
            turn.c.status != word(Status.REVOKED)
        ),
    ).cte("state")
    following = func.lead(state.c.at).over(
        partition_by=state.c.id, order_by=(state.c.at, state.c.place)
    )
    then = select(state.c.id, state.c.at, state.c.status, following.label("next")).cte("then")
    until = func.least(then.c.next, tenure.c.until, type_=_mem.c.created_at.type)
    return (
        select(
            *(tenure.c.id, tenure.c.usr_id, tenure.c.role),
            type_coerce(then.c.status, _mem.c.status.type).label("status"),
            type_coerce(then.c.at, _mem.c.created_at.type).label("since"),
            until.label("until"),
        )
        .join_from(then, tenure, tenure.c.id == then.c.id)
        .where(or_(until.is_(None), then.c.at < until))
        .cte("span")
    )


def _tenures(*, of_user: bool, at: ColumnElement[datetime] | None) -> CTE:
    """Return the memberships with when each began, and when it ended or was replaced."""
    successor = _mem.alias("successor")
    ended = func.coalesce(successor.c.created_at, _mem.c.updated_at)
    gone = _mem.c.status == word(Status.REVOKED)
    query = (
        select(
            *(_mem.c.id, _mem.c.usr_id, _mem.c.role, _mem.c.status, _mem.c.updated_at),
            _mem.c.created_at.label("since"),
            case((gone, ended)).label("until"),
        )
        .outerjoin_from(_mem, successor, successor.c.replaces == _mem.c.id)
        .where(_mem.c.org_id == _ORG)
    )
    if of_user:
        query = query.where(_mem.c.usr_id == bindparam("usr", type_=_mem.c.usr_id.type))
    if at is not None:
        query = query.where(_mem.c.created_at <= at, or_(~gone, ended > at))
    return query.cte("tenure")


def _turns(tenure: CTE) -> CTE:
    """Return when memberships were suspended, reinstated and ended, as far as the log tells."""
    wire_id = literal_column("'mem_'").concat(func.replace(cast(tenure.c.id, Text), "-", ""))
    became = case(
        {_SUSPENDED: word(Status.SUSPENDED), _REINSTATED: word(Status.ACTIVE)},
        value=_aud.c.action,
        else_=word(Status.REVOKED),
    )
    was = _aud.c.metadata["was"].astext
    place = func.row_number().over(
        partition_by=tenure.c.id, order_by=(_aud.c.occurred_at, _aud.c.pos)
    )
    return (
        select(
            *(tenure.c.id, _aud.c.occurred_at.label("at"), place.label("place")),
            *(became.label("status"), was.label("was")),
        )
        .join_from(_aud, tenure, _aud.c.target_id == wire_id)
        .where(
            _aud.c.scope_id == bindparam("scope", type_=Text()),
            _aud.c.action.in_(map(word, _TURNS)),
        )
        .cte("turn")
    )


_ORG: Final = bindparam("org", type_=_mem.c.org_id.type)
_ACTIVE: Final = word(Status.ACTIVE).label("status")
_PAUSED: Final = word(Status.SUSPENDED)
