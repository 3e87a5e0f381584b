"""create_org, get_org, get_org_by_slug and update_org on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    AlreadyTerminalError,
    NotFoundError,
    OrgSlugConflictError,
    PreconditionError,
    Role,
    Status,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.sql import bare, grants_on, stored
from tests.support.stage import NOW, TICK, Clock, Stage

SLUGS = ["a", "7", "acme", "a-b--c", "0" * 63]


def test_create_org_writes_organization_membership_and_tuple(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    creator = stage.user()
    created = tenancy.create_org(creator, name="Acme GmbH", slug="acme")
    org, owner = created.org, created.owner_membership
    assert stored(stage.session, "org", org.id) == {
        "id": bare(org.id),
        "status": "active",
        "name": "Acme GmbH",
        "slug": "acme",
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert stored(stage.session, "mem", owner.id) == {
        "id": bare(owner.id),
        "usr_id": bare(creator),
        "org_id": bare(org.id),
        "role": "owner",
        "status": "active",
        "replaces": None,
        "invited_by": None,
        "removed_by": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    (granted,) = tenancy.list_tuples_for_object("org", org.id)
    assert stored(stage.session, "tup", granted.id) == {
        "id": bare(granted.id),
        "subject_type": "usr",
        "subject_id": bare(creator),
        "relation": "owner",
        "object_type": "org",
        "object_id": bare(org.id),
        "created_at": NOW,
        "created_by": bare(creator),
    }


def test_create_org_returns_what_it_wrote(stage: Stage, tenancy: TenancyRepository) -> None:
    creator = stage.user()
    created = tenancy.create_org(creator)
    org, owner = created.org, created.owner_membership
    assert org.id.startswith("org_")
    assert (org.name, org.slug, org.status) == (None, None, Status.ACTIVE)
    assert owner.id.startswith("mem_")
    assert (owner.org_id, owner.usr_id) == (org.id, creator)
    assert (owner.role, owner.status) == (Role.OWNER, Status.ACTIVE)


def test_a_new_organization_is_everybodys_to_see_after_the_commit(clean_engine: Engine) -> None:
    with Session(clean_engine) as session, session.begin():
        creator = make_user(session).id
        tenancy = TenancyRepository(session, clock=Clock())
        org_id = tenancy.create_org(creator, slug="acme").org.id
    with clean_engine.connect() as another:
        assert stored(another, "org", org_id)["slug"] == "acme"
        assert grants_on(another, org_id) == {(bare(creator), "owner", bare(creator))}


@pytest.mark.parametrize("slug", SLUGS)
def test_create_org_stores_a_well_formed_slug(
    slug: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = tenancy.create_org(stage.user(), slug=slug).org
    assert stored(stage.session, "org", org.id)["slug"] == slug


@pytest.mark.parametrize("name", ["", " ", "Ünïcødé ☃ \U0001f525", "a\nb\t\\'\"%_", "x" * 10_000])
def test_names_are_stored_as_they_are(name: str, stage: Stage, tenancy: TenancyRepository) -> None:
    org = tenancy.create_org(stage.user(), name=name).org
    assert stored(stage.session, "org", org.id)["name"] == name
    assert stored(stage.session, "org", tenancy.update_org(org.id, name=name).id)["name"] == name


def test_create_org_refuses_a_malformed_slug_before_it_asks_for_the_creator(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    for creator in (stage.user(), new_id("usr")):
        with stage.refuses(PreconditionError, "org_slug_format", parameter="slug"):
            tenancy.create_org(creator, slug="Not A Slug")


def test_create_org_misses_the_creator_before_it_minds_the_slug(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    stage.org(slug="acme")
    unknown = new_id("usr")
    for slug in ("free", "acme"):
        with stage.refuses(NotFoundError, parameter="creator", id=unknown):
            tenancy.create_org(unknown, slug=slug)


@pytest.mark.parametrize("status", Status)
def test_a_slug_is_taken_whatever_its_organization_has_become(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    stage.org(status, slug="acme")
    other, creator = stage.org(), stage.user()
    with stage.refuses(OrgSlugConflictError, slug="acme"):
        tenancy.create_org(creator, slug="acme")
    with stage.refuses(OrgSlugConflictError, slug="acme"):
        tenancy.update_org(other.id, slug="acme")


@pytest.mark.parametrize("status", Status)
def test_an_organization_is_found_by_id_and_by_slug_in_any_status(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org(status, slug="acme")
    for found in (tenancy.get_org(org.id), tenancy.get_org_by_slug("acme")):
        assert (found.id, found.slug, found.status) == (org.id, "acme", status)


def test_get_org_does_not_find_what_is_not_there(stage: Stage, tenancy: TenancyRepository) -> None:
    unknown = new_id("org")
    with stage.refuses(NotFoundError, parameter="org_id", id=unknown):
        tenancy.get_org(unknown)


@pytest.mark.parametrize("slug", ["acme-2", "", "Acme", "acme\n", "acme\x00", "\ud800", 7, None])
def test_no_organization_has_a_slug_that_is_free_or_malformed(
    slug: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    stage.org(slug="acme")
    stage.org()
    with stage.refuses(NotFoundError, parameter="slug", id=slug):
        tenancy.get_org_by_slug(slug)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, ("Acme", "acme")),
        ({"name": "New"}, ("New", "acme")),
        ({"slug": "new"}, ("Acme", "new")),
        ({"name": "New", "slug": "new"}, ("New", "new")),
        ({"name": None}, (None, "acme")),
        ({"slug": None}, ("Acme", None)),
        ({"name": None, "slug": None}, (None, None)),
        ({"slug": "acme"}, ("Acme", "acme")),
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
def test_update_org_changes_what_is_given_and_clears_what_is_none(
    status: Status,
    changes: dict[str, str | None],
    expected: tuple[str | None, str | None],
    stage: Stage,
    tenancy: TenancyRepository,
) -> None:
    org = tenancy.create_org(stage.user(), name="Acme", slug="acme").org
    stage.set_status(org, status)
    stage.clock.now += TICK
    updated = tenancy.update_org(org.id, **changes)
    assert (updated.name, updated.slug) == expected
    assert stored(stage.session, "org", org.id) == {
        "id": bare(org.id),
        "status": status.value,
        "name": expected[0],
        "slug": expected[1],
        "created_at": NOW,
        "updated_at": NOW + TICK,
    }


def test_a_slug_is_free_as_soon_as_its_organization_gives_it_up(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, heir = stage.org(slug="acme"), stage.org()
    tenancy.update_org(org.id, slug=None)
    assert tenancy.update_org(heir.id, slug="acme").slug == "acme"
    assert tenancy.get_org_by_slug("acme").id == heir.id


def test_update_org_does_not_find_what_is_not_there(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    unknown = new_id("org")
    with stage.refuses(NotFoundError, parameter="org_id", id=unknown):
        tenancy.update_org(unknown, slug="Not A Slug")


@pytest.mark.parametrize("changes", [{"name": "New"}, {"slug": "Not A Slug"}, {"slug": "taken"}])
def test_update_org_refuses_a_revoked_organization_before_it_looks_at_the_change(
    changes: dict[str, str], stage: Stage, tenancy: TenancyRepository
) -> None:
    stage.org(slug="taken")
    org = stage.org(Status.REVOKED)
    with stage.refuses(AlreadyTerminalError, org_id=org.id):
        tenancy.update_org(org.id, **changes)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"name": "New", "slug": "Not A Slug"}, "org_slug_format"),
        ({"name": "\x00", "slug": "new"}, "name_format"),
    ],
    ids=["slug", "name"],
)
def test_update_org_changes_both_or_neither(
    changes: dict[str, str], reason: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = tenancy.create_org(stage.user(), name="Acme", slug="acme").org
    with stage.refuses(PreconditionError, reason):
        tenancy.update_org(org.id, **changes)
    assert (org.name, org.slug) == ("Acme", "acme")
