"""The guide to moving from the peer package: its code works on what the peer wrote."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import flametrench_tenancy
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import flametrench_tenancy_sqlalchemy
from flametrench_tenancy_sqlalchemy import InMemoryTenancyStore, PreTuple, Role, Status, new_id
from tests.conformance.differences import DIFFERENCES
from tests.migration.reference import create_reference
from tests.support.guides import DOCS, chapters

if TYPE_CHECKING:
    from tests.support.guides import Reader

GUIDE = (DOCS / "moving-from-flametrench-tenancy.md").read_text()


def test_everything_in_it_works(reader: Reader) -> None:
    with create_engine(reader.database, poolclass=NullPool).begin() as connection:
        create_reference(connection)
    [guide] = chapters("moving-from-flametrench-tenancy.md")

    reader.follow(guide)

    assert reader.here["status"] is Status.SUSPENDED
    assert reader.here["member"].role is Role.MEMBER


def test_it_names_every_operation_that_is_known_to_differ() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", GUIDE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    differing = {name for one in DIFFERENCES for name in one.operations.split()}
    assert named == {*differing, "revoke_org"}


@pytest.mark.parametrize("name", flametrench_tenancy.__all__)
def test_every_public_name_is_here_too(name: str) -> None:
    assert name in flametrench_tenancy_sqlalchemy.__all__


@pytest.mark.parametrize(
    "name", [n for n in flametrench_tenancy.__all__ if n.endswith(("Role", "Status"))]
)
def test_members_of_enums_are_equal_words(name: str) -> None:
    theirs, ours = getattr(flametrench_tenancy, name), getattr(flametrench_tenancy_sqlalchemy, name)
    assert {m.name: m.value for m in theirs} == {m.name: m.value for m in ours}
    assert [str(m) for m in ours] == [m.value for m in theirs]


def test_pre_tuples_of_the_peer_are_understood() -> None:
    store, ann = InMemoryTenancyStore(), new_id("usr")
    org = store.create_org(ann).org
    object_id = "0190f2a8-0000-7000-8000-000000000001"
    theirs = flametrench_tenancy.PreTuple("editor", "proj", object_id)

    offer = store.create_invitation(
        org.id,
        "bob@example.com",
        flametrench_tenancy.Role.GUEST.value,
        ann,
        datetime(2999, 1, 1, tzinfo=UTC),
        pre_tuples=[theirs],  # type: ignore[list-item]  # another class of the same shape
    )

    assert offer.pre_tuples == [PreTuple("editor", "proj", object_id)]
