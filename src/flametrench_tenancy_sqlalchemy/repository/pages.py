"""Pages of lists, read from an index in its own order, whatever the planner believes.

``WHERE org_id = :org AND id > :cursor ORDER BY id`` leaves it a choice: to walk the primary key,
passing over the rows of others, or to sort all of an organization. Where its statistics mislead it,
or a prepared plan knows nothing of the values, it chooses wrong, and a page costs a whole table.
Rows compared with rows, in an order that only one index has, leave no choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid, literal, select, tuple_, union_all
from sqlalchemy.orm import InstrumentedAttribute, aliased

from ..ids import decode
from ..models import Invitation, Membership, Organization
from ..values import InvitationStatus, Status

Entity: TypeAlias = type[Organization] | type[Membership] | type[Invitation]

_BEFORE_ALL: Final = UUID(int=0)


@dataclass(frozen=True)
class Stretch:
    """Rows that lie side by side in an index, ascending by id."""

    prefix: Mapping[InstrumentedAttribute[Any], Any] = field(default_factory=dict)
    """The index's columns before the id, in its order, with the values wanted."""
    where: ColumnElement[bool] | None = None
    """A further condition."""
    nulls_first: bool = False
    """Whether its first column is ordered so: no other index that begins with it is."""


@dataclass(frozen=True)
class Window:
    """Which rows of a list are wanted: so many after a cursor, and one that tells of more."""

    entity: Entity
    cursor: str | None
    limit: int

    def over(self, statement: Select[Any], stretches: list[Stretch]) -> Select[Any]:
        """Narrow a query for the entity to the window over one stretch, or several merged."""
        if len(stretches) == 1:
            return self._within(statement, stretches[0])
        parts = [self._within(statement, stretch).subquery() for stretch in stretches]
        merged = aliased(self.entity, union_all(*map(select, parts)).subquery())
        return select(merged).order_by(merged.id).limit(self.limit + 1)

    def _within(self, statement: Select[Any], stretch: Stretch) -> Select[Any]:
        id_ = self.entity.id
        # A table is named after its type of id.
        type_ = self.entity.__tablename__
        uuid = _BEFORE_ALL if self.cursor is None else decode(self.cursor, type_, "cursor")
        after = literal(uuid, Uuid())
        if not stretch.prefix:
            return statement.where(id_ > after).order_by(id_).limit(self.limit + 1)
        *outer, last = stretch.prefix
        value = literal(stretch.prefix[last], last.type)
        statement = statement.where(
            # Named twice, since one value would be a constant, by which there is no order.
            *(column.in_([stretch.prefix[column]] * 2) for column in outer),
            # "Greater" would look like few rows, or none, where the value is the greatest.
            tuple_(last, id_) >= tuple_(value, after),
            last <= value,
            id_ != after,
        )
        if stretch.where is not None:
            statement = statement.where(stretch.where)
        first, *others = stretch.prefix
        order = first.nulls_first() if stretch.nulls_first else first
        return statement.order_by(order, *others, id_).limit(self.limit + 1)


def memberships_in(
    of: Mapping[InstrumentedAttribute[Any], str], status: Status | str | None
) -> Stretch:
    """Return where the memberships of an organization or user lie, or those in one status."""
    if status is None:
        return Stretch(of, nulls_first=True)
    in_status = {Membership.status: Status.parse(status, "status"), **of}
    return Stretch(in_status, nulls_first=Membership.usr_id in of)


def invitations_in(org_id: str, status: InvitationStatus | None, now: datetime) -> list[Stretch]:
    """Return where an organization's invitations lie, or those in one status at a time."""

    def stored_as(stored: InvitationStatus, where: ColumnElement[bool] | None = None) -> Stretch:
        return Stretch({Invitation.status: stored, Invitation.org_id: org_id}, where)

    # Written into the statement, for a plan that knows the organization: one made once and for all
    # would expect a third of an average one, and might rather sort all of it.
    at = literal(now, Invitation.expires_at.type, literal_execute=True)
    match status:
        case None:
            return [Stretch({Invitation.org_id: org_id}, nulls_first=True)]
        case InvitationStatus.PENDING:
            return [stored_as(status, Invitation.expires_at >= at)]
        case InvitationStatus.EXPIRED:
            overdue = Invitation.expires_at < at
            return [stored_as(status), stored_as(InvitationStatus.PENDING, overdue)]
    return [stored_as(status)]
