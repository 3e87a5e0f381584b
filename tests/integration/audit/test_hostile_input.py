"""Whatever the log is given, of any type and size: a typed error, little memory, no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from inspect import signature
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from flametrench_tenancy_sqlalchemy import AuditEvent, AuditLog, audit_context
from flametrench_tenancy_sqlalchemy.audit import retention
from flametrench_tenancy_sqlalchemy.contrib._endpoints import LOG_ENDPOINTS
from tests.support.calls import Arguments
from tests.support.endpoints import FRAMEWORKS, Application
from tests.support.hostile import HOSTILE, anything, assert_answered, attempt, hostile_requests
from tests.support.stage import Stage
from tests.support.web import Ask, Cast

WHICH: Final = ("org_id", "actor", "action", "target", "since", "until")


def _in_context(stage: Stage, **context: Any) -> None:
    with audit_context(**context):
        stage.tenancy.update_org(stage.org().id, name="Acme")


def _months_after(stage: Stage, ahead: Any) -> int:
    return retention.add_months(stage.session, ahead=ahead)


# What is called with a stage, and with which arguments it is content.
CALLS: Final[dict[Callable[..., Any], Callable[[Stage], Arguments]]] = {
    AuditLog.write: lambda _: {"action": "proj.archive", "target": ("proj", "7")},
    AuditLog.get: lambda stage: {"id": stage.session.scalars(select(AuditEvent.id)).first()},
    AuditLog.query: lambda _: {},
    AuditLog.count: lambda _: {},
    AuditLog.export: lambda _: {},
    AuditLog.follow: lambda _: {"consumer": "mails"},
    AuditLog.behind: lambda stage: {"event": stage.session.scalars(select(AuditEvent)).first()},
    AuditLog.skip: lambda stage: {
        "consumer": "mails",
        "event": stage.session.scalars(select(AuditEvent)).first(),
        "error": "it is too large",
    },
    AuditLog.lag: lambda _: {"consumer": "mails"},
    AuditLog.members_at: lambda stage: {"org_id": stage.org().id, "at": stage.clock.now},
    AuditLog.role_at: lambda stage: {
        "org_id": stage.org().id,
        "usr_id": stage.user(),
        "at": stage.clock.now + timedelta(days=1),
    },
    AuditLog.timeline: lambda stage: {"org_id": stage.org().id},
    _in_context: lambda _: {},
    _months_after: lambda _: {"ahead": 0},
    retention.expired: lambda stage: {"before": stage.clock.now},
    retention.drop_months: lambda _: {"names": []},
    retention.forget_context: lambda stage: {"before": stage.clock.now},
}


def parameters(call: Callable[..., Any]) -> list[str]:
    """Return the names of what a call can be given."""
    names = [*signature(call).parameters][1:]
    if call is _in_context:
        return ["auth", "context"]
    return [*names[:-1], *WHICH] if "which" in names else names


def test_no_method_is_forgotten() -> None:
    public = {name for name in dir(AuditLog) if not name.startswith("_")} - {"session"}
    assert public <= {call.__name__ for call in CALLS}


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("call", CALLS, ids=lambda each: each.__name__.strip("_"))
@settings(HOSTILE, max_examples=25)
@given(data=st.data())
def test_hostile_arguments_get_a_typed_error_and_leave_no_trace(
    call: Callable[..., Any], data: st.DataObject, stage: Stage, log: AuditLog
) -> None:
    names = st.sampled_from(parameters(call))
    spoiled = data.draw(st.dictionaries(names, anything, max_size=3))
    savepoint = stage.session.begin_nested()
    stage.org()
    on: Any = log if call.__qualname__.startswith(("Events", "Feed", "History")) else stage
    arguments = CALLS[call](stage) | spoiled
    if on is stage and call.__module__ == retention.__name__:
        on = stage.session
    count = select(func.count()).select_from(AuditEvent)
    before = stage.session.scalar(count)

    def run() -> Any:
        outcome = call(on, **arguments)
        return list(outcome) if isinstance(outcome, Iterator) else outcome

    refusal = attempt(stage, run)
    assert spoiled or refusal is None
    assert refusal is None or stage.session.scalar(count) == before
    savepoint.rollback()


@pytest.fixture(params=FRAMEWORKS)
def ask(request: pytest.FixtureRequest, logged: Connection, cast: Cast) -> Iterator[Ask]:
    with Application.on(request.param, logged, log=True).asked(cast) as ask:
        yield ask


@pytest.fixture
def cast(stage: Stage) -> Cast:
    return Cast(stage.session)


@pytest.mark.parametrize("endpoint", LOG_ENDPOINTS, ids=lambda each: each.name)
@settings(HOSTILE, max_examples=40)
@given(data=st.data())
def test_a_hostile_request_is_answered(
    endpoint: Any, data: st.DataObject, ask: Ask, cast: Cast
) -> None:
    path, options = data.draw(hostile_requests(endpoint, sorted(cast.ids.values())))
    caller = data.draw(st.sampled_from(["owner", "stranger"]))
    assert_answered(ask(f"{caller} {endpoint.method} {path}", **options))
