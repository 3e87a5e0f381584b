"""The reads behind `locks`, each a query of tables that locks the rows which it returns.

Built once: on every call, they would take longer than the server does.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import Alias, ColumnElement, Select, Subquery, Table, bindparam, or_, select, true
from sqlalchemy.orm import aliased, contains_eager

from .._sql import deciding, table_of, word
from ..models import Invitation, Membership, Organization, User
from ..values import Role, Status

TO_CHANGE: Final = {"key_share": True}
"""``FOR NO KEY UPDATE``: those who refer to the row need not wait."""

SIDE_BY_SIDE: Final = {"read": True}
"""``FOR SHARE``."""

_org, _mem, _inv, _usr = map(table_of, (Organization, Membership, Invitation, User))
_SOUGHT_ORG: Final = bindparam("sought", type_=_org.c.id.type)
_SOUGHT: Final = bindparam("sought", type_=_mem.c.id.type)
_SOUGHT_INV: Final = bindparam("sought", type_=_inv.c.id.type)
_THERE: Final = _mem.c.org_id == bindparam("there", type_=_org.c.id.type)
_WHOSE: Final = bindparam("whose", type_=_usr.c.id.type)


def is_active(mem: Table | Alias) -> ColumnElement[bool]:
    """Return the condition that a membership is active."""
    return mem.c.status == word(Status.ACTIVE)


def is_owner(mem: Table | Alias) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that it is an owner's, and active."""
    return mem.c.role == word(Role.OWNER), is_active(mem)


def _members(*where: ColumnElement[bool]) -> Select[Any]:
    return select(_mem).where(_THERE, *where)


def _behind_org(query: Select[Any]) -> Any:
    """Return the read of memberships that locks their organizations first."""
    query = query.add_columns(_org).join(_org, _org.c.id == _mem.c.org_id)
    locked = query.with_for_update(of=[_org, _mem], **TO_CHANGE)
    return deciding(locked, Membership, options=[contains_eager(Membership.organization)])


ORG: Final = deciding(
    select(_org).where(_org.c.id == _SOUGHT_ORG).with_for_update(**TO_CHANGE), Organization
)
ORG_TO_JOIN: Final = deciding(
    select(_org).where(_org.c.id == _SOUGHT_ORG).with_for_update(**SIDE_BY_SIDE), Organization
)
ORG_AND_HOLDER: Final = deciding(
    select(_org)
    .where(or_(_org.c.id == _SOUGHT_ORG, _org.c.slug == bindparam("wanted")))
    .order_by(_org.c.id)
    .with_for_update(**TO_CHANGE),
    Organization,
)

MEMBERSHIP: Final = _behind_org(select(_mem).where(_mem.c.id == _SOUGHT))
TWO_MEMBERSHIPS: Final = _behind_org(
    select(_mem)
    .where(_mem.c.id.in_([_SOUGHT, bindparam("other", type_=_mem.c.id.type)]))
    .order_by(_mem.c.org_id, _mem.c.id)
)
_its, _another = _mem.alias("its"), _mem.alias("another")
# A scalar subquery: the rows of any other would be asked for again after waiting for a lock.
MEMBERSHIP_AND_ANOTHER: Final = _behind_org(
    select(_mem)
    .where(
        _mem.c.id.in_(
            [
                _SOUGHT,
                select(_another.c.id)
                .join(_its, _its.c.org_id == _another.c.org_id)
                .where(_its.c.id == _SOUGHT, _another.c.usr_id == _WHOSE, is_active(_another))
                .scalar_subquery(),
            ]
        )
    )
    .order_by(_mem.c.id)
)

ADMINISTRATOR: Final = deciding(
    _members(_mem.c.usr_id == _WHOSE, is_active(_mem)).with_for_update(**SIDE_BY_SIDE),
    Membership,
)
OTHER_OWNER: Final = deciding(
    _members(_mem.c.id != _SOUGHT, *is_owner(_mem))
    .order_by(_mem.c.id)
    .limit(1)
    .with_for_update(**TO_CHANGE),
    Membership,
)
OTHER_OWNERS_OR_USER: Final = deciding(
    _members(
        _mem.c.id != _SOUGHT,
        is_active(_mem),
        or_(_mem.c.role == word(Role.OWNER), _mem.c.usr_id == _WHOSE),
    )
    .order_by(_mem.c.id)
    .with_for_update(**TO_CHANGE),
    Membership,
)
PRESENT: Final = deciding(
    _members(_mem.c.usr_id == _WHOSE, _mem.c.status != word(Status.REVOKED)), Membership
)

# An invitation and its organization need locks of different strengths, and a query has one; so the
# organization is locked in a subquery, which the database finishes first. Made when they are first
# needed: by then the application has added to the models what it wants to.


def _locked_org(name: str) -> Subquery:
    return (
        select(_org)
        .join(_inv, _inv.c.org_id == _org.c.id)
        .where(_inv.c.id == _SOUGHT_INV)
        .with_for_update(of=_org, **SIDE_BY_SIDE)
        .subquery(name)
    )


def _behind_its_org(*beside: Any, outerjoin: Any = None, on: Any = None) -> Any:
    """Return the read of an invitation, and of what is beside it, that locks its organization."""
    its_org = _locked_org("locked_org")
    query = select(_inv, its_org).join(its_org, its_org.c.id == _inv.c.org_id)
    if outerjoin is not None:
        query = query.add_columns(outerjoin).outerjoin(outerjoin, on)
    query = query.where(_inv.c.id == _SOUGHT_INV).with_for_update(of=_inv, **TO_CHANGE)
    org = contains_eager(Invitation.organization.of_type(aliased(Organization, its_org)))
    return deciding(query, Invitation, *beside, options=[org])


@cache
def invitation() -> Any:
    """Return the read of an invitation."""
    return _behind_its_org()


@cache
def invitation_and_user() -> Any:
    """Return the same with a user beside it, who is not locked."""
    return _behind_its_org(User, outerjoin=_usr, on=_usr.c.id == _WHOSE)


@cache
def invitation_and_administrator() -> Any:
    """Return the same with the membership by which a user acts on it, locked."""
    its_org = _locked_org("its_org")
    locked = (
        select(_mem)
        .join(its_org, its_org.c.id == _mem.c.org_id)
        .where(_mem.c.usr_id == _WHOSE, is_active(_mem))
        .with_for_update(of=_mem, **SIDE_BY_SIDE)
        .subquery("locked_mem")
    )
    return _behind_its_org(aliased(Membership, locked), outerjoin=locked, on=true())
