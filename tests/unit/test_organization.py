"""The rules of an organization's life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import (
    UNSET,
    AlreadyTerminalError,
    Organization,
    OrgSlugConflictError,
    PreconditionError,
    Status,
)
from tests.support.entities import LATER, NOW, an_org, refused

SLUGS = ["a", "0", "acme", "acme-labs", "a--b", "0-9", "a" * 63]
NOT_SLUGS = [
    "",
    "Acme",
    "acme\n",
    "\nacme",
    "-acme",
    "acme-",
    "-",
    "a" * 64,
    "a_b",
    "a b",
    "a.b",
    "äcme",
    "acme\x00",
    "\ud800",
    7,
    b"acme",
]
NOT_TEXT = ["Ac\x00me", "\ud800", "\udfff", 7, b"Acme"]


def test_a_new_organization_is_active_and_carries_the_time_of_its_creation() -> None:
    org = Organization.create(name="Acme", slug="acme", at=NOW)
    assert org.id.startswith("org_")
    assert (org.status, org.name, org.slug) == (Status.ACTIVE, "Acme", "acme")
    assert org.created_at == org.updated_at == NOW


@pytest.mark.parametrize("slug", [None, *SLUGS])
def test_slugs_are_dns_labels(slug: str | None) -> None:
    assert Organization.create(name=None, slug=slug, at=NOW).slug == slug


@pytest.mark.parametrize("slug", NOT_SLUGS)
def test_anything_else_is_no_slug(slug: Any) -> None:
    org = an_org()
    with refused(PreconditionError, reason="org_slug_format"):
        Organization.create(name=None, slug=slug, at=NOW)
    with refused(PreconditionError, org, reason="org_slug_format"):
        org.update(slug=slug, name="New", at=LATER)


@pytest.mark.parametrize("name", ["", " ", "Ä☃𝄞", "%_\\/", "line\nbreak"])
def test_names_are_any_text_that_postgresql_stores(name: str) -> None:
    assert Organization.create(name=name, slug=None, at=NOW).name == name


@pytest.mark.parametrize("name", NOT_TEXT)
def test_other_names_are_refused_and_nothing_is_changed(name: Any) -> None:
    org = an_org()
    with refused(PreconditionError, reason="name_format"):
        Organization.create(name=name, slug=None, at=NOW)
    with refused(PreconditionError, org, reason="name_format"):
        org.update(slug="good", name=name, at=LATER)


def test_the_slug_is_checked_before_the_name() -> None:
    with refused(PreconditionError, reason="org_slug_format"):
        Organization.create(name="\x00", slug="-", at=NOW)


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
    given: dict[str, Any], name: str | None, slug: str | None
) -> None:
    org = an_org()
    org.update(**given, at=LATER)
    assert (org.name, org.slug) == (name, slug)
    assert (org.created_at, org.updated_at) == (NOW, LATER)


def test_a_suspended_organization_may_be_updated() -> None:
    org = an_org(Status.SUSPENDED)
    org.update(name="New", at=LATER)
    assert (org.name, org.status) == ("New", Status.SUSPENDED)


@pytest.mark.parametrize(
    "change, before, after",
    [
        (Organization.suspend, Status.ACTIVE, Status.SUSPENDED),
        (Organization.reinstate, Status.SUSPENDED, Status.ACTIVE),
        (Organization.revoke, Status.ACTIVE, Status.REVOKED),
        (Organization.revoke, Status.SUSPENDED, Status.REVOKED),
    ],
)
def test_transitions(change: Callable[..., None], before: Status, after: Status) -> None:
    org = an_org(before)
    change(org, LATER)
    assert org.status is after
    assert (org.created_at, org.updated_at) == (NOW, LATER)


@pytest.mark.parametrize(
    "change, status, error, reason",
    [
        (Organization.suspend, Status.SUSPENDED, AlreadyTerminalError, None),
        (Organization.suspend, Status.REVOKED, AlreadyTerminalError, None),
        (Organization.reinstate, Status.ACTIVE, PreconditionError, "invalid_transition"),
        (Organization.reinstate, Status.REVOKED, PreconditionError, "invalid_transition"),
        (Organization.revoke, Status.REVOKED, AlreadyTerminalError, None),
    ],
)
def test_refused_transitions(
    change: Callable[..., None], status: Status, error: Any, reason: str | None
) -> None:
    org = an_org(status)
    with refused(error, org, reason=reason):
        change(org, LATER)


def test_a_revoked_organization_is_never_updated_not_even_with_a_bad_slug() -> None:
    org = an_org(Status.REVOKED)
    with refused(AlreadyTerminalError, org):
        org.update(slug="-", name="\x00", at=LATER)


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.REVOKED])
def test_only_an_active_organization_lets_anybody_in(status: Status) -> None:
    an_org().require_active()
    with refused(PreconditionError, reason="org_not_active"):
        an_org(status).require_active()


def test_the_refusal_of_a_second_holder_names_the_slug() -> None:
    error = an_org().slug_taken()
    assert type(error) is OrgSlugConflictError
    assert error.slug == "acme"
