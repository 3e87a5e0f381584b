"""The rules of an organization's life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import (
    UNSET,
    AlreadyTerminalError,
    Organization,
    PreconditionError,
    Status,
)
from tests.support.entities import LATER, NOW, an_org, refused

ACTIVE, SUSPENDED, REVOKED = Status

# fmt: off
SLUGS = [None, "a", "0", "acme", "acme-labs", "a--b", "0-9", "a" * 63]
NOT_SLUGS: list[Any] = [
    "", "Acme", "acme\n", "\nacme", "-acme", "acme-", "-", "a" * 64, "a_b", "a b", "a.b", "äcme",
    "acme\x00", "\ud800", 7, b"acme",
]
# fmt: on
NAMES = ["", " ", "Ä☃𝄞", "%_\\/", "line\nbreak"]
NOT_NAMES: list[Any] = ["Ac\x00me", "\ud800", "\udfff", 7, b"Acme"]


def test_a_new_organization_is_active_and_carries_the_time_of_its_creation() -> None:
    org = Organization.create(name="Acme", slug="acme", at=NOW)
    assert org.id.startswith("org_")
    assert (org.status, org.name, org.slug) == (ACTIVE, "Acme", "acme")
    assert org.created_at == org.updated_at == NOW
    assert repr(org) == f"<Organization {org.id} active>"


@pytest.mark.parametrize(
    "field, value", [*(("slug", slug) for slug in SLUGS), *(("name", name) for name in NAMES)]
)
def test_slugs_are_dns_labels_and_names_any_text_that_postgresql_stores(
    field: str, value: str | None
) -> None:
    org = Organization.create(**{"name": None, "slug": None, field: value}, at=NOW)
    assert getattr(org, field) == value


@pytest.mark.parametrize(
    "field, value, reason",
    [
        *(("slug", slug, "org_slug_format") for slug in NOT_SLUGS),
        *(("name", name, "name_format") for name in NOT_NAMES),
    ],
)
def test_anything_else_is_refused_and_nothing_is_changed(
    field: str, value: Any, reason: str
) -> None:
    org = an_org()
    with refused(PreconditionError, reason=reason):
        Organization.create(**{"name": "New", "slug": "new", field: value}, at=NOW)
    with refused(PreconditionError, org, reason=reason):
        org.update(**{"name": "New", "slug": "new", field: value}, at=LATER)


def test_the_status_is_checked_before_the_slug_and_that_before_the_name() -> None:
    with refused(PreconditionError, reason="org_slug_format"):
        Organization.create(name="\x00", slug="-", at=NOW)
    org = an_org(REVOKED)
    with refused(AlreadyTerminalError, org):
        org.update(slug="-", name="\x00", at=LATER)


@pytest.mark.parametrize("status", [ACTIVE, SUSPENDED])
@pytest.mark.parametrize(
    "given, name, slug",
    [
        ({}, "Acme", "acme"),
        ({"name": "New"}, "New", "acme"),
        ({"slug": "new"}, "Acme", "new"),
        ({"name": None}, None, "acme"),
        ({"slug": None}, "Acme", None),
        ({"name": None, "slug": None}, None, None),
        ({"name": UNSET, "slug": UNSET}, "Acme", "acme"),
    ],
)
def test_an_update_changes_what_is_given_and_clears_what_is_none(
    given: dict[str, Any], name: str | None, slug: str | None, status: Status
) -> None:
    org = an_org(status)
    org.update(**given, at=LATER)
    assert (org.name, org.slug, org.status) == (name, slug, status)
    assert (org.created_at, org.updated_at) == (NOW, LATER)


@pytest.mark.parametrize(
    "change, before, after",
    [
        (Organization.suspend, ACTIVE, SUSPENDED),
        (Organization.suspend, SUSPENDED, AlreadyTerminalError),
        (Organization.suspend, REVOKED, AlreadyTerminalError),
        (Organization.reinstate, SUSPENDED, ACTIVE),
        (Organization.reinstate, ACTIVE, PreconditionError),
        (Organization.reinstate, REVOKED, PreconditionError),
        (Organization.revoke, ACTIVE, REVOKED),
        (Organization.revoke, SUSPENDED, REVOKED),
        (Organization.revoke, REVOKED, AlreadyTerminalError),
    ],
)
def test_transitions(change: Callable[..., None], before: Status, after: Any) -> None:
    org = an_org(before)
    if isinstance(after, Status):
        change(org, LATER)
        assert org.status is after
        assert (org.created_at, org.updated_at) == (NOW, LATER)
    else:
        reason = "invalid_transition" if after is PreconditionError else None
        with refused(after, org, reason=reason):
            change(org, LATER)


@pytest.mark.parametrize("status", [SUSPENDED, REVOKED])
def test_only_an_active_organization_lets_anybody_in(status: Status) -> None:
    an_org().require_active()
    with refused(PreconditionError, reason="org_not_active"):
        an_org(status).require_active()
