"""OpenTelemetry: a span for each operation, through whichever door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    Policy,
    TenancyChange,
    TenancyError,
    TenancyRepository,
    TenancyStore,
)
from flametrench_tenancy_sqlalchemy.aio import AsyncTenancyRepository, AsyncTenancyStore
from flametrench_tenancy_sqlalchemy.contrib import opentelemetry
from tests.support.calls import CALLS, call
from tests.support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.support.guides import Reader


class Spans:
    """What has been traced."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def taken(self) -> list[Any]:
        spans = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return spans

    def told(self) -> list[tuple[str, dict[str, str]]]:
        return [(span.name, dict(span.attributes)) for span in self.taken()]


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    opentelemetry.instrument(tracer_provider=spans.provider)
    yield spans
    opentelemetry.uninstrument()


@pytest.mark.parametrize("operation", CALLS)
def test_every_operation_is_one_span(spans: Spans, session: Session, operation: str) -> None:
    stage = Stage(session)
    arguments = CALLS[operation](stage)
    spans.taken()

    call(TenancyRepository(session, clock=stage.clock), operation, arguments)

    [(name, attributes)] = spans.told()
    assert name == f"tenancy.{operation}"
    assert attributes["tenancy.outcome"] == "ok"
    if "org_id" in arguments:
        assert attributes["tenancy.org_id"] == arguments["org_id"]


def test_it_names_the_organization_that_only_the_result_knows(
    spans: Spans, session: Session
) -> None:
    stage = Stage(session)
    tenancy = TenancyRepository(session, clock=stage.clock)
    offer = stage.invitation(stage.org())
    creator = stage.user()
    spans.taken()
    accepted = tenancy.accept_invitation(offer.id)
    org = tenancy.create_org(creator, slug="acme").org
    assert tenancy.get_org_by_slug("acme") is org
    told = [attributes["tenancy.org_id"] for _, attributes in spans.told()]
    assert told == [accepted.membership.org_id, org.id, org.id]


def test_a_refusal_is_an_outcome(spans: Spans, session: Session) -> None:
    stage = Stage(session)
    org = stage.org()
    owner = stage.owner(org)
    spans.taken()

    with pytest.raises(TenancyError):
        TenancyRepository(session).self_leave(owner.id)

    [refused] = spans.taken()
    assert refused.attributes["tenancy.outcome"] == "forbidden.sole_owner"
    assert refused.attributes["tenancy.org_id"] == org.id
    assert refused.status.status_code is StatusCode.UNSET
    assert refused.events == ()


def test_what_fails_otherwise_is_an_error_that_repeats_nothing(
    spans: Spans, clean_engine: Engine
) -> None:
    with Session(clean_engine) as session:
        raw = session.connection().connection.driver_connection
        assert raw is not None
        raw.close()
        with pytest.raises(OperationalError):
            TenancyRepository(session).list_invitations_for("newbie@example.com")
    [failed] = spans.taken()
    assert failed.attributes["tenancy.outcome"] == "OperationalError"
    assert failed.status.status_code is StatusCode.ERROR
    assert "newbie" not in failed.to_json()


def test_what_follows_in_an_operation_is_a_span_within(spans: Spans, session: Session) -> None:
    stage = Stage(session)
    org_id = stage.org().id

    def look(session: Session, _: TenancyChange) -> None:
        TenancyRepository(session).get_org(org_id)

    spans.taken()
    TenancyRepository(session, policy=Policy(on_change=look)).suspend_org(org_id)
    within, around = spans.taken()
    assert (within.name, around.name) == ("tenancy.get_org", "tenancy.suspend_org")
    assert within.parent == around.context


def test_through_every_door_it_is_one_span(spans: Spans, clean_engine: Engine) -> None:
    with Session(clean_engine) as session, session.begin():
        stage = Stage(session)
        org = stage.org()
        owner = stage.owner(org)
        org_id, usr_id = org.id, owner.usr_id
    spans.taken()
    store = TenancyStore(sessionmaker(clean_engine))
    with Session(clean_engine) as session:
        TenancyRepository(session).update_org(org_id, name="A")
        TenancyRepository(session).acting_as(usr_id).update_org(org_id, name="B")
        session.commit()
    store.update_org(org_id, name="C")
    store.acting_as(usr_id).update_org(org_id, name="D")
    asyncio.run(awaited(clean_engine, org_id, usr_id))

    told = spans.told()
    expected = {"tenancy.org_id": org_id, "tenancy.outcome": "ok"}
    acting = expected | {"tenancy.actor": usr_id}
    assert told == [("tenancy.update_org", each) for each in [expected, acting] * 4]


async def awaited(engine: Engine, org_id: str, usr_id: str) -> None:
    awaiting = create_async_engine(engine.url)
    sessions = async_sessionmaker(awaiting)
    async with sessions.begin() as session:
        tenancy = AsyncTenancyRepository(session)
        await tenancy.update_org(org_id, name="E")
        await tenancy.acting_as(usr_id).update_org(org_id, name="F")
    store = AsyncTenancyStore(sessions)
    await store.update_org(org_id, name="G")
    await store.acting_as(usr_id).update_org(org_id, name="H")
    await awaiting.dispose()


def test_side_by_side_each_has_its_own(spans: Spans, clean_engine: Engine) -> None:
    with Session(clean_engine) as session, session.begin():
        orgs = [Stage(session).org().id for _ in range(4)]
    spans.taken()

    async def all_at_once() -> None:
        awaiting = create_async_engine(clean_engine.url)
        store = AsyncTenancyStore(async_sessionmaker(awaiting))
        await asyncio.gather(*(store.get_org(org_id) for org_id in orgs))
        await awaiting.dispose()

    asyncio.run(all_at_once())
    assert {a["tenancy.org_id"] for _, a in spans.told()} == set(orgs)


def test_taken_away_again_nothing_is_left_of_it(session: Session) -> None:
    faces = [cls for face in opentelemetry._faces() for cls in face.__mro__]
    before = [dict(vars(face)) for face in faces]
    former, spans = Spans(), Spans()
    opentelemetry.instrument(tracer_provider=former.provider)
    opentelemetry.instrument(tracer_provider=spans.provider)
    Stage(session).org()
    assert (len(former.taken()), len(spans.taken())) == (0, 1)
    opentelemetry.uninstrument()
    assert [dict(vars(face)) for face in faces] == before
    assert "get_org" not in vars(TenancyRepository), "it is inherited"
    Stage(session).org()
    assert spans.taken() == []


def test_the_spans_of_statements_are_its_children(follow: Callable[[str], Reader]) -> None:
    spans = Spans()
    trace.set_tracer_provider(spans.provider)  # once in a process
    try:
        here = follow("opentelemetry").here
        with here["sessions"].begin() as session:
            TenancyRepository(session).update_org(here["acme"], name="New")
    finally:
        opentelemetry.uninstrument()
        SQLAlchemyInstrumentor().uninstrument()

    taken = spans.taken()
    [operation] = [span for span in taken if span.name == "tenancy.update_org"]
    children = [span.attributes for span in taken if span.parent == operation.context]
    sent = [span["db.statement"].split()[0] for span in children if "db.statement" in span]
    # The UPDATE tells who acts, in front of it.
    assert sent == ["SELECT", "SAVEPOINT", "SELECT", "WITH", "RELEASE"]
