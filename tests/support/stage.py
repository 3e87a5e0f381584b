"""A stage for integration tests: people, organizations and a clock on one Session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    Membership,
    Organization,
    Policy,
    PreTuple,
    Role,
    Status,
    TenancyError,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.isolation import in_full
from tests.support.rows import rows, untruths
from tests.support.sql import Row, fact, snapshot

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
IDENTIFIER = "newbie@example.com"


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Stage:
    """Sets a scene with the operations themselves, at the clock's time."""

    def __init__(self, session: Session, now: datetime = NOW) -> None:
        self.session = session
        self.clock = Clock(now)
        self.tenancy = TenancyRepository(session, clock=self.clock)

    def at(self, time: datetime) -> TenancyRepository:
        """Return the repository at another time."""
        return TenancyRepository(self.session, clock=lambda: time)

    def by(self, policy: Policy) -> TenancyRepository:
        """Return the repository under a policy."""
        return TenancyRepository(self.session, clock=self.clock, policy=policy)

    def user(self) -> str:
        """Return the wire id of a new user."""
        return make_user(self.session).id

    def org(self, status: Status = Status.ACTIVE, *, slug: str | None = None) -> Organization:
        """Return an organization of a new owner's."""
        org = self.tenancy.create_org(self.user(), slug=slug).org
        self.set_status(org, status)
        return org

    def set_status(self, org: Organization, status: Status) -> None:
        """Suspend or revoke an active organization."""
        if status is Status.SUSPENDED:
            self.tenancy.suspend_org(org.id)
        elif status is Status.REVOKED:
            self.tenancy.revoke_org(org.id)

    def owner(self, org: Organization) -> Membership:
        """Return the membership with which an organization began."""
        return self.tenancy.list_members(org.id, limit=1).data[0]

    def member(
        self,
        org: Organization,
        role: Role = Role.MEMBER,
        status: Status = Status.ACTIVE,
        *,
        usr_id: str | None = None,
    ) -> Membership:
        """Return a member, new unless a user is given; they were active, whatever they are now."""
        membership = self.tenancy.add_member(org.id, usr_id or self.user(), role)
        if status is Status.SUSPENDED:
            self.tenancy.suspend_membership(membership.id)
        elif status is Status.REVOKED:
            self.tenancy.self_leave(membership.id)
        return membership

    def invitation(
        self,
        org: Organization,
        *pre_tuples: PreTuple,
        role: Role = Role.MEMBER,
        status: InvitationStatus = InvitationStatus.PENDING,
        identifier: str = IDENTIFIER,
    ) -> Invitation:
        """Return the owner's invitation, which is good for a day."""
        owner = self.owner(org).usr_id
        invitation = self.tenancy.create_invitation(
            org.id, identifier, role, owner, self.clock.now + DAY, pre_tuples=pre_tuples
        )
        self.end(invitation, status)
        return invitation

    def end(self, invitation: Invitation, status: InvitationStatus) -> None:
        """Bring a pending invitation to a status while it is open, or expire it after that."""
        tenancy = self.at(invitation.created_at)
        if status is InvitationStatus.ACCEPTED:
            tenancy.accept_invitation(invitation.id)
        elif status is InvitationStatus.DECLINED:
            tenancy.decline_invitation(invitation.id)
        elif status is InvitationStatus.REVOKED:
            tenancy.revoke_invitation(invitation.id, invitation.invited_by)
        elif status is InvitationStatus.EXPIRED:
            with in_full(self.session):
                self.at(invitation.expires_at + TICK).expire_invitations()

    @contextmanager
    def writes(self) -> Iterator[dict[str, Row | None]]:
        """Collect what is written meanwhile, and see that the Session's objects say the same.

        A new row is there in full, a changed one with what has changed, a deleted one as `None`.
        """
        before = snapshot(self.session)
        written: dict[str, Row | None] = {}
        yield written
        after = snapshot(self.session)
        for id_ in before.keys() | after.keys():
            old, new = before.get(id_), after.get(id_)
            if old is None or new is None:
                written[id_] = new
            elif changed := {name: new[name] for name in new if new[name] != old[name]}:
                written[id_] = changed
        assert untruths(self.session, rows(self.session.connection())) == []

    @contextmanager
    def refuses(
        self, error: type[TenancyError], reason: str | None = None, **details: object
    ) -> Iterator[None]:
        """Expect exactly this error with these details, and nothing written or left to write."""
        with self.writes() as written, pytest.raises(error) as caught:
            yield
        assert type(caught.value) is error
        assert getattr(caught.value, "reason", None) == reason
        assert {name: caught.value.details.get(name) for name in details} == details
        assert written == {}


def mem(usr_id: str, org_id: str, role: str, at: datetime = NOW, **other: object) -> Row:
    """Return the row of an active membership that nobody is responsible for."""
    row: Row = {"usr_id": usr_id, "org_id": org_id, "role": str(role), "status": "active"}
    row |= {"replaces": None, "invited_by": None, "removed_by": None}
    return row | {"created_at": at, "updated_at": at} | other


def tup(created_by: str | None = None, at: datetime = NOW) -> Row:
    """Return the row of a tuple, but for what it says."""
    return {"created_at": at, "created_by": created_by}


def role_of(membership: Membership, role: str | None = None) -> str:
    """Return the name of a membership's tuple, or of the one in another role, in a snapshot."""
    return fact(membership.usr_id, role or membership.role, membership.org_id)
