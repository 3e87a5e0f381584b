"""What has been recorded stays as it is, is well-formed, and shows nobody more than their own."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, create_engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    AuditEvent,
    AuditOutcome,
    NotFoundError,
    PreconditionError,
    TenancyRepository,
    new_id,
)
from flametrench_tenancy_sqlalchemy._integrity import broken_rule, constraint_name
from flametrench_tenancy_sqlalchemy.audit import AuditLog
from flametrench_tenancy_sqlalchemy.audit.retention import (
    add_months,
    drop_months,
    expired,
    forget_context,
    months,
)
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.migrations.grants import grants
from flametrench_tenancy_sqlalchemy.models.audit_document import event_document
from flametrench_tenancy_sqlalchemy.writing.events import write_events
from tests.support.log import mark
from tests.support.raw import run, turn, withdraw
from tests.support.scenes import Scene, stage

NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
FIRST: Final = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
LAST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
NO_MOMENTS: Final = [
    NOW.replace(tzinfo=None),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=UTC),  # which has no date where a server is in the east
]


@pytest.fixture
def scene(logged: Connection) -> Scene:
    """A scene with one event."""
    (scene,) = stage(logged)
    run(logged, scene, turn("eve@acme", "suspended"), withdraw("eve"))
    return scene


def insert(connection: Connection, **columns: Any) -> None:
    """Insert an event, as only the owner can."""
    row = {"occurred_at": NOW, "action": "doc.read", "target_kind": "doc", "target_id": "d-1"}
    row |= columns
    values = ", ".join(
        f"CAST(:{name} AS jsonb)"
        if name in {"auth", "on_behalf", "metadata", "context"}
        else f"CAST(:{name} AS uuid)"
        if name == "actor_usr_id"
        else f":{name}"
        for name in row
    )
    statement = text(f"INSERT INTO aud ({', '.join(row)}) VALUES ({values})")
    given = {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()}
    connection.execute(statement, given)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE aud SET action = 'x'",
        "UPDATE aud SET metadata = '{{}}'",
        "UPDATE aud SET context = NULL",
        "UPDATE aud_{month} SET actor_usr_id = NULL",
        "DELETE FROM aud",
        "DELETE FROM aud_{month}",
        "TRUNCATE aud",
        "TRUNCATE aud_{month}",
        *(f"TRUNCATE aud_{part}" for part in ("default", "consumer", "skipped", "era")),
        "SET LOCAL tenancy.forget_context = on; UPDATE aud SET context = NULL, outcome = 'failure'",
        "SET LOCAL tenancy.forget_context = on; UPDATE aud SET context = '{{}}'",
    ],
)
def test_an_event_never_changes(statement: str, logged: Connection, scene: Scene) -> None:
    month = datetime.now(UTC).strftime("%Y_%m")
    with pytest.raises(DBAPIError, match=r"an event never changes|go around the rules"):
        run(logged, scene, statement.format(month=month))


def test_a_test_may_empty_it(logged: Connection, scene: Scene) -> None:
    run(logged, scene, "SET LOCAL tenancy.allow_truncate = on", "TRUNCATE aud")
    assert mark(logged) == 0


SYSTEM: Final = {"kind": "system", "system_id": "cron"}


@pytest.mark.parametrize(
    "constraint, columns",
    [
        ("aud_action_check", {"action": ""}),
        ("aud_target_kind_check", {"target_kind": "document"}),
        ("aud_scope_check", {"scope_kind": "org"}),
        ("aud_outcome_check", {"outcome": "maybe"}),
        ("aud_auth_check", {"auth": {"kind": "password", "password_id": "x"}}),
        ("aud_auth_check", {"auth": {"kind": "pat", "session_id": "ses_1"}}),
        ("aud_auth_check", {"auth": {"kind": "pat", "pat_id": "p", "session_id": "s"}}),
        ("aud_auth_check", {"auth": {"pat_id": "p"}}),
        ("aud_actor_check", {"auth": SYSTEM, "actor_usr_id": new_id("usr")[4:]}),
        ("aud_on_behalf_check", {"on_behalf": {"agent_id": "a", "mcp": True}}),
        ("aud_on_behalf_check", {"on_behalf": {}}),
        ("aud_metadata_check", {"metadata": [1]}),
        ("aud_context_check", {"context": [1]}),
        ("aud_size_check", {"metadata": {"diff": "x" * 65536}}),
    ],
)
def test_the_specifications_constraints_hold_for_everybody(
    constraint: str, columns: dict[str, Any], logged: Connection
) -> None:
    with pytest.raises(DBAPIError) as caught:
        insert(logged, **columns)
    assert constraint_name(caught.value) == constraint


def test_an_event_may_lack_all_that_is_optional_and_have_all_of_it(logged: Connection) -> None:
    insert(logged)
    insert(logged, auth=SYSTEM, on_behalf={"agent_id": "a"}, context={"ip": "192.0.2.1"})
    insert(logged, metadata={"diff": "x" * 65000}, outcome="pending")


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"action": ""}, "action_format"),
        ({"action": "a\x00"}, "action_format"),
        ({"target": ("document", "1")}, "type_format"),
        ({"target": ("doc", "")}, "target_format"),
        ({"target": "doc"}, "target_format"),
        ({"scope": ("org",)}, "scope_format"),
        ({"outcome": "maybe"}, "status_format"),
        ({"occurred_at": "yesterday"}, "occurred_at_format"),
        *(({"occurred_at": moment}, "occurred_at_format") for moment in NO_MOMENTS),
        ({"occurred_at": "2026-03-01\x0012:00Z"}, "occurred_at_format"),
        ({"occurred_at": "2026-03-01\ud80012:00Z"}, "occurred_at_format"),
        ({"target": ("doc", "x" * 601)}, "target_format"),
        ({"scope": ("proj", "x" * 601)}, "scope_format"),
        ({"auth": SYSTEM, "actor_usr_id": new_id("usr")}, "auth_format"),
        ({"metadata": {"x": object()}}, "metadata_format"),
        ({"metadata": {"x": "\x00"}}, "metadata_format"),
        ({"metadata": {"x": float("nan")}}, "metadata_format"),
        ({"metadata": {"diff": "x" * 65536}}, "event_size"),
        ({"context": {"ip": "x" * 65536}}, "event_size"),
        ({"auth": {"kind": "pat", "pat_id": "x" * 65536}}, "event_size"),
        ({"on_behalf": {"agent_id": "x" * 65536}}, "event_size"),
    ],
)
def test_what_cannot_be_an_event_is_refused_before_the_database(
    change: dict[str, Any], reason: str
) -> None:
    given: dict[str, Any] = {"action": "doc.read", "target": ("doc", "1"), "occurred_at": NOW}
    with pytest.raises(PreconditionError) as caught:
        event_document(**given | change)
    assert caught.value.reason == reason


def test_an_applications_event_comes_back_in_its_own_words(session: Session) -> None:
    document = event_document(
        *("proj.archive", ("proj", "legacy-project-42")),
        occurred_at="2026-06-05T13:00:00.000Z",
        actor_usr_id=new_id("usr"),
        scope=("org", new_id("org")),
    )
    (written,) = write_events(session, [document])
    session.expire_all()
    event = session.scalars(select(AuditEvent).where(AuditEvent.id == written.id)).one()
    assert (event.occurred_as, event.target_id) == (
        "2026-06-05T13:00:00.000Z",
        "legacy-project-42",
    )
    assert event.occurred_at == datetime(2026, 6, 5, 13, tzinfo=UTC)
    assert abs(event.recorded_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_longest_target_that_an_event_may_have_is_found_again(session: Session) -> None:
    # Four bytes each, and different enough to resist compression.
    longest = "".join(chr(secrets.randbelow(0xFFFF) + 0x10000) for _ in range(600))
    written = AuditLog(session).write("doc.read", ("doc", longest), scope=("proj", longest))
    assert AuditLog(session).query(target=longest).data == [written]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
@pytest.mark.parametrize("at", [FIRST, LAST])
def test_any_moment_is_read_wherever_the_server_is(
    session: Session, at: datetime, zone: str
) -> None:
    session.execute(text(f"SET LOCAL TimeZone = '{zone}'"))
    log = AuditLog(session)
    written = log.write("doc.read", ("doc", "1"), occurred_at=at)
    session.expunge_all()
    assert log.get(written.id).occurred_at == at
    assert log.count(since=at, until=at) == 0


def test_an_offset_of_seconds_is_a_timezone_too(session: Session) -> None:
    at = NOW.astimezone(timezone(timedelta(seconds=3601, microseconds=5)))
    assert AuditLog(session).write("doc.read", ("doc", "1"), occurred_at=at).occurred_at == at


@pytest.mark.parametrize("outcome", AuditOutcome)
def test_nobody_forges_what_happens_itself(outcome: AuditOutcome, session: Session) -> None:
    """History would be told by it, whatever its outcome."""
    document = event_document(
        "tenancy.member_suspended", ("mem", new_id("mem")), occurred_at=NOW, outcome=outcome
    )
    with pytest.raises(DBAPIError) as caught:
        write_events(session, [document])
    error = broken_rule(caught.value)
    assert isinstance(error, PreconditionError)
    assert error.reason == "action_reserved"


def test_ids_are_of_version_7_by_the_time_and_otherwise_random(logged: Connection) -> None:
    for _ in range(20):
        insert(logged)
    rows = logged.execute(text("SELECT id, recorded_at FROM aud ORDER BY pos")).all()
    for id_, recorded_at in rows:
        assert (id_.version, id_.variant) == (7, "specified in RFC 4122")
        assert abs((id_.int >> 80) - recorded_at.timestamp() * 1000) < 1000
    low = [id_.int & (1 << 74) - 1 for id_, _ in rows]
    assert sorted(low) != low
    assert len({each >> 64 for each in low}) > 1


def test_if_it_cannot_be_recorded_it_does_not_happen(session: Session, scene: Scene) -> None:
    run(session.connection(), scene, "ALTER TABLE aud ADD CONSTRAINT full_ CHECK (false) NOT VALID")
    with pytest.raises(DBAPIError, match="full_"):
        TenancyRepository(session).reinstate_membership(scene["eve@acme"])
    status = "SELECT status FROM mem WHERE id = CAST(:id AS uuid)"
    assert session.scalar(text(status), {"id": scene.uuid("eve@acme")}) == "suspended"


def _of_log(session: Session) -> dict[str, int]:
    return {each.check: each.count for each in diagnose(session) if each.check.startswith("log_")}


def test_a_missing_month_stops_no_write_and_is_made_up_for(
    logged: Connection, session: Session, scene: Scene
) -> None:
    month = datetime.now(UTC).strftime("aud_%Y_%m")
    recorded = mark(logged)
    run(logged, scene, f"ALTER TABLE aud DETACH PARTITION {month}", f"DROP TABLE {month}")
    run(logged, scene, turn("dan@acme", "suspended"), withdraw("dan"))
    assert _of_log(session) == {"log_month_missing": 1, "log_default_in_use": 1}
    insert(logged, recorded_at=datetime(2020, 12, 5, tzinfo=UTC))
    add_months(session)
    assert _of_log(session) == {}
    where = text("SELECT CAST(tableoid AS regclass) FROM aud WHERE pos > :mark ORDER BY pos")
    assert list(map(str, logged.scalars(where, {"mark": recorded}))) == [month, "aud_2020_12"]
    with pytest.raises(DBAPIError, match="an event never changes"):
        run(logged, scene, "DELETE FROM aud_2020_12")


def test_a_month_that_was_put_aside_is_missed_and_not_taken_for_one(
    logged: Connection, session: Session, scene: Scene
) -> None:
    month = datetime.now(UTC).strftime("aud_%Y_%m")
    run(logged, scene, f"ALTER TABLE aud DETACH PARTITION {month}")
    assert _of_log(session) == {"log_month_missing": 1}
    with pytest.raises(DBAPIError, match=f'relation "{month}" already exists'):
        add_months(session)


@pytest.mark.parametrize(
    "at, month",
    [
        ("2031-01-31 23:59:59.999999+00", "aud_2031_01"),
        ("2031-02-01 00:00:00+00", "aud_2031_02"),
        ("2031-01-31 23:30:00-02", "aud_2031_02"),
        ("2031-12-31 23:59:59.999999+00", "aud_2031_12"),
    ],
)
def test_months_begin_and_end_by_utc(
    at: str, month: str, logged: Connection, session: Session
) -> None:
    run(logged, Scene.new(), "SET LOCAL timezone = 'Pacific/Auckland'")
    insert(logged, recorded_at=datetime.fromisoformat(at))
    add_months(session)
    assert logged.scalar(text("SELECT CAST(CAST(tableoid AS regclass) AS text) FROM aud")) == month


def test_the_doctor_sees_that_a_month_is_missing(logged: Connection, session: Session) -> None:
    assert diagnose(session) == []
    after = datetime.now(UTC).replace(day=1) + timedelta(days=40)
    run(logged, Scene.new(), f"DROP TABLE aud_{after:%Y_%m}")
    (finding,) = diagnose(session)
    assert (finding.check, finding.examples) == ("log_month_missing", (f"aud_{after:%Y_%m}",))


@pytest.mark.parametrize(
    "breach, check",
    [
        ("DROP TRIGGER mem_log_update ON mem", "missing_trigger"),
        ("ALTER TABLE tup DISABLE TRIGGER tup_log_insert", "disabled_trigger"),
        ("ALTER TABLE ONLY aud DISABLE TRIGGER aud_is_final_updated", "disabled_trigger"),
        ("ALTER FUNCTION flametrench_tenancy_said() SECURITY INVOKER", "insecure_function"),
        ("DROP INDEX aud_actor_idx", "missing_index"),
        ("ALTER TABLE aud_default DISABLE TRIGGER aud_is_final_deleted", "log_open"),
        ("DROP TRIGGER aud_keeps_rows ON aud_default", "log_open"),
        ("ALTER TABLE aud_default DISABLE ROW LEVEL SECURITY", "log_open"),
        ("ALTER TABLE aud DISABLE ROW LEVEL SECURITY", "log_open"),
        (
            "INSERT INTO aud (occurred_at, action, target_kind, target_id, xid) "
            "VALUES (now(), 'a', 'doc', 'x', '9000000000000000000')",
            "log_horizon",
        ),
    ],
)
def test_the_doctor_sees_a_log_that_is_not_whole(
    breach: str, check: str, logged: Connection, session: Session
) -> None:
    run(logged, Scene.new(), breach)
    assert [finding.check for finding in diagnose(session)] == [check]


def test_retention_drops_whole_months_that_have_been_listed(
    logged: Connection, session: Session
) -> None:
    insert(logged, recorded_at=datetime(2020, 12, 5, tzinfo=UTC))
    insert(logged)
    add_months(session)
    assert add_months(session) == 0
    old = expired(session, before=datetime(2021, 1, 1, tzinfo=UTC))
    assert [month.name for month in old] == ["aud_2020_12"]
    assert expired(session, before=datetime(2020, 12, 31, tzinfo=UTC)) == []
    for name in ("aud_default", "mem", "aud_2020_12; --"):
        with pytest.raises(NotFoundError):
            drop_months(session, ["aud_2020_12", name])
    drop_months(session, ["aud_2020_12"])
    assert logged.scalar(text("SELECT count(*) FROM aud")) == 1
    assert "aud_2020_12" not in {month.name for month in months(session)}


@pytest.mark.parametrize("before", NO_MOMENTS)
def test_retention_needs_a_moment_and_a_number_of_months(session: Session, before: Any) -> None:
    for act in (expired, forget_context):
        with pytest.raises(PreconditionError) as caught:
            act(session, before=before)
        assert caught.value.details["parameter"] == "before"
    for ahead in (-1, 1201, 10**5_000, "3", True):
        with pytest.raises(PreconditionError, match="ahead") as caught:
            add_months(session, ahead=ahead)  # type: ignore[arg-type]
        assert caught.value.reason == "limit_format"
    with pytest.raises(NotFoundError) as missing:
        drop_months(session, ["x" * 1_000])
    assert len(f"{missing.value}{missing.value.details}") < 400


def test_contexts_are_forgotten_and_nothing_else(logged: Connection, session: Session) -> None:
    insert(logged, context={"ip": "192.0.2.1"}, recorded_at=datetime.now(UTC) - timedelta(days=1))
    insert(logged, context={"ip": "192.0.2.2"})
    assert forget_context(session, before=datetime.now(UTC) - timedelta(hours=1)) == 1
    assert forget_context(session, before=datetime.now(UTC) - timedelta(hours=1)) == 0
    contexts = logged.scalars(text("SELECT context FROM aud ORDER BY recorded_at")).all()
    assert contexts == [None, {"ip": "192.0.2.2"}]
    with pytest.raises(DBAPIError, match="an event never changes"):
        run(logged, Scene.new(), "UPDATE aud SET context = NULL")


@pytest.fixture
def as_app(logged: Connection, scene: Scene) -> Connection:
    """The connection, as a role that has a request's privileges and no more."""
    logged.execute(text("CREATE ROLE log_app"))
    for statement in grants("log_app", branches=["audit"]):
        logged.execute(text(statement))
    logged.execute(text("SET LOCAL ROLE log_app"))
    return logged


