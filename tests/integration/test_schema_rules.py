"""The schema upholds the rules against clients that know nothing of them, wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    AlreadyTerminalError,
    Base,
    InvitationNotPendingError,
    PreconditionError,
    Role,
    SoleOwnerError,
    TenancyError,
    TenancyRepository,
    TenancyStore,
    unit_of_work,
)
from flametrench_tenancy_sqlalchemy._integrity import broken_rule, constraint_name, sqlstate
from flametrench_tenancy_sqlalchemy.doctor import Severity, diagnose
from flametrench_tenancy_sqlalchemy.migrations import SchemaMismatchError, downgrade, upgrade
from flametrench_tenancy_sqlalchemy.testing.databases import TABLES
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
from tests.support.cluster import COORDINATOR, WORDS_OF_NODES, on_one_server
from tests.support.foreign_hands import (
    ALLOWED,
    EVE_LEAVES,
    REFUSED_AT_COMMIT,
    REFUSED_AT_ONCE,
    Attempt,
)
from tests.support.raw import grant, join, run, turn, withdraw
from tests.support.rows import committed_rows
from tests.support.scenes import Scene, stage

ERRORS: dict[str, tuple[type[TenancyError], str]] = {
    "org_revoked_is_final": (AlreadyTerminalError, "already_terminal"),
    "mem_revoked_is_final": (AlreadyTerminalError, "already_terminal"),
    "inv_terminal_is_final": (InvitationNotPendingError, "conflict.invitation_not_pending"),
    "mem_identity_is_final": (PreconditionError, "precondition.mem_identity"),
    "mem_org_not_revoked": (PreconditionError, "precondition.org_not_active"),
    "inv_org_not_revoked": (PreconditionError, "precondition.org_not_active"),
    "mem_replaces_same_chain": (PreconditionError, "precondition.replaces_chain"),
    "mem_replaces_unique": (PreconditionError, "precondition.replaces_chain"),
    "mem_keeps_owner": (SoleOwnerError, "forbidden.sole_owner"),
    "mem_tup_duality": (PreconditionError, "precondition.membership_tuple"),
}
"""What the package makes of the schema's refusals."""

OURS = text(
    "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal UNION ALL "
    "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace UNION ALL "
    "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
)


@pytest.fixture
def scene(clean_engine: Engine) -> Scene:
    """A scene that has been committed."""
    with clean_engine.begin() as connection:
        (scene,) = stage(connection)
    return scene


