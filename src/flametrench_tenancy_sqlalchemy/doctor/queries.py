"""Queries over whole tables for rows that should not be there: each returns their kind and id."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    CompoundSelect,
    Select,
    String,
    Table,
    Text,
    TextClause,
    Uuid,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    text,
    true,
    type_coerce,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute, aliased

from ..ids import UUID_PATTERN
from ..models import Base, Invitation, Membership, Organization
from ..models.columns import is_own
from ..models.pre_tuples import NO_OBJECTS, NOT_TO_GRANT
from ..models.tuple import RELATION_PATTERN, TYPE_PATTERN
from ..values import InvitationStatus, Role, Status
from .conditions import ACTIVE

Query: TypeAlias = Select[Any] | CompoundSelect[Any]

_TABLES: Final = tuple(Base.metadata.tables.values())
_CHECKS: Final = {
    str(constraint.name): constraint
    for table in _TABLES
    for constraint in table.constraints
    if isinstance(constraint, CheckConstraint)
}

_KEYS: Final = [key for table in _TABLES for key in table.foreign_keys if is_own(key.parent)]


def rows(entity: type[Base]) -> Select[Any]:
    """Return the query for all rows of an entity, to be narrowed down."""
    return _rows_of(Base.metadata.tables[entity.__tablename__])


def _rows_of(table: Table) -> Select[Any]:
    # A table is named after its type of id.
    kind = literal_column(f"'{table.name}'", String).label("kind")
    return select(kind, type_coerce(table.c.id, Uuid).label("id")).select_from(table)


def refused_by(*names: str) -> Query:
    """Return the query for rows that checks of the schema refuse, where they are in force."""
    refusals: dict[Table, list[TextClause]] = {}
    for name in names:
        check = _CHECKS[name]
        refusals.setdefault(check.table, []).append(text(f"NOT ({check.sqltext})"))
    return union_all(*(_rows_of(table).where(or_(*wrong)) for table, wrong in refusals.items()))


def dangling() -> Query:
    """Return the query for rows that refer to a row that is not there."""
    queries = []
    for key in sorted(_KEYS, key=str):
        target = key.column.table.alias()
        known = exists(select(target.c.id).where(target.c.id == key.parent))
        queries.append(_rows_of(key.parent.table).where(key.parent.is_not(None), ~known))
    return union(*queries)


def sharing(
    entity: type[Base],
    *columns: InstrumentedAttribute[Any],
    where: ColumnElement[bool] | None = None,
) -> Query:
    """Return the query for rows that have the same values as another one in some columns.

    Args:
        entity: whose rows.
        columns: the columns.
        where: the rows among which that must not be.
    """
    condition = true() if where is None else where
    shared = select(*columns).where(condition).group_by(*columns).having(func.count() > 1)
    groups = shared.subquery()
    same = and_(*(mine == theirs for mine, theirs in zip(columns, groups.c, strict=True)))
    return rows(entity).join(groups, same).where(condition)


def successors(wrong: ColumnElement[bool]) -> Query:
    """Return the query for memberships that do not follow well upon the one they replace.

    Args:
        wrong: what is wrong with a `Membership` and its `PREDECESSOR`.
    """
    return rows(Membership).join(PREDECESSOR, PREDECESSOR.id == Membership.replaces).where(wrong)


PREDECESSOR: Final = aliased(Membership, name="predecessor")


def ownerless() -> Query:
    """Return the query for organizations with active members and no active owner."""
    members = select(Membership.id).where(Membership.org_id == Organization.id, ACTIVE)
    owners = members.where(Membership.role == Role.OWNER)
    return rows(Organization).where(exists(members), ~exists(owners))


def contradictory() -> Query:
    """Return the query for rows whose status does not go with who ended them, and when."""
    return union_all(
        rows(Invitation).where(
            or_(
                text(f"NOT ({_CHECKS['inv_check'].sqltext})"),
                and_(
                    Invitation.status.in_([InvitationStatus.PENDING, InvitationStatus.EXPIRED]),
                    Invitation.terminal_by.is_not(None),
                ),
                and_(
                    Invitation.status == InvitationStatus.ACCEPTED,
                    or_(Invitation.terminal_by.is_(None), Invitation.invited_user_id.is_(None)),
                ),
            )
        ),
        rows(Membership).where(
            Membership.status != Status.REVOKED, Membership.removed_by.is_not(None)
        ),
    )


# What is no array is taken for an array's only item, as reading an invitation does.
_PRE_TUPLES: Final = type_coerce(Invitation.pre_tuples, JSONB)
_GRANT: Final = func.jsonb_array_elements(
    case(
        (func.jsonb_typeof(_PRE_TUPLES) == "array", _PRE_TUPLES),
        else_=func.jsonb_build_array(_PRE_TUPLES),
    ),
    type_=JSONB,
).column_valued("pre_tuple")


def _words(*spellings: str) -> ColumnElement[str]:
    """Return a pre-tuple's value under the first of some keys that is there, if it is a string."""
    value = func.coalesce(*(_GRANT[key] for key in spellings), type_=JSONB)
    return case((func.jsonb_typeof(value) == "string", value[()].astext), else_="")


_RELATION: Final = _words("relation")
_OBJECT_TYPE: Final = _words("object_type", "objectType")
_OBJECT_ID: Final = _words("object_id", "objectId")

_OBJECT_HEX: Final = func.right(func.replace(func.lower(_OBJECT_ID), "-", ""), 32)

MALFORMED: Final = not_(
    and_(
        _RELATION.regexp_match(RELATION_PATTERN),
        _OBJECT_TYPE.regexp_match(TYPE_PATTERN),
        or_(
            func.lower(_OBJECT_ID).regexp_match(UUID_PATTERN),
            _OBJECT_ID.regexp_match(func.concat("^(", _OBJECT_TYPE, "_)?[0-9a-f]{32}$")),
        ),
        _OBJECT_HEX.not_in([uuid.hex for uuid in NO_OBJECTS]),
    )
)
NOT_GRANTABLE: Final = or_(
    _OBJECT_TYPE.in_(NOT_TO_GRANT),
    and_(
        _OBJECT_TYPE == "org",
        or_(
            _RELATION.in_(list(Role)),
            func.replace(cast(Invitation.org_id, Text), "-", "") != _OBJECT_HEX,
        ),
    ),
)


def promising(wrong: ColumnElement[bool]) -> Query:
    """Return the query for pending invitations with a pre-tuple that has something wrong.

    Args:
        wrong: one of `MALFORMED` and `NOT_GRANTABLE`.
    """
    return rows(Invitation).where(
        Invitation.status == InvitationStatus.PENDING,
        _PRE_TUPLES.is_distinct_from(literal([], JSONB)),
        exists(select(_GRANT).where(wrong)),
    )
