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
    PreTuple,
    Role,
    Status,
    TenancyError,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.sql import everything

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
IDENTIFIER = "newbie@example.com"


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Stage:
    """Sets a scene with the operations themselves, at the clock's time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.clock = Clock()
        self.tenancy = TenancyRepository(session, clock=self.clock)

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
        """Return a member, new unless a user is given; active once, whatever they are now."""
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
    ) -> Invitation:
        """Return the owner's invitation of `IDENTIFIER`, which is good for a day."""
        owner = self.owner(org).usr_id
        expires_at = self.clock.now + DAY
        invitation = self.tenancy.create_invitation(
            org.id, IDENTIFIER, role, owner, expires_at, pre_tuples=pre_tuples
        )
        if status is InvitationStatus.ACCEPTED:
            self.tenancy.accept_invitation(invitation.id)
        elif status is InvitationStatus.DECLINED:
            self.tenancy.decline_invitation(invitation.id)
        elif status is InvitationStatus.REVOKED:
            self.tenancy.revoke_invitation(invitation.id, owner)
        elif status is InvitationStatus.EXPIRED:
            later = TenancyRepository(self.session, clock=lambda: expires_at + TICK)
            later.expire_invitations()
        return invitation

    @contextmanager
    def refuses(
        self, error: type[TenancyError], reason: str | None = None, **details: object
    ) -> Iterator[None]:
        """Expect exactly this error with these details, and nothing written or left to write."""
        before = everything(self.session)
        with pytest.raises(error) as caught:
            yield
        assert type(caught.value) is error
        assert getattr(caught.value, "reason", None) == reason
        assert {name: caught.value.details.get(name) for name in details} == details
        assert everything(self.session) == before
