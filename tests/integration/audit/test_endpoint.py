"""Owners and admins read their organization's events over HTTP, and nobody else does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy.audit import AuditLog
from flametrench_tenancy_sqlalchemy.migrations.grants import grants
from tests.support.endpoints import FRAMEWORKS, Application
from tests.support.web import Ask, Cast, assert_refused

EVENTS = "/orgs/{acme}/events"


@pytest.fixture
def cast(session: Session) -> Cast:
    return Cast(session)


@pytest.fixture(params=FRAMEWORKS)
def ask(request: pytest.FixtureRequest, logged: Connection, cast: Cast) -> Iterator[Ask]:
    with Application.on(request.param, logged, log=True).asked(cast) as ask:
        yield ask


def events(ask: Ask, request: str) -> list[dict[str, Any]]:
    response = ask(request)
    assert response.status_code == 200, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


@pytest.mark.parametrize("caller", ["owner", "admin"])
def test_owners_and_admins_read_it_page_by_page(
    ask: Ask, session: Session, cast: Cast, caller: str
) -> None:
    there = [e.document() for e in AuditLog(session).export(org_id=cast.ids["acme"])]
    read: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        answer = ask(f"{caller} GET {EVENTS}?limit=5{more}").json()
        read, cursor = read + answer["data"], answer["page"]["next_cursor"]
    told = [{name: value for name, value in each.items() if value is not None} for each in read]
    assert told == [
        {name: value for name, value in each.items() if value is not None} for each in there
    ]
    assert {"era", "xid", "pos"}.isdisjoint(read[0])


def test_it_can_be_searched(ask: Ask, cast: Cast) -> None:
    [left] = events(ask, f"owner GET {EVENTS}?action=tenancy.member_rem")
    assert left["target"] == {"kind": "mem", "id": cast.ids["mem:removed"]}
    about = f"owner GET {EVENTS}?newest_first=true&target={cast.ids['mem:removed']}"
    assert [event["action"] for event in events(ask, about)] == [
        *("tenancy.member_removed", "tenancy.member_added")
    ]
    since = left["recorded_at"].replace("+", "%2B")
    assert events(ask, f"owner GET {EVENTS}?since={since}&limit=1") == [left]
    assert_refused(ask(f"owner GET {EVENTS}?cursor=x"), 422, "invalid_id")
    for at in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00"):
        for bound in ("since", "until"):
            refused = ask(f"owner GET {EVENTS}?{bound}={at}")
            assert assert_refused(refused, 409, "precondition.moment_format")["parameter"] == bound


@pytest.mark.parametrize(
    "caller, status, code",
    [
        *((name, 403, "forbidden") for name in ("member", "guest", "viewer", "editor")),
        *((name, 404, "not_found") for name in ("suspended", "removed", "rival", "stranger")),
    ],
)
def test_others_do_not(ask: Ask, caller: str, status: int, code: str) -> None:
    assert_refused(ask(f"{caller} GET {EVENTS}"), status, code)


def test_without_a_log_there_is_no_such_endpoint(logged: Connection, cast: Cast) -> None:
    for framework in FRAMEWORKS:
        with Application.on(framework, logged).asked(cast) as ask:
            assert ask(f"owner GET {EVENTS}").status_code == 404


def test_a_requests_role_reads_it(
    ask: Ask, logged: Connection, session: Session, cast: Cast
) -> None:
    role = "reader_of_events"
    for statement in (f"CREATE ROLE {role}", *grants(role, branches=["audit"])):
        logged.execute(text(statement))
    logged.execute(text(f"SET LOCAL ROLE {role}"))
    assert len(events(ask, f"owner GET {EVENTS}")) > 5
