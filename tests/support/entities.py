"""Loaded entities without a database, and what their domain methods refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import inspect

from flametrench_tenancy_sqlalchemy import (
    Base,
    Invitation,
    Membership,
    Organization,
    PreTuple,
    Role,
    Status,
    TenancyError,
    User,
    new_id,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
EARLIER = NOW - timedelta(hours=1)
EXPIRY = NOW + timedelta(days=1)
TICK = timedelta(microseconds=1)


def an_org(status: Status = Status.ACTIVE) -> Organization:
    """Return an organization in some status."""
    org = Organization.create(name="Acme", slug="acme", at=NOW)
    org.status = status
    return org


def a_user() -> User:
    """Return an active user."""
    return User(id=new_id("usr"), status=Status.ACTIVE, created_at=NOW, updated_at=NOW)


def a_member(
    role: Role = Role.MEMBER,
    status: Status = Status.ACTIVE,
    *,
    org: Organization | None = None,
    usr_id: str | None = None,
    invited_by: str | None = None,
) -> Membership:
    """Return a membership of a new user in a new organization, unless they are given."""
    membership = Membership.join(
        org or an_org(), usr_id or new_id("usr"), role, invited_by=invited_by, at=NOW
    )
    membership.status = status
    return membership


def an_invitation(
    *grants: PreTuple, org: Organization | None = None, role: Role = Role.MEMBER
) -> Invitation:
    """Return a pending invitation of newbie@example.com, good until `EXPIRY`."""
    return Invitation.offer(
        org or an_org(),
        "newbie@example.com",
        role,
        invited_by=new_id("usr"),
        expires_at=EXPIRY,
        pre_tuples=grants,
        at=NOW,
    )


@contextmanager
def refused(
    error: type[TenancyError] | str, *entities: Base, reason: str | None = None
) -> Iterator[pytest.ExceptionInfo[TenancyError]]:
    """Expect exactly this error, by its type or its code, and the entities as they were."""
    before = [columns(entity) for entity in entities]
    with pytest.raises(TenancyError if isinstance(error, str) else error) as caught:
        yield caught
    if isinstance(error, str):
        assert caught.value.code == error
    else:
        assert type(caught.value) is error
        assert getattr(caught.value, "reason", None) == reason
    assert [columns(entity) for entity in entities] == before


def columns(entity: Base) -> dict[str, Any]:
    """Return what an entity would write into its row."""
    return {a.key: getattr(entity, a.key) for a in inspect(entity).mapper.column_attrs}
