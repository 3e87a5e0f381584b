"""What the doctor finds."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Invitation, PreconditionError, TenancyRepository
from flametrench_tenancy_sqlalchemy.doctor import Finding, Severity, diagnose
from flametrench_tenancy_sqlalchemy.doctor.checks import checks
from flametrench_tenancy_sqlalchemy.doctor.schema import MISSING, TRIGGERS
from flametrench_tenancy_sqlalchemy.migrations import catalog
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES
from tests.support.breaches import BREACHES, every_breach
from tests.support.breaches_of_invitations import promise
from tests.support.operations import OPERATIONS
from tests.support.seeding import Expected, Seed, sql
from tests.support.sql import everything
from tests.support.stage import NOW, Stage

UUID = "0190f2a8-1b3c-7abc-8123-456789abcdef"
HEX = UUID.replace("-", "")


@pytest.fixture
def stage(session: Session) -> Stage:
    """A stage on which the rules may be broken."""
    return Stage(session)


def found(findings: list[Finding]) -> Expected:
    """Return what was found as breaches announce it, and see that the numbers agree."""
    assert all(finding.count == len(finding.examples) for finding in findings)
    return {finding.check: list(finding.examples) for finding in findings}


def test_an_empty_database_is_healthy(session: Session) -> None:
    assert diagnose(session) == []


def test_all_operations_leave_a_healthy_database(session: Session) -> None:
    for operation in OPERATIONS:
        operation.stage(session)(TenancyRepository(session))

    assert diagnose(session) == []


@every_breach
def test_a_breach_is_found_and_nothing_else(breach: Seed, stage: Stage) -> None:
    expected = breach(stage)

    findings = found(diagnose(stage.session, clock=stage.clock))

    assert findings == {check: sorted(examples) for check, examples in expected.items()}


def test_there_is_a_breach_for_every_check() -> None:
    of_rows = {check.name for check in checks(NOW)}
    of_schema = {*MISSING, "disabled_trigger", "schema_difference"}

    assert {name.partition(":")[0] for name in BREACHES} == of_rows | of_schema


def test_of_many_rows_five_are_shown_and_all_are_counted(stage: Stage) -> None:
    org = stage.org()
    ids = sorted(stage.member(org).id for _ in range(7))
    sql(stage, "SET LOCAL session_replication_role = replica")
    sql(stage, "DELETE FROM tup WHERE relation = 'member'")

    [finding] = diagnose(stage.session)

    assert finding == Finding(
        "membership_without_tuple",
        Severity.ERROR,
        count=7,
        examples=tuple(ids[:5]),
        message="active memberships without their tuple",
        repairable=True,
    )


def test_what_is_merely_left_lying_about_is_a_warning(stage: Stage) -> None:
    org = stage.org()
    stage.invitation(org), stage.invitation(org)

    [finding] = diagnose(stage.session, clock=stage.clock)

    assert (finding.check, finding.severity) == ("duplicate_invitation", Severity.WARNING)


@pytest.mark.parametrize(
    "pre_tuples",
    [
        [],
        [{"relation": "editor", "object_type": "proj", "object_id": UUID}],
        [{"relation": "editor", "object_type": "proj", "object_id": UUID.upper()}],
        [{"relation": "editor", "object_type": "proj", "object_id": HEX}],
        [{"relation": "editor", "object_type": "proj", "object_id": HEX.upper()}],
        [{"relation": "editor", "object_type": "proj", "object_id": f"proj_{HEX}"}],
        [{"relation": "editor", "object_type": "proj", "object_id": f"doc_{HEX}"}],
        [{"relation": "editor", "object_type": "proj", "object_id": f"{HEX}\n"}],
        [{"relation": "editor", "object_type": "proj", "object_id": None}],
        [{"relation": "editor", "objectType": "org", "objectId": f"org_{HEX}"}],
        [{"relation": "auditor", "objectType": "org", "objectId": f"org_{HEX}"}],
        [{"relation": "owner", "object_type": "proj", "object_id": HEX}],
        [{"relation": "owner", "object_type": None, "objectType": "org", "object_id": HEX}],
        [{"relation": "editor", "object_type": "project", "object_id": HEX}],
        [{"relation": "can edit", "object_type": "proj", "object_id": HEX}],
        [{"relation": True, "object_type": "proj", "object_id": HEX}],
        [{"relation": "editor", "object_type": "proj", "object_id": HEX, "note": "kept"}],
        [{"relation": "editor", "object_type": "proj", "object_id": HEX}, "editor"],
        {"relation": "editor", "object_type": "proj", "object_id": HEX},
        [["relation", "editor"]],
        [None],
        "editor",
        7,
    ],
    ids=json.dumps,
)
def test_pre_tuples_are_judged_as_accepting_them_would(stage: Stage, pre_tuples: object) -> None:
    invitation = stage.session.get_one(Invitation, promise(stage, json.dumps(pre_tuples)))
    stage.session.refresh(invitation)
    try:
        _ = invitation.grants
        expected = {}
    except PreconditionError as exc:
        check = {"pre_tuple_format": "malformed_pre_tuple"}.get(exc.reason, exc.reason)
        expected = {check: [invitation.id]}

    assert found(diagnose(stage.session, clock=stage.clock)) == expected


def test_the_expected_triggers_are_those_of_a_migrated_database(session: Session) -> None:
    parts = catalog.describe(session.connection(), "public", TABLES)

    assert {part for part in parts if part.kind == "trigger"} == TRIGGERS


def test_an_application_may_add_to_the_schema(session: Session) -> None:
    for statement in (
        "ALTER TABLE org ADD COLUMN plan text NOT NULL DEFAULT 'free'",
        "CREATE INDEX org_plan_idx ON org (plan)",
        "ALTER TABLE org ADD CONSTRAINT org_plan_check CHECK (plan <> '')",
        "CREATE TRIGGER org_audit BEFORE UPDATE ON org FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE org DISABLE TRIGGER org_audit",
    ):
        session.execute(text(statement))

    assert diagnose(session) == []


def test_a_database_that_may_only_be_read_is_examined(stage: Stage) -> None:
    expected = BREACHES["duplicate_membership"](stage)
    stage.session.execute(text("SET TRANSACTION READ ONLY"))

    assert found(diagnose(stage.session)) == expected


def test_an_examination_leaves_no_trace(stage: Stage) -> None:
    stage.invitation(stage.org())
    path = text("SHOW search_path")
    before = everything(stage.session), stage.session.scalar(path)

    diagnose(stage.session)

    assert (everything(stage.session), stage.session.scalar(path)) == before


def test_the_progress_goes_from_the_first_check_to_the_last(session: Session) -> None:
    steps: list[tuple[int, int]] = []

    diagnose(session, progress=lambda done, total: steps.append((done, total)))

    total = len(steps)
    assert total > 20
    assert steps == [(done, total) for done in range(1, total + 1)]
