"""What the doctor repairs, and what it leaves to others."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import InvitationStatus, Membership, PreconditionError, Tuple
from flametrench_tenancy_sqlalchemy.doctor import Repair, diagnose, repair
from tests.support.breaches import BREACHES
from tests.support.seeding import Seed, sql
from tests.support.sql import bare, everything, stored
from tests.support.stage import Stage

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


def seed_all_repairable(stage: Stage) -> None:
    for name, seed in BREACHES.items():
        if name.partition(":")[0] in REPAIRABLE:
            seed(stage)


# Without a table or a column there is nothing to repair with.
OF_ROWS = {
    name: seed for name, seed in BREACHES.items() if name not in {"missing_table", "missing_column"}
}


@pytest.mark.parametrize("breach", OF_ROWS.values(), ids=OF_ROWS.keys())
def test_what_is_repairable_is_repaired_and_the_rest_remains(breach: Seed, stage: Stage) -> None:
    breach(stage)
    before = diagnose(stage.session, clock=stage.clock)

    repairs = repair(stage.session, clock=stage.clock)

    repairable = [finding for finding in before if finding.repairable]
    assert {finding.check for finding in repairable} <= REPAIRABLE
    assert sorted((done.check, done.id) for done in repairs) == sorted(
        (finding.check, id_) for finding in repairable for id_ in finding.examples
    )
    remaining = [finding for finding in before if not finding.repairable]
    assert diagnose(stage.session, clock=stage.clock) == remaining


def test_everything_repairable_is_repaired_at_once(stage: Stage) -> None:
    seed_all_repairable(stage)
    found = diagnose(stage.session, clock=stage.clock)

    repairs = repair(stage.session, clock=stage.clock)

    assert {finding.check for finding in found} == REPAIRABLE
    # An invitation may be overdue and in a revoked organization; it is ended once.
    assert sorted(done.id for done in repairs) == sorted(
        {id_ for finding in found for id_ in finding.examples}
    )
    assert diagnose(stage.session, clock=stage.clock) == []
    assert repair(stage.session, clock=stage.clock) == []
    stage.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def test_a_missing_tuple_is_added(stage: Stage) -> None:
    [mem_id] = BREACHES["membership_without_tuple"](stage)["membership_without_tuple"]
    membership = stage.session.get_one(Membership, mem_id)
    usr_id, org_id = membership.usr_id, membership.org_id

    repairs = repair(stage.session, clock=stage.clock)

    message = f"tuple added: {usr_id} member {org_id}"
    assert repairs == [Repair("membership_without_tuple", mem_id, message=message)]
    [added] = stage.tenancy.list_tuples_for_subject("usr", usr_id)
    assert (added.relation, added.object_id) == ("member", org_id)
    assert (added.created_at, added.created_by) == (stage.clock.now, None)


def test_two_memberships_that_share_a_tuple_are_both_repaired(stage: Stage) -> None:
    found = BREACHES["duplicate_membership"](stage)["duplicate_membership"]
    sql(stage, "SET LOCAL session_replication_role = replica")
    sql(stage, "UPDATE mem SET role = 'member' WHERE id = :id", id=found[1])
    sql(stage, "DELETE FROM tup WHERE relation IN ('member', 'viewer')")

    repairs = repair(stage.session, clock=stage.clock)

    assert [done.id for done in repairs] == sorted(found)


def test_a_left_over_tuple_is_deleted_and_the_session_knows(stage: Stage) -> None:
    [tup_id] = BREACHES["tuple_in_revoked_org"](stage)["tuple_in_revoked_org"]
    left = stage.session.get_one(Tuple, tup_id)
    message = f"tuple deleted: {left.subject_id} auditor {left.object_id}"

    repairs = repair(stage.session, clock=stage.clock)

    assert repairs == [Repair("tuple_in_revoked_org", tup_id, message=message)]
    assert left not in stage.session


def test_an_overdue_invitation_expires(stage: Stage) -> None:
    invitation = stage.invitation(stage.org())
    stage.clock.now = invitation.expires_at
    assert repair(stage.session, clock=stage.clock) == []  # the last moment to accept it

    BREACHES["overdue_invitation"](stage)
    repairs = repair(stage.session, clock=stage.clock)

    assert Repair("overdue_invitation", invitation.id, message="invitation expired") in repairs
    assert invitation.status is InvitationStatus.EXPIRED
    assert (invitation.terminal_at, invitation.terminal_by) == (stage.clock.now, None)


def test_a_repair_touches_nothing_else(stage: Stage) -> None:
    for name in ("ownerless_organization", "replaced_not_revoked", "chain_lost_inviter"):
        BREACHES[name](stage)
    stage.invitation(stage.org())
    before = everything(stage.session)
    [tup_id] = BREACHES["orphan_tuple: of a suspended member"](stage)["orphan_tuple"]
    with_orphan = everything(stage.session)

    repair(stage.session, clock=stage.clock)

    after = everything(stage.session)
    assert bare(tup_id) in {row["id"] for row in with_orphan["tup"]}
    assert after["tup"] == [row for row in with_orphan["tup"] if row["id"] != bare(tup_id)]
    assert {row["id"] for row in before["tup"]} <= {row["id"] for row in after["tup"]}
    assert {t: after[t] for t in after if t != "tup"} == {
        t: with_orphan[t] for t in with_orphan if t != "tup"
    }


def test_an_ownerless_organization_gets_no_owner(stage: Stage) -> None:
    BREACHES["ownerless_organization"](stage)
    before = everything(stage.session)

    assert repair(stage.session, clock=stage.clock) == []
    assert everything(stage.session) == before


def test_a_repair_happens_as_a_whole_or_not_at_all(stage: Stage) -> None:
    seed_all_repairable(stage)
    for statement in (
        "CREATE FUNCTION pg_temp.stop() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'no' USING ERRCODE = 'query_canceled'; END $$",
        "CREATE TRIGGER stop BEFORE UPDATE ON inv FOR EACH ROW EXECUTE FUNCTION pg_temp.stop()",
    ):
        sql(stage, statement)
    before = everything(stage.session)

    with pytest.raises(DBAPIError, match="no"):
        repair(stage.session, clock=stage.clock)

    assert everything(stage.session) == before


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_repair_refuses_to_trust_an_old_snapshot(clean_engine: Engine, level: str) -> None:
    engine = clean_engine.execution_options(isolation_level=level)
    with Session(engine) as session, pytest.raises(PreconditionError) as caught:
        repair(session)

    assert caught.value.code == "precondition.isolation_level"


def test_a_repair_waits_for_whoever_has_locked_the_organization(clean_engine: Engine) -> None:
    with Session(clean_engine) as session, session.begin():
        stage = Stage(session)
        [mem_id] = BREACHES["membership_without_tuple"](stage)["membership_without_tuple"]
        org_id = stage.tenancy.get_membership(mem_id).org_id
    with Session(clean_engine) as session, Session(clean_engine) as other:
        other.execute(
            text("SELECT FROM org WHERE id = CAST(:id AS uuid) FOR SHARE"), {"id": bare(org_id)}
        )
        session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            repair(session)
        other.rollback()
        assert [done.id for done in repair(session)] == [mem_id]


def test_an_invitation_that_somebody_has_locked_is_left_to_them(clean_engine: Engine) -> None:
    with Session(clean_engine) as session, session.begin():
        [inv_id] = BREACHES["overdue_invitation"](Stage(session))["overdue_invitation"]
    with Session(clean_engine) as session, Session(clean_engine) as other:
        other.execute(text("SELECT FROM inv FOR UPDATE"))
        assert repair(session) == []
        other.rollback()
        assert [done.id for done in repair(session)] == [inv_id]
        assert stored(session, "inv", inv_id)["status"] == "expired"
