"""The reads behind `locks`, each a query of tables that locks the rows which it returns.

Built once: on every call, they would take longer than the server does.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Select, Subquery, Table, bindparam, or_, select, true
from sqlalchemy.orm import aliased, contains_eager
from sqlalchemy.sql.selectable import NamedFromClause

from .._sql import deciding, table_of, word
from ..models import Invitation, Membership, Organization, User
from ..values import Role, Status

Mem: TypeAlias = Table | NamedFromClause
"""The table of memberships, or an alias of it."""

_org, _mem, _inv, _usr = map(table_of, (Organization, Membership, Invitation, User))
_SOUGHT_ORG: Final = bindparam("sought", type_=_org.c.id.type)
_SOUGHT_MEM: Final = bindparam("sought", type_=_mem.c.id.type)
_SOUGHT_INV: Final = bindparam("sought", type_=_inv.c.id.type)
_WHOSE: Final = bindparam("whose", type_=_usr.c.id.type)


def to_change(query: Select[Any], *tables: Table) -> Select[Any]:
    """Return the query that locks rows ``FOR NO KEY UPDATE``, in the order of the tables.

    Those who merely refer to them need not wait.
    """
    return query.with_for_update(key_share=True, of=tables)


def side_by_side(query: Select[Any], *tables: Table) -> Select[Any]:
    """Return the query that locks rows ``FOR SHARE``: others may do the same."""
    return query.with_for_update(read=True, of=tables)


def is_active(mem: Mem) -> ColumnElement[bool]:
    """Return the condition that a membership is active."""
    return mem.c.status == word(Status.ACTIVE)


def is_owner(mem: Mem) -> ColumnElement[bool]:
    """Return the condition that a membership is an owner's."""
    return mem.c.role == word(Role.OWNER)


# Organizations.

_ONE_ORG: Final = select(_org).where(_org.c.id == _SOUGHT_ORG)
ORG: Final = deciding(to_change(_ONE_ORG, _org), Organization)
HOLDER: Final = select(_org.c.id).where(
    _org.c.slug == bindparam("wanted"), _org.c.id != _SOUGHT_ORG
)
ORG_TO_JOIN: Final = deciding(side_by_side(_ONE_ORG, _org), Organization)


# Memberships, behind their organizations.


def _behind_org(query: Select[Any]) -> Any:
    query = query.add_columns(_org).join(_org, _org.c.id == _mem.c.org_id)
    organization = contains_eager(Membership.organization)
    return deciding(to_change(query, _org, _mem), Membership, options=[organization])


MEMBERSHIP: Final = _behind_org(select(_mem).where(_mem.c.id == _SOUGHT_MEM))
TWO_MEMBERSHIPS: Final = _behind_org(
    select(_mem)
    .where(_mem.c.id.in_([_SOUGHT_MEM, bindparam("other", type_=_mem.c.id.type)]))
    .order_by(_mem.c.org_id, _mem.c.id)
)
_its, _another = _mem.alias("its"), _mem.alias("another")
# A scalar subquery: the rows of any other would be asked for again after waiting for a lock.
_ANOTHER_ID: Final = (
    select(_another.c.id)
    .join(_its, _its.c.org_id == _another.c.org_id)
    .where(_its.c.id == _SOUGHT_MEM, _another.c.usr_id == _WHOSE, is_active(_another))
    .scalar_subquery()
)
MEMBERSHIP_AND_ANOTHER: Final = _behind_org(
    select(_mem).where(_mem.c.id.in_([_SOUGHT_MEM, _ANOTHER_ID])).order_by(_mem.c.id)
)


# Memberships, once their organization is locked.

_THERE: Final = select(_mem).where(_mem.c.org_id == bindparam("there", type_=_org.c.id.type))
_USERS: Final = _mem.c.usr_id == _WHOSE
_OTHERS: Final = _THERE.where(_mem.c.id != _SOUGHT_MEM, is_active(_mem)).order_by(_mem.c.id)
ADMINISTRATOR: Final = deciding(
    side_by_side(_THERE.where(_USERS, is_active(_mem)), _mem), Membership
)
OTHER_OWNER: Final = deciding(to_change(_OTHERS.where(is_owner(_mem)).limit(1), _mem), Membership)
OTHER_OWNERS_OR_USER: Final = deciding(
    to_change(_OTHERS.where(or_(is_owner(_mem), _USERS)), _mem), Membership
)
PRESENT: Final = deciding(_THERE.where(_USERS, _mem.c.status != word(Status.REVOKED)), Membership)


# Invitations. One and its organization need locks of different strengths, and a query has one; so
# the organization is locked in a subquery, which the database finishes first. Made when they are
# first needed: by then the application has added to the models what it wants to.


def _locked_org(name: str, *, alone: bool = False) -> Subquery:
    query = select(_org).join(_inv, _inv.c.org_id == _org.c.id).where(_inv.c.id == _SOUGHT_INV)
    return (to_change if alone else side_by_side)(query, _org).subquery(name)


def _behind_its_org(
    *beside: Any, alone: bool = False, outerjoin: Any = None, on: Any = None
) -> Any:
    its_org = _locked_org("locked_org", alone=alone)
    query = select(_inv, its_org).join(its_org, its_org.c.id == _inv.c.org_id)
    if outerjoin is not None:
        query = query.add_columns(outerjoin).outerjoin(outerjoin, on)
    query = to_change(query.where(_inv.c.id == _SOUGHT_INV), _inv)
    organization = contains_eager(Invitation.organization.of_type(aliased(Organization, its_org)))
    return deciding(query, Invitation, *beside, options=[organization])


@cache
def invitation(alone: bool) -> Any:
    """Return the read of an invitation; others are locked out of its organization, or not."""
    return _behind_its_org(alone=alone)


@cache
def invitation_and_user(alone: bool) -> Any:
    """Return the same with a user beside it, who is not locked."""
    return _behind_its_org(User, alone=alone, outerjoin=_usr, on=_usr.c.id == _WHOSE)


@cache
def invitation_and_administrator() -> Any:
    """Return the same with the membership by which a user acts on it, locked."""
    its_org = _locked_org("its_org")
    query = select(_mem).join(its_org, its_org.c.id == _mem.c.org_id).where(_USERS, is_active(_mem))
    locked = side_by_side(query, _mem).subquery("locked_mem")
    return _behind_its_org(aliased(Membership, locked), outerjoin=locked, on=true())
