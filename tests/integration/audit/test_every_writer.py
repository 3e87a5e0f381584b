"""Nobody escapes the log: whoever writes, and however, it has the same events.

What it must have is told from the rows before and afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import pytest
from flametrench_tenancy.postgres import PostgresTenancyStore
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Policy, TenancyRepository
from tests.support.foreign_hands import ALLOWED, Attempt
from tests.support.log import Rows, due, events_since, mark, rows_of, told
from tests.support.operations import Operation, every_operation
from tests.support.raw import grant, join, run, turn, withdraw
from tests.support.scenes import Scene, stage
from tests.support.steps import STEPS, Step


@dataclass(frozen=True)
class Before:
    """How things stood before somebody wrote."""

    connection: Connection
    rows: Rows
    position: int

    @classmethod
    def now(cls, connection: Connection) -> Before:
        return cls(connection, rows_of(connection), mark(connection))

    @property
    def events(self) -> list[Any]:
        """What has been recorded since."""
        return events_since(self.connection, self.position)

    def require_all(self) -> list[Any]:
        """Return what has been recorded since, which must be what the rows tell."""
        events = self.events
        assert told(events) == due(self.rows, rows_of(self.connection))
        return events


@pytest.fixture(params=["by statement", "by flush"])
def listen(request: pytest.FixtureRequest) -> Callable[[Session], None]:
    """Makes a Session write in one way or the other."""

    def attach(session: Session) -> None:
        if request.param == "by flush":
            event.listen(session, "before_flush", lambda *_: None)

    return attach


# Whoever invites on the stage is nobody there.
POLICIES: Final = [Policy(), Policy.recommended(inviter_authority=False)]


@pytest.mark.parametrize("policy", POLICIES, ids=["letter", "recommended"])
@every_operation
def test_operations_are_recorded(
    operation: Operation,
    policy: Policy,
    session: Session,
    logged: Connection,
    listen: Callable[[Session], None],
) -> None:
    call = operation.stage(session)
    session.flush()
    listen(session)
    before = Before.now(logged)
    call(TenancyRepository(session, policy=policy))
    session.flush()
    events = before.require_all()
    assert events
    assert {each.operation for each in events} == {operation.name}


# It writes no row for a new user, removes active members only, and lets an invitation lift a
# suspension.
REFUSED_BY_PEER: Final = {
    "accept_invitation by a new user",
    "accept_invitation by sam",
    "admin_remove sam by bob",
}
# It makes an owner anew who is one already.
OTHERWISE_BY_PEER: Final = {"transfer_ownership ann to bob", "transfer_ownership bob to ann"}
PEERS: Final = [
    step
    for step in STEPS
    if hasattr(PostgresTenancyStore, step.operation) and step.name not in REFUSED_BY_PEER
]


@pytest.mark.parametrize("step", PEERS, ids=str)
def test_the_python_sdk_is_recorded_as_we_are(step: Step, clean_engine: Engine) -> None:
    def recorded(act: Callable[[Scene], object]) -> list[tuple[str, ...]]:
        with clean_engine.begin() as connection:
            (scene,) = stage(connection)
            if step.operation == "reinstate_org":
                run(connection, scene, "UPDATE org SET status = 'suspended' WHERE id = {acme}")
        with clean_engine.connect() as connection:
            before = Before.now(connection)
            act(scene)
            connection.rollback()
            events = before.require_all()
            names = {scene.uuid(name): name for name in scene.ids}
        return sorted(
            (each.action, names.get(each.target_id[4:], "new"), str(each.metadata.get("to")))
            for each in events
        )

    url = clean_engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def by_peer(scene: Scene) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            step.call(PostgresTenancyStore(connection), scene)  # type: ignore[arg-type]  # a peer

    def by_us(scene: Scene) -> None:
        with Session(clean_engine) as session, session.begin():
            step.on(scene)(session)

    theirs, ours = recorded(by_peer), recorded(by_us)
    assert ours
    assert theirs == ours or step.name in OTHERWISE_BY_PEER


# What the Node SDK sends, in its order, with the values in their places.
NODE: Final = {
    "changeRole": (
        turn("eve@acme", "revoked"),
        "DELETE FROM tup WHERE subject_type = 'usr' AND subject_id = {eve} "
        "AND relation = 'member' AND object_type = 'org' AND object_id = {acme}",
        join("eve", "admin", replaces="eve@acme"),
        grant("eve", "admin"),
    ),
    "adminRemove": (
        withdraw("eve"),
        "UPDATE mem SET status = 'revoked', removed_by = {ann}, updated_at = now() "
        "WHERE id = {eve@acme}",
    ),
    "transferOwnership": (
        turn("eve@acme", "revoked"),
        withdraw("eve"),
        join("eve", "owner", replaces="eve@acme"),
        grant("eve", "owner"),
        turn("ann@acme", "revoked"),
        withdraw("ann"),
        join("ann", "member", replaces="ann@acme"),
        grant("ann", "member"),
    ),
    "acceptInvitation": (
        join("max"),
        grant("max", "member"),
        "INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id) "
        "VALUES (gen_random_uuid(), 'usr', {max}, 'editor', 'doc', {doc})",
        "UPDATE inv SET status = 'accepted', terminal_at = now(), terminal_by = {max}, "
        "invited_user_id = {max} WHERE id = {first@acme}",
    ),
    "declineInvitation": (
        "UPDATE inv SET status = 'declined', terminal_at = now(), terminal_by = NULL "
        "WHERE id = {first@acme}",
    ),
    "revokeOrg": (
        "DELETE FROM tup WHERE object_type = 'org' AND object_id = {acme}",
        "UPDATE mem SET status = 'revoked', updated_at = now() "
        "WHERE org_id = {acme} AND status = 'active'",
        "UPDATE org SET status = 'revoked', updated_at = now() WHERE id = {acme}",
    ),
}


@pytest.mark.parametrize("operation", NODE)
def test_the_node_sdk_is_recorded(operation: str, logged: Connection) -> None:
    (scene,) = stage(logged)
    run(logged, scene, grant("liz", "auditor"))
    before = Before.now(logged)
    run(logged, scene, *NODE[operation])
    events = before.require_all()
    counts = {"acceptInvitation": 3, "transferOwnership": 2}
    assert len(events) == counts.get(operation, 1)


@pytest.mark.parametrize("attempt", ALLOWED, ids=str)
def test_whatever_sql_is_recorded(attempt: Attempt, logged: Connection) -> None:
    (scene,) = stage(logged)
    run(logged, scene, *attempt.after)
    before = Before.now(logged)
    run(logged, scene, *attempt.before, attempt.statement)
    before.require_all()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE mem SET status = 'suspended' WHERE role = 'admin'",
        "INSERT INTO org (id, name) SELECT gen_random_uuid(), n FROM generate_series(1, 9) AS n",
        "UPDATE org SET name = 'New', status = 'suspended'",
        "DELETE FROM inv",
        "MERGE INTO mem USING (SELECT {liz}::uuid AS usr, {acme}::uuid AS org) AS given "
        "ON usr_id = usr AND org_id = org "
        "WHEN NOT MATCHED THEN INSERT (id, usr_id, org_id, role) "
        "VALUES (gen_random_uuid(), usr, org, 'guest')",
        "INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id) "
        "VALUES (gen_random_uuid(), 'team', {liz}, 'owner', 'org', {acme}) "
        "ON CONFLICT DO NOTHING",
        "WITH gone AS (DELETE FROM tup WHERE subject_id = {eve}) "
        "UPDATE mem SET status = 'revoked' WHERE usr_id = {eve}",
        "UPDATE tup SET created_by = {ann}",
        "UPDATE org SET updated_at = now()",
    ],
)
def test_statements_about_many_rows_are_recorded_row_by_row(
    statement: str, logged: Connection
) -> None:
    if statement.startswith("MERGE") and (logged.dialect.server_version_info or (0,)) < (15,):
        pytest.skip("MERGE came with PostgreSQL 15")
    (scene,) = stage(logged)
    before = Before.now(logged)
    run(logged, scene, statement)
    before.require_all()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE org SET id = gen_random_uuid(), name = 'Other' WHERE name = 'Alone'",
        "UPDATE inv SET id = gen_random_uuid(), role = 'guest' WHERE id = {first@acme}",
        "UPDATE tup SET id = gen_random_uuid(), relation = 'judge' WHERE relation = 'auditor'",
        "INSERT INTO tup SELECT * FROM tup WHERE relation = 'auditor' ON CONFLICT (id) "
        "DO UPDATE SET id = gen_random_uuid()",
    ],
)
def test_what_the_log_knows_by_its_id_keeps_it(statement: str, logged: Connection) -> None:
    (scene,) = stage(logged)
    alone = "INSERT INTO org (id, name) VALUES (gen_random_uuid(), 'Alone')"
    run(logged, scene, grant("liz", "auditor"), alone)
    with pytest.raises(DBAPIError, match="an id never changes"):
        run(logged, scene, statement)


# Whatever the recording itself calls what it finds out, and what events have.
OWN: Final = (
    *("was", "ends", "erased", "fields", "place", "at", "what", "offered", "ended_at", "number"),
    *("action", "metadata", "auth", "actor", "operation", "said"),
)


def test_columns_of_ones_own_are_in_nobodys_way(logged: Connection) -> None:
    names = ", ".join(f"ADD COLUMN {name} text" for name in OWN)
    tables = (f"ALTER TABLE {table} {names}" for table in ("org", "mem", "inv", "tup"))
    run(logged, Scene.new(), *tables, "ALTER TABLE tup ADD COLUMN org_id uuid")
    (scene,) = stage(logged)
    run(logged, scene, grant("liz", "auditor"))
    before = Before.now(logged)
    run(
        *(logged, scene),
        "UPDATE org SET name = 'New', status = 'suspended' WHERE id = {acme}",
        "UPDATE inv SET role = 'viewer' WHERE id = {first@acme}",
        *(turn("eve@acme", "revoked"), withdraw("eve")),
        *(join("eve", "admin", replaces="eve@acme"), grant("eve", "admin")),
        "DELETE FROM inv WHERE id = {other@bolt}",
    )
    assert len(before.require_all()) == 5
    position = mark(logged)
    run(logged, scene, "UPDATE tup SET relation = 'judge' WHERE relation = 'auditor'")
    run(logged, scene, "DELETE FROM tup WHERE relation = 'judge'")
    assert [event.action for event in events_since(logged, position)] == [
        *("authz.tuple_deleted", "authz.tuple_created", "authz.tuple_deleted")
    ]


def test_a_temporary_table_is_no_log(logged: Connection) -> None:
    (scene,) = stage(logged)
    position = mark(logged)
    run(logged, scene, "CREATE TEMPORARY TABLE aud (LIKE aud INCLUDING ALL)")
    run(logged, scene, "UPDATE org SET name = 'New' WHERE id = {acme}")
    assert logged.scalar(text("SELECT count(*) FROM aud")) == 0
    run(logged, scene, "DROP TABLE pg_temp.aud")
    assert [event.action for event in events_since(logged, position)] == ["tenancy.org_updated"]


def test_copy_is_recorded(logged: Connection) -> None:
    (scene,) = stage(logged)
    raw: Any = logged.connection.dbapi_connection
    if not isinstance(raw, psycopg.Connection):
        pytest.skip("COPY as psycopg does it")
    before = Before.now(logged)
    with raw.cursor() as cursor, cursor.copy("COPY mem (id, usr_id, org_id, role) FROM STDIN") as c:
        for name in ("max", "liz"):
            c.write_row((scene.uuid(f"{name}"), scene.uuid(name), scene.uuid("acme"), "guest"))
    assert len(before.require_all()) == 2


def test_nobodys_events_are_doubled_or_lost_by_a_savepoint(logged: Connection) -> None:
    (scene,) = stage(logged)
    before = Before.now(logged)
    savepoint = logged.begin_nested()
    run(logged, scene, turn("eve@acme", "revoked"))
    savepoint.rollback()
    assert before.events == []
    run(logged, scene, turn("eve@acme", "revoked"), withdraw("eve"))
    savepoint = logged.begin_nested()
    run(logged, scene, join("eve", "guest", replaces="eve@acme"))
    assert [each.action for each in before.events] == ["tenancy.member_role_changed"]
    savepoint.rollback()
    assert [each.action for each in before.require_all()] == ["tenancy.member_left"]


def test_who_left_before_the_organization_ended_has_left(session: Session) -> None:
    connection = session.connection()
    (scene,) = stage(connection)
    tenancy = TenancyRepository(session)
    before = Before.now(connection)
    tenancy.self_leave(scene["eve@acme"])
    tenancy.admin_remove(scene["dan@acme"], scene["ann"])
    tenancy.revoke_org(scene["acme"])
    actions = [each.action for each in before.require_all()]
    assert actions == ["tenancy.member_left", "tenancy.member_removed", "tenancy.org_revoked"]
    assert connection.scalar(text("SELECT count(*) FROM mem WHERE status <> 'revoked'")) == 2
