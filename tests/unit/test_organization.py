"""The rules of an organization's life."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import UNSET, Organization, Status
from tests.support.entities import LATER, NOW, an_org, refused

ACTIVE, SUSPENDED, REVOKED = Status

# fmt: off
SLUGS = [None, "a", "0", "acme", "acme-labs", "a--b", "0-9", "a" * 63]
NOT_SLUGS: list[Any] = [
    "", "Acme", "acme\n", "\nacme", "-acme", "acme-", "-", "a" * 64, "a_b", "a b", "a.b", "äcme",
    "acme\x00", "\ud800", 7, b"acme",
]
# fmt: on
NAMES = [None, "", " ", "Ä☃𝄞", "%_\\/", "line\nbreak"]
NOT_NAMES: list[Any] = ["Ac\x00me", "\ud800", "\udfff", 7, b"Acme"]


def test_a_new_organization_is_active_and_carries_the_time_of_its_creation() -> None:
    org = Organization.create(name="Acme", slug="acme", at=NOW)
    assert org.id.startswith("org_")
    assert (org.status, org.name, org.slug) == (ACTIVE, "Acme", "acme")
    assert org.created_at == org.updated_at == NOW
    assert org.slug_taken().slug == org.slug


@pytest.mark.parametrize(
    "field, good, bad, reason",
    [("slug", SLUGS, NOT_SLUGS, "org_slug_format"), ("name", NAMES, NOT_NAMES, "name_format")],
)
def test_slugs_are_dns_labels_and_names_any_text_that_postgresql_stores(
    field: str, good: list[Any], bad: list[Any], reason: str
) -> None:
    def create(value: Any) -> Organization:
        return Organization.create(**{"name": "New", "slug": "new", field: value}, at=NOW)

    assert [getattr(create(value), field) for value in good] == good
    org = an_org()
    for value in bad:
        with refused(f"precondition.{reason}"):
            create(value)
        with refused(f"precondition.{reason}", org):
            org.update(**{"name": "New", "slug": "new", field: value}, at=LATER)


def test_the_status_is_checked_before_the_slug_and_that_before_the_name() -> None:
    with refused("precondition.org_slug_format"):
        Organization.create(name="\x00", slug="-", at=NOW)
    org = an_org(REVOKED)
    with refused("already_terminal", org):
        org.update(slug="-", name="\x00", at=LATER)


@pytest.mark.parametrize("status", [ACTIVE, SUSPENDED])
@pytest.mark.parametrize("name, slug", list(product([UNSET, "New", None], [UNSET, "new", None])))
def test_an_update_changes_what_is_given_and_clears_what_is_none(
    name: Any, slug: Any, status: Status
) -> None:
    org = an_org(status)
    org.update(name=name, slug=slug, at=LATER)
    kept = ("Acme" if name is UNSET else name, "acme" if slug is UNSET else slug)
    assert (org.name, org.slug, org.status) == (*kept, status)
    org.update(at=LATER)  # where nothing is given, nothing is changed
    assert (org.name, org.slug, org.created_at, org.updated_at) == (*kept, NOW, LATER)


@pytest.mark.parametrize(
    "change, before, after",
    [
        (Organization.suspend, ACTIVE, SUSPENDED),
        (Organization.suspend, SUSPENDED, "already_terminal"),
        (Organization.suspend, REVOKED, "already_terminal"),
        (Organization.reinstate, SUSPENDED, ACTIVE),
        (Organization.reinstate, ACTIVE, "precondition.invalid_transition"),
        (Organization.reinstate, REVOKED, "precondition.invalid_transition"),
        (Organization.revoke, ACTIVE, REVOKED),
        (Organization.revoke, SUSPENDED, REVOKED),
        (Organization.revoke, REVOKED, "already_terminal"),
    ],
)
def test_transitions(change: Callable[..., None], before: Status, after: Status | str) -> None:
    org = an_org(before)
    if isinstance(after, Status):
        change(org, LATER)
        assert org.status is after
        assert (org.created_at, org.updated_at) == (NOW, LATER)
    else:
        with refused(after, org):
            change(org, LATER)


@pytest.mark.parametrize("status", [SUSPENDED, REVOKED])
def test_only_an_active_organization_lets_anybody_in(status: Status) -> None:
    an_org().require_active()
    with refused("precondition.org_not_active"):
        an_org(status).require_active()