@pytest.fixture
def new_engine(new_database: NewDatabase) -> Iterator[Callable[..., Engine]]:
    """Makes engines on databases of the test's own."""
    engines: list[Engine] = []

    def make(*, migrated: bool = True) -> Engine:
        engines.append(create_engine(new_database(migrated=migrated)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@contextmanager
def begun(engine: Engine, scene: Scene, attempt: Attempt) -> Iterator[Connection]:
    """Commit what comes before an attempt, and begin the transaction that it is made in."""
    with engine.begin() as connection:
        run(connection, scene, *attempt.after)
    with engine.connect() as connection:
        run(connection, scene, *attempt.before)
        yield connection


@contextmanager
def refused(rule: str) -> Iterator[None]:
    """Expect the database to refuse the block by a constraint that the package knows."""
    with pytest.raises(DBAPIError) as caught:
        yield
    name = constraint_name(caught.value)
    if COORDINATOR and name is None:
        assert sqlstate(caught.value) in WORDS_OF_NODES
        return
    assert name == rule
    error = broken_rule(caught.value)
    assert error is not None
    assert (type(error), error.code) == ERRORS[rule]


def attempts(by_rule: dict[str, list[Attempt]]) -> pytest.MarkDecorator:
    """Try each attempt, together with the rule that refuses it."""
    cases = [
        pytest.param(rule, attempt, id=f"{rule}: {attempt}")
        for rule, tried in by_rule.items()
        for attempt in tried
    ]
    return pytest.mark.parametrize("rule, attempt", cases)


@attempts(REFUSED_AT_ONCE)
def test_what_breaks_a_rule_is_refused_at_once(
    rule: str, attempt: Attempt, scene: Scene, clean_engine: Engine
) -> None:
    with begun(clean_engine, scene, attempt) as connection, refused(rule):
        run(connection, scene, attempt.statement)


@attempts(REFUSED_AT_COMMIT)
def test_what_leaves_a_rule_broken_is_refused_at_commit(
    rule: str, attempt: Attempt, scene: Scene, clean_engine: Engine
) -> None:
    with begun(clean_engine, scene, attempt) as connection:
        run(connection, scene, attempt.statement)
        with refused(rule):
            connection.commit()


@pytest.mark.parametrize("attempt", ALLOWED, ids=str)
def test_what_breaks_no_rule_is_none_of_the_schemas_business(
    attempt: Attempt, scene: Scene, clean_engine: Engine
) -> None:
    with begun(clean_engine, scene, attempt) as connection:
        run(connection, scene, attempt.statement)
        connection.commit()


def test_every_refusal_has_been_provoked() -> None:
    assert {*REFUSED_AT_ONCE, *REFUSED_AT_COMMIT} == {*ERRORS}


@on_one_server("what a node refuses at the commit arrives without its cause")
def test_what_the_application_breaks_beside_our_operations_is_refused_in_our_words(
    scene: Scene, clean_engine: Engine
) -> None:
    sessions, before = sessionmaker(clean_engine), committed_rows(clean_engine)

    def work() -> None:
        with unit_of_work(sessions) as tenancy:
            tenancy.add_member(scene["acme"], scene["max"], Role.MEMBER)
            run(tenancy.session.connection(), scene, withdraw("max"))

    with pytest.raises(PreconditionError) as caught:
        work()
    assert caught.value.code == "precondition.membership_tuple"

    @event.listens_for(sessions, "before_commit")
    def interfere(session: Session) -> None:
        for owner in ("ann", "bob"):
            ends = turn(f"{owner}@acme", "revoked"), withdraw(owner)
            run(session.connection(), scene, *ends)

    with pytest.raises(SoleOwnerError):
        TenancyStore(sessions).add_member(scene["acme"], scene["max"], Role.MEMBER)
    assert committed_rows(clean_engine) == before


def test_a_successor_is_later_than_its_predecessor_though_the_clients_clock_is_behind(
    scene: Scene, clean_engine: Engine
) -> None:
    behind = join("eve", "admin", replaces="eve@acme", at="now() - interval '1 day'")
    with clean_engine.begin() as connection:
        run(connection, scene, *EVE_LEAVES, behind, grant("eve", "admin"))
        later = """
            SELECT new.created_at - old.created_at = interval '1 microsecond'
                AND new.updated_at = new.created_at
            FROM mem AS new JOIN mem AS old ON old.id = new.replaces
            """
        assert connection.exec_driver_sql(later).scalars().all() == [True]


@pytest.mark.parametrize("table", TABLES)
def test_no_table_is_emptied_by_mistake(table: str, scene: Scene, clean_engine: Engine) -> None:
    before = committed_rows(clean_engine)
    with clean_engine.connect() as connection:
        with pytest.raises(DBAPIError, match=r"tenancy\.allow_truncate = on") as caught:
            run(connection, scene, f"TRUNCATE {table} CASCADE")
        assert str(constraint_name(caught.value)).endswith("_keeps_rows")
        connection.rollback()
        run(connection, scene, "SET LOCAL tenancy.allow_truncate = on", f"TRUNCATE {table} CASCADE")
        assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
        connection.rollback()
        # What the setting is after a transaction that had it is not what it is without one.
        with pytest.raises(DBAPIError):
            run(connection, scene, f"TRUNCATE {table} CASCADE")
    assert committed_rows(clean_engine) == before


@on_one_server("all tests are in other schemas there")
def test_in_another_schema_the_rules_are_about_its_tables(
    new_engine: Callable[..., Engine],
) -> None:
    empty = new_engine(migrated=False)
    upgrade(empty.url, schema="tenancy")
    with empty.begin() as connection:
        connection.exec_driver_sql("SET LOCAL search_path = tenancy")
        (scene,) = stage(connection)
    with empty.connect() as connection:
        run(connection, scene, withdraw("eve").replace("tup", "tenancy.tup", 1))
        with refused("mem_tup_duality"):
            connection.commit()
    translated = empty.execution_options(schema_translate_map={None: "tenancy"})
    TenancyStore(sessionmaker(translated)).self_leave(scene["ann@acme"])
    with pytest.raises(SoleOwnerError):
        TenancyStore(sessionmaker(translated)).self_leave(scene["bob@acme"])


# Each makes a withdrawn tuple look right to whoever looks with the client's eyes.
DISGUISES = {
    "temporary tables": [
        f"CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING DEFAULTS)"
        for table in ("usr", "org", "mem", "inv", "tup")
    ],
    "a temporary type": ['CREATE DOMAIN pg_temp.text AS "char"'],
    "a table further up the path": [
        "CREATE SCHEMA mine",
        "CREATE TABLE mine.mem (LIKE public.mem)",
        "SET LOCAL search_path = mine, public",
    ],
    "an operator further up the path": [
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine.never(text, text) RETURNS boolean LANGUAGE sql RETURN false",
        "CREATE OPERATOR mine.= (FUNCTION = mine.never, LEFTARG = text, RIGHTARG = text)",
        "SET LOCAL search_path = mine, pg_catalog, public",
    ],
    "row-level security": [
        "CREATE ROLE client",
        "GRANT SELECT, DELETE ON tup TO client",
        "ALTER TABLE mem ENABLE ROW LEVEL SECURITY",
        "SET LOCAL ROLE client",
    ],
}


@on_one_server("temporary and local objects do not reach a node")
@pytest.mark.parametrize("disguise", DISGUISES)
def test_what_the_client_sees_is_not_what_the_rules_look_at(
    disguise: str, scene: Scene, clean_engine: Engine
) -> None:
    with clean_engine.connect() as connection:
        run(connection, scene, *DISGUISES[disguise], withdraw("eve").replace("tup", "public.tup"))
        with refused("mem_tup_duality"):
            connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")


def test_a_restore_goes_around_the_rules_and_the_doctor_looks_at_what_it_brought(
    scene: Scene, clean_engine: Engine, new_engine: Callable[..., Engine]
) -> None:
    rows, target = committed_rows(clean_engine), new_engine()

    def restore(*tables: str, role: str) -> None:
        with target.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL session_replication_role = {role}")
            for table in tables:
                values = [row._asdict() for row in rows[table]]
                connection.execute(Base.metadata.tables[table].insert(), values)

    def errors() -> list[tuple[str, int]]:
        with Session(target) as session:
            found = diagnose(session)
        return [(f.check, f.count) for f in found if f.severity is Severity.ERROR]

    with refused("mem_tup_duality"):
        restore("usr", "org", "mem", role="origin")
    with clean_engine.begin() as connection:
        run(connection, scene, *EVE_LEAVES, join("eve", "admin", replaces="eve@acme"))
        run(connection, scene, grant("eve", "admin"))
    rows = committed_rows(clean_engine)
    restore("inv", "mem", "org", role="replica")
    assert {check for check, _ in errors()} == {"dangling_reference", "membership_without_tuple"}
    restore("usr", role="replica")
    assert errors() == [("membership_without_tuple", 7)]
    restore("tup", role="replica")
    assert errors() == []
    assert committed_rows(target) == rows


def test_the_revision_refuses_a_forked_history_and_leaves_nothing_behind_when_it_goes(
    new_engine: Callable[..., Engine],
) -> None:
    first, engine = new_engine(migrated=False), new_engine()
    upgrade(first.url, "ft0001")
    downgrade(engine.url, "ft0001")
    with first.connect() as connection:
        before = connection.scalars(OURS).all()
    with engine.begin() as connection:
        assert connection.scalars(OURS).all() == before
        (scene,) = stage(connection)
        fork = join("sam", "guest", "revoked", replaces="sam@acme")
        run(connection, scene, fork, fork)
    with pytest.raises(SchemaMismatchError, match="1 memberships are replaced by more than"):
        upgrade(engine.url)
    with engine.connect() as connection:
        assert connection.scalars(OURS).all() == before


@pytest.mark.parametrize("before", [0, 20], ids=["never analyzed", "analyzed among small ones"])
def test_the_commit_of_a_set_reads_no_member_twice_over_whatever_the_statistics_say(
    new_engine: Callable[..., Engine], before: int
) -> None:
    number, engine = 400, new_engine()
    fetched = text(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'tup'"
    )
    if before:
        with Session(engine) as session, session.begin():
            for _ in range(before):
                make_org(session)
            session.execute(text("ANALYZE mem, tup"))
    with Session(engine) as session:
        users = [make_user(session) for _ in range(number)]
        org_id = make_org(session).id
        members = [(user.id, Role.MEMBER) for user in users]
        TenancyRepository(session).add_members(org_id, members, all_or_nothing=True)
        so_far = session.scalar(fetched)
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))

        # One for the membership and one for the tuple; among all members it would be thousands.
        assert session.scalar(fetched) - so_far <= 3 * number