def test_the_least_privileged_role_is_recorded_and_sees_its_own_organization_at_most(
    as_app: Connection, session: Session, scene: Scene
) -> None:
    tenancy = TenancyRepository(session)
    tenancy.acting_as(scene["ann"]).reinstate_membership(scene["eve@acme"])
    tenancy.suspend_membership(scene["eve@bolt"])
    seen = text("SELECT scope_id, actor_usr_id FROM aud")
    assert as_app.execute(seen).all() == []
    as_app.execute(
        text("SELECT set_config('tenancy.org', :org, true)"), {"org": scene.uuid("acme")}
    )
    found = as_app.execute(seen).all()
    assert {row.scope_id for row in found} == {scene["acme"]}
    assert UUID(scene.uuid("ann")) in {row.actor_usr_id for row in found}
    document = event_document("doc.read", ("doc", "1"), occurred_at=NOW)
    assert write_events(session, [document])[0].action == "doc.read"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO aud (occurred_at, action, target_kind, target_id) "
        "VALUES (now(), 'a', 'doc', 'x')",
        "DELETE FROM aud",
        "SELECT count(*) FROM aud_default",
        "SELECT flametrench_tenancy_add_month(CAST('2030-01-01' AS date))",
        "TRUNCATE aud",
    ],
)
def test_the_least_privileged_role_does_nothing_else(statement: str, as_app: Connection) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        as_app.execute(text(statement))


