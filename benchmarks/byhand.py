"""The operations as an engineer would write them by hand: SQLAlchemy's ORM and plain flushes.

Our models are no more than tables here. The locks are those of our protocol (the organization,
then memberships, then invitations); the rules stand where they are needed.
"""
# ruff: noqa: D102 - the operations are those of the repository

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, and_, delete, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, contains_eager

from flametrench_tenancy_sqlalchemy import CreateOrgResult, new_id
from flametrench_tenancy_sqlalchemy.models import Invitation, Membership, Organization, Tuple
from flametrench_tenancy_sqlalchemy.values import InvitationStatus, PreTuple, Role, Status

T = TypeVar("T")
Unit = Callable[[], AbstractContextManager[Session]]

_RANKS: Final = {Role.OWNER: 4, Role.ADMIN: 3, Role.MEMBER: 2, Role.GUEST: 1}
_EXCLUSIVE: Final[dict[str, Any]] = {"key_share": True}  # FOR NO KEY UPDATE
_SHARED: Final[dict[str, Any]] = {"read": True}
_FORESEEN: Final = (
    "org_slug_unique",
    "mem_unique_active",
    "tup_subject_type_subject_id_relation_object_type_object_id_key",
    *("mem_usr_id_fkey", "mem_invited_by_fkey", "inv_invited_by_fkey", "inv_terminal_by_fkey"),
)


class RefusedError(Exception):
    """A rule or a constraint does not allow the operation."""


