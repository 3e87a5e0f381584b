"""Events are written, found again, paged and exported, by whoever may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from math import ceil
from typing import Any, Final

import flametrench_audit
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.event import listens_for
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    AuditEvent,
    InvalidIdError,
    LockTimeoutError,
    NotFoundError,
    PoolTimeoutError,
    PreconditionError,
    TenancyError,
    new_id,
)
from flametrench_tenancy_sqlalchemy.aio import AsyncAuditLog
from flametrench_tenancy_sqlalchemy.audit import AuditLog, as_peer, retention
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from tests.integration.conformance.cases import ABSENT, Case, conformance_folder, load_cases
from tests.support.counting import sent
from tests.support.settling import settle
from tests.support.stage import NOW, Stage

FOLDER: Final = conformance_folder()
CASES: Final = load_cases(FOLDER / "audit") if FOLDER else []
ID: Final = "aud_0190f2a81b3c7abc8123456789abcdef"
EVENT: Final = AuditEvent(id=ID)
EAST: Final = timezone(timedelta(hours=14))
AT: Final = "2026-06-05T10:00:00.000Z"
AUTH: Final = {"kind": "session", "session_id": "ses_0190f2a81b3c7abc8123456789abcdef"}


class OfficialLog:
    """The log as the official cases see it: events go in and out as JSON has them."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def write(self, target: dict[str, str], scope: Any = None, **given: Any) -> AuditEvent:
        place = scope and (scope["kind"], scope["id"])
        return self._log.write(target=(target["kind"], target["id"]), scope=place, **given)

    def get(self, id: str) -> dict[str, Any]:  # noqa: A002 - as the cases name it
        return self._log.get(id).document()


@pytest.mark.skipif(FOLDER is None, reason=ABSENT)
def test_the_cases_are_at_hand() -> None:
    assert CASES


if CASES:

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_an_official_case_holds(case: Case, log: AuditLog) -> None:
        variables = {name: new_id("usr") for name in case.users}
        for step in case.steps:
            given = resolved(step["input"], variables)
            log.session.expunge_all()
            result = getattr(OfficialLog(log), step["op"])(**given)
            for name, path in step.get("captures", {}).items():
                variables[name] = getattr(result, path)
            if wanted := resolved(step.get("expected", {}), variables).get("result"):
                assert {name: result[name] for name in wanted} == wanted


def resolved(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: resolved(each, variables) for key, each in value.items()}
    return variables[value[1:-1]] if str(value).startswith("{") else value


@pytest.fixture
def written(stage: Stage, log: AuditLog) -> list[AuditEvent]:
    """Events in one organization, as they come, and some elsewhere between them."""
    org, other = stage.org(), stage.org()
    for n in range(7):
        for place in (org, other):
            log.write("proj.archive", ("proj", f"p{n}"), scope=("org", place.id))
    log.write("proj.archive", ("proj", "nowhere"))
    stage.tenancy.update_org(org.id, name="New")
    return list(log.export(org_id=org.id))


def scope_of(events: list[AuditEvent]) -> str:
    assert events[0].scope is not None
    return events[0].scope[1]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 4, 10, 200])
def test_pages_go_through_an_organization_in_order(
    written: list[AuditEvent], log: AuditLog, limit: int, newest_first: bool
) -> None:
    read, cursor, pages = [], None, 0
    while pages == 0 or (cursor and pages < len(written)):
        page = log.query(
            org_id=scope_of(written), limit=limit, cursor=cursor, newest_first=newest_first
        )
        assert len(page) <= limit
        read += page.data
        cursor, pages = page.next_cursor, pages + 1
    assert (pages, cursor) == (ceil(len(written) / limit), None)
    assert [e.id for e in (read[::-1] if newest_first else read)] == [e.id for e in written]
    assert [e.action for e in written] == [
        *("tenancy.org_created", "tenancy.member_added"),
        *["proj.archive"] * 7,
        "tenancy.org_updated",
    ]


