"""What factory_boy makes with our factories is what operations would have made."""

from __future__ import annotations

import re
from contextvars import Context
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    Membership,
    Organization,
    PreconditionError,
    Status,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.testing.factory_boy import (
    InvitationFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    factories_on,
)
from tests.support.guides import chapters
from tests.support.web import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from tests.support.guides import Reader


@pytest.fixture(autouse=True)
def factories(session: Session) -> Iterator[None]:
    with factories_on(session):
        yield


@pytest.mark.parametrize(
    "factory, statuses",
    [
        (OrganizationFactory, list(Status)),
        (MembershipFactory, list(Status)),
        (InvitationFactory, [s for s in InvitationStatus if s != InvitationStatus.EXPIRED]),
    ],
)
def test_every_state_that_is_made_is_a_healthy_one(
    session: Session, factory: Any, statuses: list[Status | InvitationStatus]
) -> None:
    for status in statuses:
        assert factory(status=status).status is status
        assert factory(status=status.value).status is status

    assert diagnose(session) == []


def test_what_is_given_is_what_is_there(session: Session) -> None:
    ann, bob = UserFactory(display_name="Ann"), UserFactory()
    org: Organization = OrganizationFactory(owner=ann, name="Acme", slug="acme")
    member: Membership = MembershipFactory(organization=org, user=bob, role="admin")
    grant = {"relation": "editor", "object_type": "proj", "object_id": PROJECT}
    offer: Invitation = InvitationFactory(
        organization=org, inviter=bob, identifier="cy@example.com", pre_tuples=[grant]
    )
    other: Invitation = InvitationFactory(organization=org)

    assert (org.name, org.slug, member.user, member.role) == ("Acme", "acme", bob, "admin")
    assert (offer.inviter, other.inviter) == (bob, ann)
    assert (offer.identifier, offer.pre_tuples[0].object_id) == ("cy@example.com", PROJECT)
    assert TenancyRepository(session).count_members(org.id) == 2


def test_a_batch_is_as_many_and_each_its_own(session: Session) -> None:
    made = InvitationFactory.create_batch(3)

    assert len({(offer.org_id, offer.identifier) for offer in made}) == 3
    assert session.scalar(select(func.count()).select_from(Organization)) == 3


def test_what_operations_refuse_no_factory_makes(session: Session) -> None:
    org = OrganizationFactory(status=Status.SUSPENDED)

    with pytest.raises(PreconditionError, match="not active"):
        MembershipFactory(organization=org)
    with pytest.raises(ValueError, match="when its time is over"):
        InvitationFactory(status="expired")
    with pytest.raises(TypeError, match=re.escape("UserFactory.create() makes one")):
        OrganizationFactory.build()


def test_a_factory_without_a_session_says_so() -> None:
    with pytest.raises(RuntimeError, match="see factories_on"):
        Context().run(UserFactory)


def test_the_page_on_tests_is_true(reader: Reader) -> None:
    [*_, page] = chapters("how-to/testing.md")

    reader.follow(page)

    assert " 2 passed in " in reader.said
