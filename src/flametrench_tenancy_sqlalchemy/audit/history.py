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
    ARRAY,
    CTE,
    ColumnElement,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    null,
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
        with self._seeing(org_id):
            given = self._known(org_id) | {"at": moment(at, "at")}
            by_role = self._ask(_members_by_role(), given)
            roles = {usr_id: role for role, usr_ids in by_role for usr_id in usr_ids}
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
        with self._seeing(org_id):
            given = self._known(org_id) | {"at": moment(at, "at")}
            given["usr"] = require(usr_id, "usr", "usr_id")
            role = self._ask(_members_at(of_user=True), given).scalars().first()
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
        query = _timeline(of_user=usr_id is not None)
        with self._seeing(org_id):
            given = self._known(org_id)
            if usr_id is not None:
                given["usr"] = require(usr_id, "usr", "usr_id")
            rows = self._ask(query, given, yield_per=STREAMED)
        return (Span(*row) for row in rows)

    def _known(self, org_id: str) -> dict[str, Any]:
        if self._ask(select(_org.c.id).where(_org.c.id == org_id)).first() is None:
            raise not_found(Organization, org_id, "org_id")
        return {"org": org_id, "scope": org_id}

    def _suspensions_since(self) -> datetime | None:
        since: datetime | None = self._ask(select(_SINCE)).scalar()
        return since


_org, _mem = map(table_of, (Organization, Membership))
_aud: Final = typing.cast("Table", AuditEvent.__table__)

_PAUSE: Final = "tenancy.member_suspended"
_TURNS: Final = (
    *(_PAUSE, "tenancy.member_reinstated"),
    *("tenancy.member_left", "tenancy.member_removed"),
)
_TIME: Final = _mem.c.created_at.type

_ORG: Final = bindparam("org", type_=_mem.c.org_id.type)
_SCOPE: Final = bindparam("scope", type_=_aud.c.scope_id.type)
_USR: Final = bindparam("usr", type_=_mem.c.usr_id.type)
_AT: Final = bindparam("at", type_=_TIME)
_ACTIVE: Final = type_coerce(word(Status.ACTIVE), _mem.c.status.type).label("status")
_SUSPENDED: Final = word(Status.SUSPENDED)

# The ids of events begin with the time of the server.
_SINCE: Final = select(_aud.c.recorded_at).order_by(_aud.c.id).limit(1).scalar_subquery()
"""Since when the log is there: from then on no suspension is missing in it."""


@cache
def _members_by_role() -> Select[Any]:
    """Return the query for who was active in ``:org`` ``:at`` a moment, by what they were.

    There may be many: arrays of wire ids are read in a third of the time that rows take.
    """
    was = _members_at(of_user=False).subquery("was")
    wire_id = literal_column("'usr_'", Text) + func.replace(cast(was.c.usr_id, Text), "-", "")
    return select(was.c.role, func.array_agg(wire_id, type_=ARRAY(Text))).group_by(was.c.role)


@cache
def _members_at(*, of_user: bool) -> Select[Any]:
    """Return the query for who was active in ``:org`` ``:at`` a moment, or what ``:usr`` was."""
    tenure, pause = _tenures(of_user=of_user), _pauses(of_user=of_user)
    paused = exists().where(pause.c.id == tenure.c.id, _covers(pause))
    return select(tenure.c.role, tenure.c.usr_id).where(_covers(tenure), ~paused)


def _covers(span: CTE) -> ColumnElement[bool]:
    return and_(span.c.since <= _AT, or_(span.c.until.is_(None), span.c.until > _AT))


