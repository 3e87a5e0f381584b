"""What the doctor finds, what it repairs, and what it leaves to others."""

from __future__ import annotations

import json
import secrets

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    LockTimeoutError,
    Membership,
    PreconditionError,
    TenancyRepository,
    Tuple,
)
from flametrench_tenancy_sqlalchemy.doctor import Finding, Repair, Severity, diagnose, repair
from flametrench_tenancy_sqlalchemy.doctor.checks import checks
from flametrench_tenancy_sqlalchemy.doctor.schema import MISSING, TRIGGERS
from flametrench_tenancy_sqlalchemy.migrations import catalog
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES
from tests.support.breaches import BREACHES, Expected, alter, promise, sql
from tests.support.cluster import on_one_server
from tests.support.operations import OPERATIONS
from tests.support.sql import bare, fact, snapshot
from tests.support.stage import NOW, Stage

UUID = "0190f2a8-1b3c-7abc-8123-456789abcdef"
HEX = UUID.replace("-", "")
REPAIRABLE = {
    "membership_without_tuple",
    "orphan_tuple",
    "tuple_in_revoked_org",
    "membership_in_revoked_org",
    "invitation_in_revoked_org",
    "overdue_invitation",
}


@pytest.fixture
def stage(session: Session) -> Stage:
    """A stage on which the rules may be broken."""
    return Stage(session)


def examined(stage: Stage) -> Expected:
    """Return what is found as breaches announce it, and see that the numbers agree."""
    findings = diagnose(stage.session, clock=stage.clock)
    assert all(finding.count == len(finding.examples) for finding in findings)
    assert all(finding.repairable == (finding.check in REPAIRABLE) for finding in findings)
    return {finding.check: list(finding.examples) for finding in findings}


def repaired(stage: Stage) -> list[Repair]:
    return repair(stage.session, clock=stage.clock)


def seed_all_repairable(stage: Stage) -> None:
    for name, seed in BREACHES.items():
        if name.partition(":")[0] in REPAIRABLE:
            seed(stage)


def test_all_operations_leave_a_healthy_database(session: Session) -> None:
    assert diagnose(session) == []
    for operation in OPERATIONS:
        operation.stage(session)(TenancyRepository(session))
    assert diagnose(session) == []


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_found_and_nothing_else_and_what_is_repairable_is_repaired(
    name: str, stage: Stage
) -> None:
    expected = {check: sorted(examples) for check, examples in BREACHES[name](stage).items()}
    assert examined(stage) == expected
    if name in {"missing_table", "missing_column"}:
        return  # without them there is nothing to repair with
    done = sorted((one.check, one.id) for one in repaired(stage))
    repairable = [(check, id_) for check in REPAIRABLE & expected.keys() for id_ in expected[check]]
    assert done == sorted(repairable)
    remaining = {check: ids for check, ids in expected.items() if check not in REPAIRABLE}
    assert examined(stage) == remaining


def test_there_is_a_breach_for_every_check() -> None:
    of_rows = {check.name for check in checks(NOW)}
    of_schema = {*MISSING, "disabled_trigger", "insecure_function", "schema_difference"}
    assert {name.partition(":")[0] for name in BREACHES} == of_rows | of_schema


def test_of_many_rows_five_are_shown_and_all_are_counted(stage: Stage) -> None:
    org = stage.org()
    ids = sorted(stage.member(org).id for _ in range(7))
    sql(stage, "SET LOCAL session_replication_role = replica")
    sql(stage, "DELETE FROM tup WHERE relation = 'member'")
    sql(stage, "SET LOCAL session_replication_role = origin")
    message = "active memberships without their tuple"
    assert diagnose(stage.session) == [
        Finding(
            "membership_without_tuple",
            Severity.ERROR,
            count=7,
            examples=tuple(ids[:5]),
            message=message,
            repairable=True,
        )
    ]


def test_what_is_merely_left_lying_about_is_a_warning(stage: Stage) -> None:
    BREACHES["duplicate_invitation"](stage)
    [finding] = diagnose(stage.session, clock=stage.clock)
    assert finding.severity == Severity.WARNING