class ByHand:
    """The operations that write, each in a unit of its own."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(Operations, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                with self._unit() as session:
                    return operation(Operations(session), *args, **kwargs)
            except IntegrityError as exc:
                constraint = exc.orig.diag.constraint_name  # type: ignore[union-attr]  # psycopg's
                if constraint not in _FORESEEN:
                    raise
                raise RefusedError(constraint) from exc

        return call


@dataclass
class Operations:
    """The operations, in a unit that somebody else ends."""

    session: Session
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def create_org(self, creator: str, *, name: str, slug: str) -> CreateOrgResult:
        _require(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", slug), "slug format")
        _require("\0" not in name, "name format")
        org = Organization(
            id=new_id("org"), name=name, slug=slug, status=Status.ACTIVE,
            created_at=self.at, updated_at=self.at,
        )  # fmt: skip
        self.session.add(org)
        return CreateOrgResult(org, self._join(org.id, creator, Role.OWNER, None))

    def update_org(self, org_id: str, *, name: str) -> Organization:
        org = self._org(org_id, _EXCLUSIVE, Status.ACTIVE, Status.SUSPENDED)
        _require("\0" not in name, "name format")
        org.name, org.updated_at = name, self.at
        return org

    def suspend_org(self, org_id: str) -> Organization:
        org = self._org(org_id, _EXCLUSIVE, Status.ACTIVE)
        org.status, org.updated_at = Status.SUSPENDED, self.at
        return org

    def reinstate_org(self, org_id: str) -> Organization:
        org = self._org(org_id, _EXCLUSIVE, Status.SUSPENDED)
        org.status, org.updated_at = Status.ACTIVE, self.at
        return org

    def revoke_org(self, org_id: str) -> Organization:
        org = self._org(org_id, _EXCLUSIVE, Status.ACTIVE, Status.SUSPENDED)
        self.session.execute(
            update(Membership)
            .where(Membership.org_id == org_id, Membership.status != Status.REVOKED)
            .values(status=Status.REVOKED, removed_by=None, updated_at=self.at)
        )
        self.session.execute(
            update(Invitation)
            .where(Invitation.org_id == org_id, Invitation.status == InvitationStatus.PENDING)
            .values(status=InvitationStatus.REVOKED, terminal_at=self.at, terminal_by=None)
        )
        here = and_(Tuple.object_type == "org", Tuple.object_id == org_id)
        self.session.execute(delete(Tuple).where(here))
        org.status, org.updated_at = Status.REVOKED, self.at
        return org

    def add_member(
        self, org_id: str, usr_id: str, role: Role, *, invited_by: str | None = None
    ) -> Membership:
        self._org(org_id, _SHARED, Status.ACTIVE)
        return self._join(org_id, usr_id, role, invited_by)

    def change_role(self, mem_id: str, role: Role) -> Membership:
        member = self._member(mem_id, Status.ACTIVE)
        if member.role is role:
            return member
        _require(self._others_own(member), "sole owner")
        return self._succeed({member: role})[0]

    def suspend_membership(self, mem_id: str) -> Membership:
        member = self._member(mem_id, Status.ACTIVE)
        _require(self._others_own(member), "sole owner")
        return self._end(member, Status.SUSPENDED)

    def reinstate_membership(self, mem_id: str) -> Membership:
        member = self._member(mem_id, Status.SUSPENDED)
        _require(member.organization.status is Status.ACTIVE, "organization not active")
        member.status, member.updated_at = Status.ACTIVE, self.at
        self.session.add(self._own_tuple(member))
        return member

    def self_leave(self, mem_id: str, *, transfer_to: str | None = None) -> Membership:
        member = self._member(mem_id, Status.ACTIVE)
        if not self._others_own(member):
            _require(transfer_to, "sole owner")
            _require(transfer_to != member.usr_id, "self transfer")
            self._succeed({self._active(member.org_id, transfer_to): Role.OWNER})
        return self._end(member, Status.REVOKED)

    def admin_remove(self, mem_id: str, admin_usr_id: str) -> Membership:
        member = self._member(mem_id, Status.ACTIVE, Status.SUSPENDED)
        admin = self._administrator(member.org_id, admin_usr_id)
        _require(member.role is not Role.OWNER, "role hierarchy")
        _require(member.role in _RANKS, "scope mismatch")
        _require(_RANKS[admin.role] >= _RANKS[member.role], "role hierarchy")
        self._end(member, Status.REVOKED).removed_by = admin_usr_id
        return member

    def transfer_ownership(
        self, org_id: str, from_mem_id: str, to_mem_id: str
    ) -> Sequence[Membership]:
        locked = _locked([from_mem_id, to_mem_id]).execution_options(populate_existing=True)
        by_id: dict[str, Membership] = {row.id: row for row in self.session.scalars(locked)}
        donor, target = _found(by_id.get(from_mem_id)), _found(by_id.get(to_mem_id))
        _require(donor.status is target.status is Status.ACTIVE, "membership not active")
        _require(donor.org_id == target.org_id == org_id, "organization mismatch")
        _require(donor.role is Role.OWNER, "donor no owner")
        _require(donor.usr_id != target.usr_id, "self transfer")
        if target.role is Role.OWNER:
            return [*self._succeed({donor: Role.MEMBER}), target]
        return self._succeed({donor: Role.MEMBER, target: Role.OWNER})

    def create_invitation(
        self, org_id: str, identifier: str, role: Role, invited_by: str, expires_at: datetime,
        *, pre_tuples: Sequence[PreTuple] = (),
    ) -> Invitation:  # fmt: skip
        self._org(org_id, _SHARED, Status.ACTIVE)
        _require(identifier and "\0" not in identifier, "identifier format")
        _require(expires_at.tzinfo and expires_at > self.at, "expiration")
        for grant in pre_tuples:
            _require(re.fullmatch("[a-z_]{2,32}", grant.relation), "relation format")
            _require(re.fullmatch("[a-z]{2,6}", grant.object_type), "type format")
            _require(grant.object_type not in ("org", "usr", "mem", "inv", "tup"), "our own object")
        invitation = Invitation(
            id=new_id("inv"), org_id=org_id, identifier=identifier, role=role,
            status=InvitationStatus.PENDING, pre_tuples=list(pre_tuples), invited_by=invited_by,
            created_at=self.at, expires_at=expires_at,
        )  # fmt: skip
        self.session.add(invitation)
        return invitation

    def accept_invitation(
        self, inv_id: str, *, as_usr_id: str, accepting_identifier: str
    ) -> tuple[Invitation, Membership, Sequence[Tuple]]:
        there = select(Organization).join(Invitation).where(Invitation.id == inv_id)
        org = self._one(Organization, there.with_for_update(of=Organization, **_SHARED))
        theirs = and_(Membership.org_id == org.id, Membership.usr_id == as_usr_id)
        present = select(Membership.status).where(theirs, Membership.status != Status.REVOKED)
        statuses = self.session.scalars(present).all()
        invitation = self._pending(inv_id)
        _require(accepting_identifier == invitation.identifier, "identifier mismatch")
        _require(org.status is Status.ACTIVE, "organization not active")
        _require(not statuses, "member already, or suspended")
        inviter = invitation.invited_by
        grants = [self._tuple(as_usr_id, each, inviter) for each in set(invitation.pre_tuples)]
        if grants:
            held = select(Tuple).where(Tuple.subject_type == "usr", Tuple.subject_id == as_usr_id)
            key = tuple_(Tuple.relation, Tuple.object_type, Tuple.object_uuid)
            held = held.where(key.in_([new.key[1:] for new in grants]))
            old = {each.key: each for each in self.session.scalars(held)}
            grants = [old.get(new.key, new) for new in grants]
        member = self._join(org.id, as_usr_id, invitation.role, inviter)
        self.session.add_all(grants)
        invitation.invited_user_id = as_usr_id
        return self._answer(invitation, InvitationStatus.ACCEPTED, as_usr_id), member, grants

    def decline_invitation(self, inv_id: str, *, as_usr_id: str) -> Invitation:
        return self._answer(self._pending(inv_id), InvitationStatus.DECLINED, as_usr_id)

    def revoke_invitation(self, inv_id: str, admin_usr_id: str) -> Invitation:
        self._administrator(_found(self.session.get(Invitation, inv_id)).org_id, admin_usr_id)
        return self._answer(self._pending(inv_id), InvitationStatus.REVOKED, admin_usr_id)

    def _one(self, _: type[T], query: Select[Any]) -> T:
        fresh = query.execution_options(populate_existing=True)
        entity: T = _found(self.session.scalars(fresh).one_or_none())
        return entity

    def _org(self, org_id: str, lock: dict[str, Any], *statuses: Status) -> Organization:
        query = select(Organization).where(Organization.id == org_id).with_for_update(**lock)
        org = self._one(Organization, query)
        _require(org.status in statuses, f"organization {org.status}")
        return org

    def _member(self, mem_id: str, *statuses: Status) -> Membership:
        member = self._one(Membership, _locked([mem_id]))
        _require(member.status in statuses, f"membership {member.status}")
        return member

    def _active(self, org_id: str, usr_id: str | None) -> Membership:
        query = select(Membership).where(_is_active(org_id, usr_id))
        return self._one(Membership, query.with_for_update(**_EXCLUSIVE))

    def _administrator(self, org_id: str, usr_id: str) -> Membership:
        admin = self._active(org_id, usr_id)
        _require(admin.role in (Role.OWNER, Role.ADMIN), "forbidden")
        return admin

    def _others_own(self, member: Membership) -> bool:
        """Tell whether the organization keeps an owner without this member, and lock the others."""
        if member.role is not Role.OWNER:
            return True
        others = and_(Membership.role == Role.OWNER, Membership.id != member.id)
        active = and_(Membership.org_id == member.org_id, Membership.status == Status.ACTIVE)
        query = select(Membership.id).where(active, others).order_by(Membership.id)
        return bool(self.session.scalars(query.with_for_update(**_EXCLUSIVE)).all())

    def _pending(self, inv_id: str) -> Invitation:
        query = select(Invitation).where(Invitation.id == inv_id)
        invitation = self._one(Invitation, query.with_for_update(**_EXCLUSIVE))
        _require(invitation.status is InvitationStatus.PENDING, "invitation not pending")
        _require(self.at <= invitation.expires_at, "invitation expired")
        return invitation

    def _answer(self, invitation: Invitation, status: InvitationStatus, usr_id: str) -> Invitation:
        invitation.status, invitation.terminal_at, invitation.terminal_by = status, self.at, usr_id
        return invitation

    def _join(self, org_id: str, usr_id: str, role: Role, invited_by: str | None) -> Membership:
        member = Membership(
            id=new_id("mem"), org_id=org_id, usr_id=usr_id, role=role, status=Status.ACTIVE,
            invited_by=invited_by, created_at=self.at, updated_at=self.at,
        )  # fmt: skip
        self.session.add_all([member, self._own_tuple(member)])
        return member

    def _succeed(self, roles: dict[Membership, Role]) -> Sequence[Membership]:
        self._withdraw(*roles)
        successors = []
        for old, role in roles.items():
            old.status, old.updated_at = Status.REVOKED, self.at
            new = self._join(old.org_id, old.usr_id, role, old.invited_by)
            new.replaces = old.id
            new.created_at = max(self.at, old.created_at + timedelta(microseconds=1))
            successors.append(new)
        return successors

    def _end(self, member: Membership, status: Status) -> Membership:
        self._withdraw(member)
        member.status, member.updated_at = status, self.at
        return member

    def _withdraw(self, *members: Membership) -> None:
        key = tuple_(Tuple.subject_uuid, Tuple.relation, Tuple.object_type, Tuple.object_uuid)
        own = key.in_([self._own_tuple(member).key for member in members])
        self.session.execute(delete(Tuple).where(Tuple.subject_type == "usr", own))

    def _own_tuple(self, member: Membership) -> Tuple:
        grant = PreTuple(member.role.value, "org", member.org_id)
        return self._tuple(member.usr_id, grant, member.invited_by)

    def _tuple(self, usr_id: str, grant: PreTuple, created_by: str | None) -> Tuple:
        return Tuple(
            id=new_id("tup"), subject_type="usr", subject_id=usr_id, relation=grant.relation,
            object_type=grant.object_type, object_id=grant.object_id, created_by=created_by,
            created_at=self.at,
        )  # fmt: skip


def _locked(mem_ids: list[str]) -> Select[Any]:
    """Return a query that locks organizations, then memberships, and reads both."""
    query = select(Membership).join(Membership.organization).where(Membership.id.in_(mem_ids))
    query = query.options(contains_eager(Membership.organization)).order_by(Membership.id)
    return query.with_for_update(of=[Organization, Membership], **_EXCLUSIVE)


def _is_active(org_id: str, usr_id: str | None) -> ColumnElement[bool]:
    theirs = and_(Membership.org_id == org_id, Membership.usr_id == usr_id)
    return and_(theirs, Membership.status == Status.ACTIVE)


def _require(holds: object, reason: str) -> None:
    if not holds:
        raise RefusedError(reason)


def _found(entity: T | None) -> T:
    if entity is None:
        raise RefusedError("not found")
    return entity