@cache
def _timeline(*, of_user: bool) -> Select[Any]:
    """Return the query for the spans of memberships in ``:org``, or of those of ``:usr``.

    Every membership begins active, is suspended in its pauses, and active again behind each.
    """
    tenure, pause = _tenures(of_user=of_user), _pauses(of_user=of_user)
    begins = func.greatest(pause.c.since, tenure.c.since, type_=_TIME)
    its_own = and_(
        pause.c.id == tenure.c.id,
        or_(pause.c.until.is_(None), pause.c.until > tenure.c.since),
    )
    state = union_all(
        select(tenure, tenure.c.since.label("at"), literal_column("0").label("place"), _ACTIVE),
        select(tenure, begins, literal_column("1"), _SUSPENDED).join(pause, its_own),
        select(tenure, pause.c.until, literal_column("0"), _ACTIVE)
        .join(pause, its_own)
        .where(pause.c.until.is_not(None)),
    ).cte("state")
    following = func.lead(state.c.at).over(
        partition_by=state.c.id, order_by=(state.c.at, state.c.place)
    )
    until = func.least(following, state.c.until, type_=_TIME)
    span = select(
        *(state.c.id, state.c.usr_id, state.c.role, state.c.status),
        *(state.c.at.label("since"), until.label("until")),
    ).cte("span")
    recorded = func.coalesce(span.c.since >= _SINCE, False)
    return (
        select(span, recorded)
        .where(or_(span.c.until.is_(None), span.c.since < span.c.until))
        .order_by(span.c.since, span.c.id)
    )


def _tenures(*, of_user: bool) -> CTE:
    """Return the memberships with when each began, and when it ended or was replaced."""
    successor = _mem.alias("successor")
    ended = func.coalesce(successor.c.created_at, _mem.c.updated_at)
    query = (
        select(
            *(_mem.c.id, _mem.c.usr_id, _mem.c.role),
            _mem.c.created_at.label("since"),
            case((_mem.c.status == word(Status.REVOKED), ended)).label("until"),
        )
        .outerjoin_from(_mem, successor, successor.c.replaces == _mem.c.id)
        .where(_mem.c.org_id == _ORG)
    )
    return (query.where(_mem.c.usr_id == _USR) if of_user else query).cte("tenure")


def _pauses(*, of_user: bool) -> CTE:
    """Return when memberships were suspended.

    If what the log tells of one first is that it was suspended before, it has been so since the log
    is there; if the log tells nothing of one, its row may tell that it is. A pause that ends at the
    moment at which it begins is none.
    """
    turn = _turns(of_user=of_user)
    tells = exists().where(turn.c.id == _mem.c.id)
    return union_all(
        select(turn.c.id, turn.c.at.label("since"), turn.c.next.label("until")).where(
            turn.c.action == word(_PAUSE), or_(turn.c.next.is_(None), turn.c.next > turn.c.at)
        ),
        select(turn.c.id, _SINCE, turn.c.at).where(
            turn.c.place == 1, turn.c.was == _SUSPENDED, turn.c.at > _SINCE
        ),
        select(_mem.c.id, func.least(_SINCE, _mem.c.updated_at), null()).where(
            _mem.c.org_id == _ORG, _mem.c.status == _SUSPENDED, ~tells
        ),
    ).cte("pause")


def _turns(*, of_user: bool) -> CTE:
    """Return when memberships were suspended, reinstated and ended, as far as the log tells.

    They come in the order in which they happened, which the membership's lock makes that of
    ``pos``: clocks differ, and a transaction's may be older than what it has waited for. A moment
    that lies before the one that it follows counts as that one.
    """
    in_order: dict[str, Any] = {"partition_by": _aud.c.target_id, "order_by": _aud.c.pos}
    query = select(
        cast(func.right(_aud.c.target_id, 32), Uuid).label("id"),
        *(_aud.c.action, _aud.c.metadata["was"].astext.label("was")),
        func.max(_aud.c.occurred_at).over(**in_order).label("at"),
        func.row_number().over(**in_order).label("place"),
    ).where(_aud.c.scope_id == _SCOPE, _aud.c.action.in_(map(word, _TURNS)))
    if of_user:
        wire_id = literal_column("'mem_'", Text) + func.replace(cast(_mem.c.id, Text), "-", "")
        theirs = select(wire_id).where(_mem.c.org_id == _ORG, _mem.c.usr_id == _USR)
        query = query.where(_aud.c.target_id.in_(theirs))
    told = query.subquery("told")
    following = func.lead(told.c.at).over(partition_by=told.c.id, order_by=told.c.place)
    return select(told, following.label("next")).cte("turn")
