"""The connection is lost at the commit, of which nobody then knows, or behind a refusal."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    DuplicateInvitationIdError,
    DuplicateMembershipError,
    DuplicateOrganizationError,
    OutcomeUnknownError,
    Role,
    new_id,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.support.cutting import ALL, Relay, relay
from tests.support.drivers import DRIVERS
from tests.support.rows import committed_rows
from tests.support.stage import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Engine

    from flametrench_tenancy_sqlalchemy import TenancyError
    from tests.support.drivers import Call, Driver

every_driver = pytest.mark.parametrize("driver", DRIVERS, ids=str)


@pytest.fixture
def cutting(clean_engine: Engine, database_url: URL) -> Iterator[Relay]:
    """A relay to the worker's database, which does not cut yet."""
    with relay(database_url) as running:
        yield running


@pytest.fixture
def usr_id(clean_engine: Engine) -> str:
    """A user."""
    with Session(clean_engine) as session, session.begin():
        return make_user(session).id


@every_driver
@pytest.mark.parametrize("form", ["alone", "run"])
@pytest.mark.parametrize("happened", [True, False])
def test_a_commit_without_an_answer_is_unknown_and_not_tried_again(
    clean_engine: Engine,
    cutting: Relay,
    usr_id: str,
    driver: Driver,
    *,
    form: str,
    happened: bool,
) -> None:
    client = driver.client(cutting.url)
    org_id = new_id("org")
    before = cutting.commits
    cutting.cuts, cutting.sends = ALL, happened

    with pytest.raises(OutcomeUnknownError) as lost:
        getattr(client, form)(lambda tenancy: tenancy.create_org(usr_id, org_id=org_id))

    assert cutting.commits == before + 1
    assert isinstance(lost.value.__cause__, DBAPIError)
    assert [row.id for row in committed_rows(clean_engine)["org"]] == ([org_id] if happened else [])


@every_driver
def test_a_read_that_loses_its_commit_has_nothing_unknown(
    clean_engine: Engine, cutting: Relay, driver: Driver
) -> None:
    with Session(clean_engine) as session, session.begin():
        org_id, usr_id = make_org(session).id, make_user(session).id
    client = driver.client(cutting.url)
    cutting.cuts = ALL

    for read in (lambda t: t.get_org(org_id), lambda t: t.role_of(org_id, usr_id)):
        with pytest.raises(DBAPIError) as lost:
            client.alone(read)
        assert lost.value.connection_invalidated


@pytest.mark.parametrize("happened", [True, False])
def test_trying_again_with_the_same_ids_tells_what_has_happened(
    clean_engine: Engine, cutting: Relay, happened: bool
) -> None:
    with Session(clean_engine) as session, session.begin():
        org, usr_id = make_org(session), make_user(session).id
        org_id, owner = org.id, make_member(session, org, role=Role.OWNER).usr_id
    new_org, new_inv, tomorrow = new_id("org"), new_id("inv"), NOW + timedelta(days=1)
    client = DRIVERS[0].client(cutting.url)
    calls: list[tuple[Call, type[TenancyError]]] = [
        (lambda t: t.create_org(usr_id, org_id=new_org), DuplicateOrganizationError),
        (
            lambda t: t.create_invitation(org_id, "a", "guest", owner, tomorrow, inv_id=new_inv),
            DuplicateInvitationIdError,
        ),
        (lambda t: t.add_member(org_id, usr_id, "guest"), DuplicateMembershipError),
    ]

    for call, duplicate in calls:
        cutting.cuts, cutting.sends = ALL, happened
        with pytest.raises(OutcomeUnknownError):
            client.alone(call, clock=lambda: NOW)
        cutting.cuts = 0
        if happened:
            with pytest.raises(duplicate):
                client.alone(call, clock=lambda: NOW)
        else:
            client.alone(call, clock=lambda: NOW)


@every_driver
@pytest.mark.parametrize("form", ["alone", "run"])
def test_a_connection_that_ends_right_behind_a_refusal_is_lost(
    clean_engine: Engine, cutting: Relay, driver: Driver, form: str
) -> None:
    with Session(clean_engine) as session, session.begin():
        org = make_org(session)
        org_id, usr_id = org.id, make_member(session, org).usr_id
    client = driver.client(cutting.url)
    cutting.ends = True

    with pytest.raises(DBAPIError) as lost:
        getattr(client, form)(lambda tenancy: tenancy.add_member(org_id, usr_id, "member"))

    assert lost.value.connection_invalidated
