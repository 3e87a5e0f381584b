"""On every driver: the same rows, the same results, the same outcome of a race."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Organization,
    OrgSlugConflictError,
    PreTuple,
    Role,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.support.invariants import breaches
from tests.support.operations import OPERATIONS, owner_of
from tests.support.races import DEADLINE, DONE, verdict
from tests.support.results import entities_in, unloaded_columns
from tests.support.rows import committed_rows, untruths_of
from tests.support.scenes import Scene, State, stage
from tests.support.steps import STEPS, Step

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from flametrench_tenancy_sqlalchemy import Base
    from tests.support.drivers import Call, Client

Outcome: TypeAlias = tuple[str, State]

MANY = 1000
RACES = 5


def outcomes(engine: Engine, take: Callable[[Step, Scene], object]) -> dict[str, Outcome]:
    """Take every step on a scene of its own; return how it ended and what it left behind."""
    found = {}
    for step in STEPS:
        with engine.begin() as connection:
            (scene,) = stage(connection)
        ended = verdict(partial(take, step, scene))
        with engine.connect() as connection:
            found[step.name] = ended, scene.state(connection)
    with engine.connect() as connection:
        assert breaches(connection) == []
    return found


@pytest.fixture(scope="module")
def expected_outcomes(engine: Engine) -> dict[str, Outcome]:
    """What every step comes to on the driver that all other tests run on."""

    def take(step: Step, scene: Scene) -> None:
        with Session(engine) as session, session.begin():
            step.on(scene)(session)

    return outcomes(engine, take)


def test_every_operation_leaves_the_same_rows(
    expected_outcomes: dict[str, Outcome], client: Client, clean_engine: Engine
) -> None:
    def take(step: Step, scene: Scene) -> object:
        return client.run(lambda t: step.call(t, scene), clock=lambda: step.clock(scene))

    assert outcomes(clean_engine, take) == expected_outcomes


def test_every_operation_returns_what_it_has_written(client: Client, clean_engine: Engine) -> None:
    def all_of_them(session: Session) -> list[Base]:
        calls = [operation.stage(session) for operation in OPERATIONS]
        return entities_in([call(TenancyRepository(session)) for call in calls])

    returned = client.work(all_of_them)

    truth = committed_rows(clean_engine)
    assert len(returned) > len(OPERATIONS) / 2
    for entity in returned:
        assert unloaded_columns(entity) == set()
        assert untruths_of(entity, truth) == []


def test_pages_are_read_to_their_end(client: Client, clean_engine: Engine) -> None:
    with Session(clean_engine) as session, session.begin():
        org = make_org(session, name="Acme Roofing")
        org_id = org.id
        expected = [owner_of(session, org), *(make_member(session, org).usr_id for _ in range(4))]

    def read(cursor: str | None) -> Any:
        return client.run(lambda t: t.list_members(org_id, limit=2, cursor=cursor))

    page = read(None)
    found = list(page.data)
    while page.next_cursor:
        page = read(page.next_cursor)
        found += page.data

    assert [member.usr_id for member in found] == expected
    assert [o.id for o in client.run(lambda t: t.list_orgs(query="roof")).data] == [org_id]
    held = client.run(lambda t: t.list_tuples_for_object("org", org_id, relation="member"))
    assert {tup.subject_id for tup in held} == set(expected[1:])


def test_a_thousand_grants_are_offered_and_materialized(
    client: Client, clean_engine: Engine
) -> None:
    with Session(clean_engine) as session, session.begin():
        org = make_org(session)
        org_id, inviter = org.id, owner_of(session, org)
    grants = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(MANY)]
    later = datetime.now(UTC) + timedelta(days=1)

    offer = client.run(
        lambda tenancy: tenancy.create_invitation(
            org_id, "new@example.com", Role.GUEST, inviter, later, pre_tuples=grants
        )
    )
    accepted = client.run(lambda tenancy: tenancy.accept_invitation(offer.id))

    assert len(accepted.materialized_tuples) == MANY
    usr_id = accepted.membership.usr_id
    held = client.run(lambda tenancy: tenancy.list_tuples_for_subject("usr", usr_id))
    assert {(t.relation, str(t.object_id)) for t in held if t.object_type == "proj"} == {
        (grant.relation, grant.object_id) for grant in grants
    }


def test_a_refused_operation_leaves_the_callers_transaction_alive(
    client: Client, clean_engine: Engine
) -> None:
    def work(session: Session) -> None:
        tenancy, ann = TenancyRepository(session), make_user(session).id
        tenancy.create_org(ann, slug="kept")
        with pytest.raises(OrgSlugConflictError):
            tenancy.create_org(ann, slug="kept")
        with session.begin_nested() as savepoint:
            tenancy.create_org(ann, slug="undone")
            savepoint.rollback()
        tenancy.create_org(ann, slug="kept-too")

    client.work(work)

    with Session(clean_engine) as session:
        slugs = select(Organization.slug).order_by(Organization.slug)
        assert session.scalars(slugs).all() == ["kept", "kept-too"]


@pytest.mark.parametrize("way", ["run", "alone"])
def test_of_two_owners_who_leave_at_once_one_stays(
    client: Client, clean_engine: Engine, way: str
) -> None:
    with ThreadPoolExecutor(2) as threads:
        for _ in range(RACES):
            with Session(clean_engine) as session, session.begin():
                org = make_org(session)
                make_member(session, org, role=Role.OWNER)
                owners = [m.id for m in TenancyRepository(session).list_members(org.id).data]
            leave = partial(leave_together, getattr(client, way), Barrier(2, timeout=DEADLINE))

            assert sorted(threads.map(leave, owners)) == [DONE, "forbidden.sole_owner"]

    with clean_engine.connect() as connection:
        assert breaches(connection) == []


def leave_together(run: Callable[[Call], object], barrier: Barrier, mem_id: str) -> str:
    def leave(tenancy: Any) -> Any:
        barrier.wait()
        return tenancy.self_leave(mem_id)

    return verdict(lambda: run(leave))


def test_the_doctor_finds_nothing_in_what_was_done(client: Client) -> None:
    def all_of_them(session: Session) -> None:
        for operation in OPERATIONS:
            operation.stage(session)(TenancyRepository(session))

    client.work(all_of_them)

    assert client.work(diagnose) == []