OWN = "the inviting organization"
UUID_OF_ALL = "ffffffff-ffff-ffff-ffff-ffffffffffff"
GRANT: dict[str, object] = {"relation": "editor", "object_type": "proj", "object_id": HEX}
PRE_TUPLES: list[object] = [
    [],
    *([GRANT | {"object_id": id_}] for id_ in (UUID, UUID.upper(), HEX, HEX.upper())),
    *([GRANT | {"object_id": id_}] for id_ in (f"proj_{HEX}", f"doc_{HEX}", f"{HEX}\n", None)),
    [{"relation": "editor", "objectType": "org", "objectId": f"org_{HEX}"}],
    [{"relation": "auditor", "objectType": "org", "objectId": f"org_{HEX}"}],
    [GRANT | {"relation": "owner"}],
    *([GRANT | {"object_id": id_}] for id_ in ("0" * 32, f"proj_{'f' * 32}", UUID_OF_ALL.upper())),
    *([GRANT | {"object_type": type_}] for type_ in ("usr", "mem", "inv", "tup", "file")),
    *(
        [GRANT | {"relation": word, "object_type": "org", "object_id": OWN}]
        for word in ("ed", "owner")
    ),
    [{"relation": "owner", "object_type": None, "objectType": "org", "object_id": HEX}],
    *([GRANT | {"object_type": "project"}], [GRANT | {"relation": "can edit"}]),
    *([GRANT | {"relation": True}], [GRANT | {"note": "kept"}], [GRANT, "editor"]),
    *(GRANT, [["relation", "editor"]], [None], "editor", 7),
]


@pytest.mark.parametrize("pre_tuples", PRE_TUPLES, ids=json.dumps)
def test_pre_tuples_are_judged_as_accepting_them_would(stage: Stage, pre_tuples: object) -> None:
    invitation = stage.session.get_one(Invitation, promise(stage, json.dumps(pre_tuples)))
    sql(
        stage,
        f"UPDATE inv SET pre_tuples = replace(pre_tuples::text, '{OWN}', org_id::text)::jsonb",
    )
    stage.session.refresh(invitation)
    try:
        _ = invitation.grants
        expected = {}
    except PreconditionError as exc:
        check = {"pre_tuple_format": "malformed_pre_tuple"}.get(exc.reason, exc.reason)
        expected = {check: [invitation.id]}
    assert examined(stage) == expected


@pytest.fixture
def reader(session: Session) -> str:
    """A role that may read everything, and nothing else."""
    role = f"reader_{secrets.token_hex(4)}"
    session.execute(text(f"CREATE ROLE {role}"))
    session.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    return role


@pytest.mark.parametrize(
    "statements, expected",
    [
        ("", {}),
        ("ALTER TABLE mem ENABLE ROW LEVEL SECURITY", {"hidden_rows": ["table mem"]}),
        ("ALTER TABLE mem ENABLE ROW LEVEL SECURITY; ALTER ROLE {role} BYPASSRLS", {}),
        ("ALTER TABLE mem ENABLE ROW LEVEL SECURITY; ALTER TABLE mem OWNER TO {role}", {}),
        (
            "ALTER TABLE mem ENABLE ROW LEVEL SECURITY; ALTER TABLE mem OWNER TO {role};"
            "ALTER TABLE mem FORCE ROW LEVEL SECURITY",
            {"hidden_rows": ["table mem"]},
        ),
        ("REVOKE SELECT ON org, tup FROM {role}", {"unreadable": ["table org", "table tup"]}),
        (
            "REVOKE SELECT ON usr FROM {role}; GRANT SELECT (id, created_at, updated_at, status)"
            " ON usr TO {role}",
            {"unreadable": ["column display_name of usr"]},
        ),
        (
            "ALTER TABLE org ADD plan text; REVOKE SELECT ON org FROM {role};"
            "GRANT SELECT (id, status, name, slug, created_at, updated_at) ON org TO {role}",
            {},
        ),
    ],
)
@on_one_server("the reader is granted what is in public")
def test_what_the_role_may_not_see_is_found_and_not_judged(
    stage: Stage, reader: str, statements: str, expected: Expected
) -> None:
    orphan = BREACHES["orphan_tuple: of a suspended member"](stage)
    for statement in filter(None, statements.split(";")):
        sql(stage, statement.format(role=reader))
    sql(stage, f"SET LOCAL ROLE {reader}")
    assert examined(stage) == (expected or orphan)


