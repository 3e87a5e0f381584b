"""On every driver: what the database refuses, in the domain's words."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    NotFoundError,
    OrgSlugConflictError,
    Role,
    SoleOwnerError,
    TenancyError,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy._integrity import is_transient, sqlstate
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.support.operations import owner_of
from tests.support.races import DEADLINE, DONE, SERIALIZATION_FAILURE, verdict
from tests.support.rows import committed_rows

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.support.drivers import Client, Driver

Refused: TypeAlias = Callable[[Any, str, str], Any]

REFUSED: list[tuple[Refused, type[TenancyError]]] = [
    (lambda t, org, usr: t.add_member(org, usr, Role.ADMIN), DuplicateMembershipError),
    (lambda t, org, usr: t.create_org(usr, slug="acme"), OrgSlugConflictError),
    (lambda t, org, usr: t.create_org(new_id("usr")), NotFoundError),
    (lambda t, org, usr: t.add_member(org, new_id("usr"), Role.ADMIN), NotFoundError),
    (lambda t, org, usr: t.add_member(new_id("org"), usr, Role.ADMIN), NotFoundError),
]


@pytest.fixture
def acme(clean_engine: Engine) -> tuple[str, str]:
    """The wire ids of an organization with a slug, and of its owner."""
    with Session(clean_engine) as session, session.begin():
        org = make_org(session, slug="acme")
        make_member(session, org)
        return org.id, owner_of(session, org)


@pytest.mark.parametrize("way", ["run", "alone"])
@pytest.mark.parametrize("refused", REFUSED, ids=["membership", "slug", "creator", "user", "org"])
def test_a_refusal_is_the_domains_error(
    client: Client,
    clean_engine: Engine,
    acme: tuple[str, str],
    refused: tuple[Refused, type[TenancyError]],
    way: str,
) -> None:
    call, error = refused
    before = committed_rows(clean_engine)

    with pytest.raises(error):
        getattr(client, way)(lambda tenancy: call(tenancy, *acme))

    assert committed_rows(clean_engine) == before


def test_of_two_who_take_a_slug_at_once_one_hears_that_it_is_taken(
    client: Client, acme: tuple[str, str]
) -> None:
    barrier = Barrier(2, timeout=DEADLINE)

    def take(_: int) -> str:
        def together(tenancy: Any) -> Any:
            barrier.wait()
            return tenancy.create_org(acme[1], slug="taken")

        return verdict(lambda: client.run(together))

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(take, range(2))) == ["conflict.org_slug", DONE]


def suspend_the_owners(session: Session) -> None:
    """Do, unlike the repository, what leaves members without an owner."""
    session.execute(text("DELETE FROM tup WHERE relation = 'owner'"))
    session.execute(text("UPDATE mem SET status = 'suspended' WHERE role = 'owner'"))


def test_what_the_schema_refuses_at_the_commit_is_the_domains_error(
    client: Client, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    before = committed_rows(clean_engine)

    with pytest.raises(SoleOwnerError):
        client.work(suspend_the_owners)

    assert committed_rows(clean_engine) == before


def test_a_serialization_failure_reaches_whoever_owns_the_transaction(
    driver: Driver, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    client = driver.client(clean_engine.url, isolation_level="REPEATABLE READ")

    def late(session: Session) -> None:
        session.execute(text("SELECT count(*) FROM org"))
        with Session(clean_engine) as other, other.begin():
            TenancyRepository(other).update_org(acme[0], name="First")
        TenancyRepository(session).update_org(acme[0], name="Second")

    with pytest.raises(DBAPIError) as failure:
        client.work(late)

    assert sqlstate(failure.value) == SERIALIZATION_FAILURE
    assert is_transient(failure.value)


def test_the_standalone_form_tries_again_after_a_serialization_failure(
    driver: Driver, clean_engine: Engine, acme: tuple[str, str]
) -> None:
    client = driver.client(clean_engine.url, isolation_level="SERIALIZABLE")
    barrier = Barrier(4, timeout=DEADLINE)

    def join(_: int) -> str:
        with Session(clean_engine) as session, session.begin():
            usr_id = make_user(session).id
        barrier.wait()
        return verdict(lambda: client.alone(lambda t: t.add_member(acme[0], usr_id, Role.GUEST)))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(join, range(4))) == [DONE] * 4