def test_a_month_that_is_asked_by_its_name_shows_nothing_whatever_is_granted_by_default(
    logged: Connection, scene: Scene
) -> None:
    everything = "SELECT, INSERT, UPDATE, DELETE ON TABLES TO log_anybody"
    run(
        *(logged, scene, "CREATE ROLE log_anybody"),
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {everything}",
        "SELECT flametrench_tenancy_add_month(CAST('2040-01-01' AS date))",
    )
    insert(logged, recorded_at=datetime(2040, 1, 5, tzinfo=UTC))
    run(logged, scene, "SET LOCAL ROLE log_anybody")
    assert logged.scalar(text("SELECT count(*) FROM aud_2040_01")) == 0
    with pytest.raises(DBAPIError, match="row-level security"):
        run(
            *(logged, scene),
            "INSERT INTO aud_2040_01 (occurred_at, recorded_at, action, target_kind, target_id, "
            "pos, xid) VALUES (now(), '2040-01-05', 'a', 'doc', 'x', 1, '1')",
        )


def test_an_operator_sees_all_of_it(logged: Connection, scene: Scene) -> None:
    logged.execute(text("CREATE ROLE log_operator"))
    for statement in [*grants("log_operator", "operator", branches=["audit"])] * 2:
        logged.execute(text(statement))
    logged.execute(text("SET LOCAL ROLE log_operator"))
    assert logged.scalar(text("SELECT count(*) > 0 FROM aud"))


def test_everywhere_else_nothing_has_changed(engine: Engine) -> None:
    plain = create_engine(engine.url)
    with plain.connect() as connection:
        assert connection.scalar(text("SELECT to_regclass('aud')")) is None
    plain.dispose()