@on_one_server("the reader is granted what is in public")
def test_a_schema_into_which_the_role_may_not_look_is_not_healthy(
    engine: Engine, session: Session, reader: str
) -> None:
    session.execute(text("REVOKE USAGE ON SCHEMA public FROM public"))
    session.execute(text(f"SET LOCAL ROLE {reader}"))
    session.connection().execution_options(schema_translate_map={None: "public"})
    [finding] = diagnose(session)
    assert (finding.check, finding.examples) == ("unreadable", ("schema public",))


@on_one_server("the reader is granted what is in public")
def test_nothing_is_repaired_where_rows_are_hidden(stage: Stage, reader: str) -> None:
    """A tuple whose membership is hidden is no orphan."""
    stage.member(stage.org())
    sql(stage, "SET CONSTRAINTS ALL IMMEDIATE")
    sql(stage, "ALTER TABLE mem ENABLE ROW LEVEL SECURITY")
    sql(stage, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {reader}")
    sql(stage, f"SET LOCAL ROLE {reader}")
    with pytest.raises(PreconditionError) as caught:
        repaired(stage)
    assert caught.value.code == "precondition.hidden_rows"


@pytest.mark.parametrize(
    "statement, silenced",
    [
        ("SET LOCAL session_replication_role = replica", "this session"),
        ("SET LOCAL session_replication_role = local", None),
        ("ALTER ROLE {role} SET session_replication_role = 'Replica'", "role {role}"),
        ("ALTER ROLE {role} SET session_replication_role = origin", None),
        ("ALTER ROLE ALL SET session_replication_role = replica", "all roles"),
        (
            "ALTER DATABASE {db} SET session_replication_role = replica",
            "all roles in database {db}",
        ),
        (
            "ALTER ROLE {role} IN DATABASE {db} SET session_replication_role = replica",
            "role {role} in database {db}",
        ),
        ("ALTER ROLE {role} IN DATABASE postgres SET session_replication_role = replica", None),
    ],
)
def test_who_ignores_the_triggers_is_found(
    stage: Stage, reader: str, statement: str, silenced: str | None
) -> None:
    names = {"role": reader, "db": stage.session.scalar(text("SELECT current_database()"))}
    sql(stage, statement.format(**names))
    assert examined(stage) == ({"replication_role": [silenced.format(**names)]} if silenced else {})


@on_one_server("it looks into public")
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


def test_an_examination_only_reads_and_leaves_no_trace(stage: Stage) -> None:
    expected = BREACHES["duplicate_membership"](stage)
    sql(stage, "SET TRANSACTION READ ONLY")
    path = text("SHOW search_path")
    before = snapshot(stage.session), stage.session.scalar(path)
    assert examined(stage) == expected
    assert (snapshot(stage.session), stage.session.scalar(path)) == before


def test_the_progress_goes_from_the_first_check_to_the_last(session: Session) -> None:
    steps: list[tuple[int, int]] = []
    diagnose(session, progress=lambda done, total: steps.append((done, total)))
    total = len(steps)
    assert total > 20
    assert steps == [(done, total) for done in range(1, total + 1)]


def test_everything_repairable_is_repaired_at_once(stage: Stage) -> None:
    seed_all_repairable(stage)
    found = examined(stage)
    done = repaired(stage)
    assert found.keys() == REPAIRABLE
    # An invitation may be overdue and in a revoked organization; it is ended once.
    ids = {id_ for examples in found.values() for id_ in examples}
    assert sorted(one.id for one in done) == sorted(ids)
    assert examined(stage) == {}
    assert repaired(stage) == []
    sql(stage, "SET CONSTRAINTS ALL IMMEDIATE")


def test_a_repair_says_what_it_has_done_and_touches_nothing_else(stage: Stage) -> None:
    for name in ("ownerless_organization", "replaced_not_revoked", "chain_lost_inviter"):
        BREACHES[name](stage)
    spared = stage.invitation(stage.org())
    [mem_id] = BREACHES["membership_without_tuple"](stage)["membership_without_tuple"]
    [tup_id] = BREACHES["tuple_in_revoked_org"](stage)["tuple_in_revoked_org"]
    membership = stage.session.get_one(Membership, mem_id)
    left = stage.session.get_one(Tuple, tup_id)
    [inv_id] = BREACHES["overdue_invitation"](stage)["overdue_invitation"]
    at = stage.clock.now
    alter(stage, spared.id, "expires_at = :at", at=at)  # the last moment to accept it
    stage.session.expire_all()
    missing = (membership.usr_id, "member", membership.org_id)
    superfluous = (left.subject_id, "auditor", left.object_id)
    with stage.writes() as written:
        done = repaired(stage)
    assert sorted((one.check, one.id, one.message) for one in done) == [
        ("membership_without_tuple", mem_id, f"tuple added: {' '.join(missing)}"),
        ("overdue_invitation", inv_id, "invitation expired"),
        ("tuple_in_revoked_org", tup_id, f"tuple deleted: {' '.join(superfluous)}"),
    ]
    assert written == {
        fact(*missing): {"created_at": at, "created_by": None},
        fact(*superfluous): None,
        inv_id: {"status": "expired", "terminal_at": at},
    }
    assert left not in stage.session
    assert stage.session.get_one(Invitation, inv_id).status is InvitationStatus.EXPIRED


def test_two_memberships_that_share_a_tuple_are_both_repaired(stage: Stage) -> None:
    found = BREACHES["duplicate_membership"](stage)["duplicate_membership"]
    sql(stage, "SET LOCAL session_replication_role = replica")
    sql(stage, "UPDATE mem SET role = 'member' WHERE id = :id", id=found[1])
    sql(stage, "DELETE FROM tup WHERE relation IN ('member', 'viewer')")
    assert [done.id for done in repaired(stage)] == sorted(found)


@on_one_server("a node has no temporary functions")
def test_a_repair_happens_as_a_whole_or_not_at_all(stage: Stage) -> None:
    seed_all_repairable(stage)
    for statement in (
        "CREATE FUNCTION pg_temp.stop() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'no' USING ERRCODE = 'query_canceled'; END $$",
        "CREATE TRIGGER stop BEFORE UPDATE ON inv FOR EACH ROW EXECUTE FUNCTION pg_temp.stop()",
    ):
        sql(stage, statement)
    before = snapshot(stage.session)
    with pytest.raises(DBAPIError, match="no"):
        repaired(stage)
    assert snapshot(stage.session) == before


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_repair_refuses_to_trust_an_old_snapshot(clean_engine: Engine, level: str) -> None:
    engine = clean_engine.execution_options(isolation_level=level)
    with Session(engine) as session, pytest.raises(PreconditionError) as caught:
        repair(session)
    assert caught.value.code == "precondition.isolation_level"


def test_a_repair_waits_for_locked_organizations_and_leaves_locked_invitations_alone(
    clean_engine: Engine,
) -> None:
    with Session(clean_engine) as session, session.begin():
        stage = Stage(session)
        [mem_id] = BREACHES["membership_without_tuple"](stage)["membership_without_tuple"]
        org_id = stage.tenancy.get_membership(mem_id).org_id
    with Session(clean_engine) as session, Session(clean_engine) as other:
        lock = text("SELECT FROM org WHERE id = CAST(:id AS uuid) FOR SHARE")
        other.execute(lock, {"id": bare(org_id)})
        session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(LockTimeoutError):
            repair(session)
        other.rollback()
        assert [done.id for done in repair(session)] == [mem_id]
        [inv_id] = BREACHES["overdue_invitation"](Stage(session))["overdue_invitation"]
        session.commit()
        other.execute(text("SELECT FROM inv FOR UPDATE"))
        assert repair(session) == []
        other.rollback()
        assert [done.id for done in repair(session)] == [inv_id]
