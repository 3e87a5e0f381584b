"""Whatever the log is given, of any type and size: a typed error, little memory, no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from flametrench_tenancy_sqlalchemy import audit_context, new_id
from flametrench_tenancy_sqlalchemy.audit import AuditLog, retention
from flametrench_tenancy_sqlalchemy.contrib._endpoints import LOG_ENDPOINTS, Endpoint
from tests.support.endpoints import FRAMEWORKS, Application
from tests.support.hostile import FEW, anything, assert_answered, hostile_requests, survived
from tests.support.stage import NOW, Stage
from tests.support.web import Ask, Cast

WHICH: Final = {
    "org_id": new_id("org"),
    "actor": new_id("usr"),
    "action": "proj.",
    "target": "42",
    "since": NOW,
    "until": NOW,
}
ACTOR: Final = {
    "auth": {"kind": "pat", "pat_id": "1"},
    "on_behalf": {"agent_id": "1"},
    "context": {"ip": "192.0.2.1"},
}
EVENT: Final = ACTOR | {
    "action": "proj.archive",
    "target": ("proj", "42"),
    "occurred_at": NOW,
    "actor_usr_id": new_id("usr"),
    "scope": ("org", new_id("org")),
    "outcome": "denied",
    "metadata": {"a": 1},
}


def around(log: AuditLog, **given: Any) -> None:
    with audit_context(**given):
        Stage(log.session).org()  # type: ignore[arg-type]


def acting(log: AuditLog, **given: Any) -> None:
    Stage(log.session).tenancy.acting_as(**given).create_org()  # type: ignore[arg-type]


def skipping(log: AuditLog, event: Any, **given: Any) -> None:
    if event is None:
        event = log.write("proj.archive", ("proj", "42"))
    log.skip(event=event, **given)


# What is called, and with what when all is well.
CALLS: Final[dict[str, tuple[Callable[..., Any], dict[str, Any]]]] = {
    "write": (AuditLog.write, EVENT),
    "get": (lambda log, id: log.get(id), {"id": new_id("aud")}),  # noqa: A006 - its name
    "query": (AuditLog.query, WHICH | {"cursor": None, "limit": 1, "newest_first": True}),
    "count": (AuditLog.count, WHICH),
    "export": (AuditLog.export, WHICH),
    "follow": (AuditLog.follow, {"consumer": "mail", "limit": 1}),
    "behind": (AuditLog.behind, WHICH | {"event": None, "limit": 1}),
    "skip": (skipping, {"consumer": "mail", "event": None, "error": "it is too large"}),
    "lag": (AuditLog.lag, {"consumer": "mail"}),
    "members_at": (AuditLog.members_at, {"org_id": new_id("org"), "at": NOW}),
    "role_at": (AuditLog.role_at, {"org_id": new_id("org"), "usr_id": new_id("usr"), "at": NOW}),
    "timeline": (AuditLog.timeline, {"org_id": new_id("org"), "usr_id": new_id("usr")}),
    "audit_context": (around, {name: ACTOR[name] for name in ("auth", "context")}),
    "acting_as": (acting, ACTOR | {"usr_id": new_id("usr")}),
    "expired": (lambda log, before: retention.expired(log.session, before=before), {"before": NOW}),
    "forget_context": (
        lambda log, before: retention.forget_context(log.session, before=before),
        {"before": NOW},
    ),
    "drop_months": (
        lambda log, names: retention.drop_months(log.session, names),
        {"names": ["aud_default"]},
    ),
    "add_months": (
        lambda log, ahead: retention.add_months(log.session, ahead=ahead),
        {"ahead": 0},
    ),
}


@pytest.mark.parametrize("operation", CALLS)
@FEW
@given(data=st.data())
def test_hostile_arguments_get_a_typed_error_and_leave_no_trace(
    operation: str, data: st.DataObject, stage: Stage, log: AuditLog
) -> None:
    perform, good = CALLS[operation]
    spoiled = data.draw(st.dictionaries(st.sampled_from(sorted(good)), anything, max_size=3))
    savepoint = stage.session.begin_nested()

    def act() -> None:
        outcome = perform(log, **good | spoiled)
        if isinstance(outcome, Iterator):
            list(outcome)

    with survived(stage.session) as survives:
        survives(act)
    savepoint.rollback()


def test_no_method_is_forgotten() -> None:
    public = {name for name in dir(AuditLog) if not name.startswith("_")} - {"session"}
    assert public <= set(CALLS)


@pytest.fixture(params=FRAMEWORKS)
def ask(request: pytest.FixtureRequest, logged: Connection, cast: Cast) -> Iterator[Ask]:
    with Application.on(request.param, logged, log=True).asked(cast) as ask:
        yield ask


@pytest.fixture
def cast(stage: Stage) -> Cast:
    return Cast(stage.session)


@pytest.mark.parametrize("endpoint", LOG_ENDPOINTS, ids=lambda each: each.name)
@settings(FEW, max_examples=40)
@given(data=st.data())
def test_a_hostile_request_is_answered(
    endpoint: Endpoint, data: st.DataObject, ask: Ask, cast: Cast
) -> None:
    path, options = data.draw(hostile_requests(endpoint, sorted(cast.ids.values())))
    caller = data.draw(st.sampled_from(["owner", "stranger"]))
    assert_answered(ask(f"{caller} {endpoint.method} {path}", **options))