def test_a_cursor_tells_nothing_of_what_goes_on_elsewhere(
    written: list[AuditEvent], log: AuditLog
) -> None:
    [first, second] = log.query(org_id=scope_of(written), limit=2)
    cursor = log.query(org_id=scope_of(written), limit=1).next_cursor
    assert cursor is not None
    id_, microseconds = cursor.split(".")
    assert id_ == first.id
    at = datetime.fromtimestamp(int(microseconds) // 10**6, first.recorded_at.tzinfo)
    assert at + timedelta(microseconds=int(microseconds) % 10**6) == first.recorded_at
    assert {str(second.xid), str(second.pos)}.isdisjoint(cursor.split("."))


def test_events_are_found_by_all_that_is_named(
    stage: Stage, written: list[AuditEvent], log: AuditLog
) -> None:
    org_id, actor = scope_of(written), stage.user()
    mine = log.write("proj.open", ("proj", "p1"), actor_usr_id=actor, scope=("org", org_id))
    log.write("proj%open", ("proj", "p2"))

    def found(**which: Any) -> list[AuditEvent]:
        assert log.count(**which) == len(list(log.export(**which)))
        return log.query(limit=200, **which).data

    assert found(actor=actor) == [mine]
    assert found(actor=actor, org_id=org_id, target="p1", action="proj.") == [mine]
    assert found(action="proj.o") == [mine]
    assert found(action="tenancy.", org_id=org_id) == [
        e for e in written if e.action.startswith("tenancy.")
    ]
    assert {e.target_id for e in found(target="p3")} == {"p3"}
    middle = written[4].recorded_at
    assert found(org_id=org_id, until=middle) == written[:4]
    assert found(org_id=org_id, since=middle) == [*written[4:], mine]


def test_an_export_is_one_statement_that_is_read_bit_by_bit(stage: Stage, log: AuditLog) -> None:
    stage.session.execute(
        text(
            "INSERT INTO aud (occurred_at, action, target_kind, target_id) "
            "SELECT now(), 'proj.open', 'proj', CAST(n AS text) FROM generate_series(1, 2500) n"
        )
    )
    with sent(stage.session) as statements:
        exported = log.export(action="proj.")
        first = next(exported)
        assert len(stage.session.identity_map) < 1500
        rest = [(event.recorded_at, event.id) for event in exported]
    assert len(statements) == 1
    assert len(rest) == 2499
    assert all(one < other for one, other in pairwise([(first.recorded_at, first.id), *rest]))


def test_what_is_written_is_what_was_told(stage: Stage, log: AuditLog) -> None:
    org_id, usr_id = stage.org().id, stage.user()
    event = log.write(
        "proj.archive",
        ("proj", "Ünï 42"),
        actor_usr_id=usr_id,
        auth=AUTH,
        on_behalf={"agent_id": "assistant"},
        scope=("org", org_id),
        outcome="pending",
        metadata={"deep": [1, {"null": None}], "text": "\N{PARTY POPPER} \\u0000"},
        context={"request_id": "r", "ip": "192.0.2.1"},
    )
    stage.session.flush()
    stage.session.expunge_all()
    again = log.get(event.id)
    assert again is not event
    assert again.occurred_at == NOW
    assert again.document() == {
        "id": event.id,
        "occurred_at": NOW.isoformat().replace("+00:00", "Z"),
        "recorded_at": again.recorded_at.isoformat().replace("+00:00", "Z"),
        "actor_usr_id": usr_id,
        "auth": AUTH,
        "on_behalf": {"agent_id": "assistant"},
        "action": "proj.archive",
        "target": {"kind": "proj", "id": "Ünï 42"},
        "scope": {"kind": "org", "id": org_id},
        "outcome": "pending",
        "metadata": {"deep": [1, {"null": None}], "text": "\N{PARTY POPPER} \\u0000"},
        "context": {"request_id": "r", "ip": "192.0.2.1"},
    }


def test_an_event_is_one_of_the_peers(log: AuditLog, stage: Stage) -> None:
    usr_id, org_id = stage.user(), stage.org().id
    event = log.write(
        *("proj.archive", ("proj", "42")),
        occurred_at=AT,
        actor_usr_id=usr_id,
        auth=AUTH,
        on_behalf={"agent_id": "assistant"},
        scope=("org", org_id),
        metadata={"a": 1},
        context={"ip": "192.0.2.1"},
    )
    assert as_peer(event) == flametrench_audit.AuditEvent(
        id=event.id,
        occurred_at=AT,
        recorded_at=event.recorded_at,
        actor_usr_id=usr_id,
        action="proj.archive",
        target=flametrench_audit.Target("proj", "42"),
        outcome=flametrench_audit.Outcome.SUCCESS,
        metadata={"a": 1},
        auth=flametrench_audit.AuthInfo(**AUTH),
        on_behalf=flametrench_audit.OnBehalf("assistant"),
        scope=flametrench_audit.Scope("org", org_id),
        context=flametrench_audit.AuditContext(ip="192.0.2.1"),
    )
    bare = as_peer(log.write("proj.archive", ("proj", "42")))
    assert (bare.auth, bare.on_behalf, bare.scope, bare.context) == (None,) * 4


BAD: Final[dict[str, tuple[Callable[[AuditLog], object], type[TenancyError], str, str]]] = {
    "reserved": (
        lambda log: log.write("tenancy.org_created", ("org", new_id("org"))),
        *(PreconditionError, "precondition.action_reserved", ""),
    ),
    "large as the server writes it": (
        lambda log: log.write("a", ("proj", "1"), metadata={"n": [1e300] * 300}),
        *(PreconditionError, "precondition.event_size", ""),
    ),
    "get": (lambda log: log.get(new_id("org")), InvalidIdError, "invalid_id", "id"),
    "get nothing": (lambda log: log.get(new_id("aud")), NotFoundError, "not_found", "id"),
    "org": (lambda log: log.query(org_id="x"), InvalidIdError, "invalid_id", "org_id"),
    "actor": (lambda log: log.count(actor=new_id("org")), InvalidIdError, "invalid_id", "actor"),
    "action": (
        lambda log: log.query(action=""),
        *(PreconditionError, "precondition.action_format", "action"),
    ),
    "target": (
        lambda log: log.export(target="\0"),
        *(PreconditionError, "precondition.target_format", "target"),
    ),
    "since": (
        lambda log: log.query(since=NOW.replace(tzinfo=None)),
        *(PreconditionError, "precondition.moment_format", "since"),
    ),
    **{
        f"{bound} {at}": (
            lambda log, at=at, bound=bound: log.query(**{bound: at}),  # type: ignore[misc]
            *(PreconditionError, "precondition.moment_format", bound),
        )
        for bound in ("since", "until")
        for at in (datetime.min.replace(tzinfo=EAST), datetime.max.replace(tzinfo=UTC))
    },
    "limit": (
        lambda log: log.query(limit="1"),  # type: ignore[arg-type]
        *(PreconditionError, "precondition.limit_format", "limit"),
    ),
    **{
        f"cursor {cursor}": (
            lambda log, cursor=cursor: log.query(cursor=cursor),  # type: ignore[misc]
            *(InvalidIdError, "invalid_id", "cursor"),
        )
        for cursor in ("", "x", ID, f"{ID}.", f"{ID}.1e9", f"{ID}.{'9' * 30}", f"org{ID[3:]}.1")
    },
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_named_and_the_transaction_goes_on(
    bad: str, stage: Stage, log: AuditLog
) -> None:
    act, error, code, parameter = BAD[bad]
    with pytest.raises(error) as refusal:
        act(log)
    assert refusal.value.code == code
    assert refusal.value.details.get("parameter", "") == parameter
    stage.session.execute(text("SELECT 1"))


ASKING: Final[list[Callable[[AuditLog], object]]] = [
    lambda log: log.write("proj.archive", ("proj", "42")),
    lambda log: log.query(),
    lambda log: log.export(),
    lambda log: log.follow("mail"),
    lambda log: log.timeline(new_id("org")),
    lambda log: retention.months(log.session),
    lambda log: diagnose(log.session),
]


def test_where_no_connection_is_to_be_had_the_log_says_so(clean_engine: Engine) -> None:
    engine = create_engine(clean_engine.url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), Session(engine) as session:
        for ask in ASKING:
            with pytest.raises(PoolTimeoutError):
                ask(AuditLog(session))
    engine.dispose()


@pytest.mark.parametrize(
    "write", [ASKING[0], lambda log: log.follow("mail"), lambda log: log.skip("mail", EVENT, "")]
)
def test_where_a_lock_is_not_to_be_had_the_log_says_so(
    clean_engine: Engine, write: Callable[[AuditLog], object]
) -> None:
    with Session(clean_engine) as session, clean_engine.connect() as other:
        other.execute(text("LOCK aud, aud_consumer, aud_skipped"))
        session.execute(text("SET LOCAL lock_timeout = '20ms'"))
        with pytest.raises(LockTimeoutError):
            write(AuditLog(session))


def test_the_log_is_read_and_followed_in_async_code(clean_engine: Engine) -> None:
    url = clean_engine.url.set(drivername="postgresql+asyncpg")

    async def run() -> None:
        engine = create_async_engine(url)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            log = AsyncAuditLog(session)
            event = await log.write("proj.archive", ("proj", "42"), metadata={"a": [1]})
            await session.commit()
            assert [e.id async for e in log.export()] == [event.id]
            assert (await log.query()).data == [event]
            assert await log.count(action="proj") == 1
            assert (await log.lag("mail")).events == 1
            await asyncio.to_thread(settle, clean_engine)
            [followed] = await log.follow("mail")
            assert (followed.id, followed.metadata_) == (event.id, {"a": [1]})
            await session.commit()
            assert await log.follow("mail") == []
            await log.skip("mail", followed, "why")
            with pytest.raises(NotFoundError):
                await log.members_at(new_id("org"), NOW)
            with pytest.raises(NotFoundError):
                _ = [span async for span in log.timeline(new_id("org"))]
        await engine.dispose()

    asyncio.run(run())


@pytest.mark.parametrize("way", ["search_path", "schema_translate_map"])
def test_the_tables_may_be_in_another_schema(way: str, new_database: Callable[[], Any]) -> None:
    url, schema = new_database(), "Ten ancy"
    upgrade(url, schema=schema, branches=["audit"])
    engine = create_engine(url)
    if way == "schema_translate_map":
        engine = engine.execution_options(schema_translate_map={None: schema})
    else:
        listens_for(engine, "begin")(
            lambda connection: connection.execute(text(f'SET LOCAL search_path = "{schema}"'))
        )
    with Session(engine) as session, session.begin():
        log = AuditLog(session)
        event = log.write("proj.archive", ("proj", "42"))
        org = Stage(session).org()
        assert log.get(event.id) is event
        assert log.members_at(org.id, NOW).roles
    settle(engine)
    with Session(engine) as session, session.begin():
        assert len(AuditLog(session).follow("mail")) == 3
    engine.dispose()
