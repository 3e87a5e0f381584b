"""The schema's rules in other schemas, under temporary tables, in restores and at our commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    Base,
    PreconditionError,
    Role,
    SoleOwnerError,
    TenancyRepository,
    TenancyStore,
    unit_of_work,
)
from flametrench_tenancy_sqlalchemy._integrity import constraint_name
from flametrench_tenancy_sqlalchemy.doctor import Finding, Severity, diagnose
from flametrench_tenancy_sqlalchemy.migrations import downgrade, upgrade
from flametrench_tenancy_sqlalchemy.migrations.adoption import SchemaMismatchError
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase
from tests.support.foreign_hands import EVE_LEAVES
from tests.support.raw import grant, join, run, turn, withdraw
from tests.support.rows import committed_rows
from tests.support.scenes import Scene, stage

TABLES = ("usr", "org", "mem", "inv", "tup")
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
def empty(new_database: NewDatabase) -> Iterator[Engine]:
    """An engine on an empty database."""
    engine = create_engine(new_database())
    yield engine
    engine.dispose()


@pytest.fixture
def migrated(new_database: NewDatabase) -> Iterator[Engine]:
    """An engine on a migrated database of the test's own."""
    engine = create_engine(new_database(migrated=True))
    yield engine
    engine.dispose()


class TestOurCommits:
    """What the application breaks beside our operations is refused in our words."""

    def test_a_unit_of_work_ends_in_our_words(self, scene: Scene, clean_engine: Engine) -> None:
        def work() -> None:
            with unit_of_work(sessionmaker(clean_engine)) as tenancy:
                tenancy.add_member(scene["acme"], scene["max"], Role.MEMBER)
                run(tenancy.session.connection(), scene, withdraw("max"))

        before = committed_rows(clean_engine)
        with pytest.raises(PreconditionError) as caught:
            work()
        assert caught.value.code == "precondition.membership_tuple"
        assert committed_rows(clean_engine) == before

    def test_a_standalone_operation_ends_in_our_words(
        self, scene: Scene, clean_engine: Engine
    ) -> None:
        sessions = sessionmaker(clean_engine)

        @event.listens_for(sessions, "before_commit")
        def interfere(session: Session) -> None:
            run(
                session.connection(),
                scene,
                *(turn("ann@acme", "revoked"), withdraw("ann")),
                *(turn("bob@acme", "revoked"), withdraw("bob")),
            )

        before = committed_rows(clean_engine)
        with pytest.raises(SoleOwnerError):
            TenancyStore(sessions).add_member(scene["acme"], scene["max"], Role.MEMBER)
        assert committed_rows(clean_engine) == before

    def test_checked_at_once_all_but_sets_go_on(self, scene: Scene, clean_engine: Engine) -> None:
        """Each operation writes by one statement; only sets take several."""
        with Session(clean_engine) as session:
            tenancy = TenancyRepository(session)
            session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            joined = tenancy.add_member(scene["acme"], scene["max"], Role.MEMBER)
            promoted = tenancy.change_role(joined.id, Role.OWNER)
            tenancy.suspend_membership(promoted.id)
            with pytest.raises(PreconditionError) as caught:
                tenancy.add_members(scene["acme"], [(scene["max"], Role.MEMBER)])
            assert caught.value.code == "precondition.membership_tuple"
            tenancy.revoke_org(scene["acme"])
            session.commit()


class TestElsewhere:
    """The rules are about our tables, wherever they are and whatever else has their names."""

    def test_a_schema_that_is_not_on_the_search_path(self, empty: Engine) -> None:
        upgrade(empty.url, schema="tenancy")
        with empty.begin() as connection:
            connection.exec_driver_sql("SET LOCAL search_path = tenancy")
            (scene,) = stage(connection)
        elsewhere = withdraw("eve").replace("tup", "tenancy.tup", 1)
        with empty.connect() as connection:
            run(connection, scene, elsewhere)
            with refused("mem_tup_duality"):
                connection.commit()
        translated = empty.execution_options(schema_translate_map={None: "tenancy"})
        TenancyStore(sessionmaker(translated)).self_leave(scene["ann@acme"])
        with pytest.raises(SoleOwnerError):
            TenancyStore(sessionmaker(translated)).self_leave(scene["bob@acme"])

    def test_empty_temporary_tables_of_the_same_names(
        self, scene: Scene, clean_engine: Engine
    ) -> None:
        with clean_engine.connect() as connection:
            for table in TABLES:
                run(
                    connection,
                    scene,
                    f"CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING DEFAULTS)",
                )
            run(connection, scene, withdraw("eve").replace("tup", "public.tup", 1))
            with refused("mem_tup_duality"):
                connection.commit()
            connection.detach()

    def test_a_temporary_type_of_the_same_name(self, scene: Scene, clean_engine: Engine) -> None:
        with clean_engine.connect() as connection:
            run(connection, scene, 'CREATE DOMAIN pg_temp.text AS "char"', withdraw("eve"))
            with refused("mem_tup_duality"):
                connection.commit()
            connection.detach()


class TestRestores:
    """A restore goes around the rules, and the doctor looks at what it brought."""

    def test_tables_come_in_any_order(
        self, scene: Scene, clean_engine: Engine, migrated: Engine
    ) -> None:
        with clean_engine.begin() as connection:
            run(connection, scene, *EVE_LEAVES, join("eve", "admin", replaces="eve@acme"))
            run(connection, scene, grant("eve", "admin"))
        restore(clean_engine, migrated, sorted(TABLES))
        assert committed_rows(migrated) == committed_rows(clean_engine)
        assert errors(migrated) == []

    def test_the_doctor_finds_what_is_missing(
        self, scene: Scene, clean_engine: Engine, migrated: Engine
    ) -> None:
        restore(clean_engine, migrated, ["inv", "mem", "org", "usr"])
        assert [(finding.check, finding.count) for finding in errors(migrated)] == [
            ("membership_without_tuple", 7)
        ]

    def test_without_going_around_them_it_fails(
        self, scene: Scene, clean_engine: Engine, migrated: Engine
    ) -> None:
        with refused("mem_tup_duality"):
            restore(clean_engine, migrated, ["usr", "org", "mem"], role="origin")


class TestMigration:
    """The revision that brings the rules."""

    def test_it_refuses_a_history_that_has_forked(self, migrated: Engine) -> None:
        downgrade(migrated.url, "ft0001")
        with migrated.begin() as connection:
            (scene,) = stage(connection)
            fork = join("sam", "guest", "revoked", replaces="sam@acme")
            run(connection, scene, fork, fork)
            before = connection.scalars(OURS).all()
        with pytest.raises(SchemaMismatchError, match="1 memberships are replaced by more than"):
            upgrade(migrated.url)
        with migrated.connect() as connection:
            assert connection.scalars(OURS).all() == before

    def test_its_downgrade_leaves_nothing_of_it_behind(
        self, empty: Engine, migrated: Engine
    ) -> None:
        upgrade(empty.url, "ft0001")
        downgrade(migrated.url, "ft0001")
        with empty.connect() as first, migrated.connect() as back:
            assert back.scalars(OURS).all() == first.scalars(OURS).all()


def errors(engine: Engine) -> list[Finding]:
    """Return what the doctor says must not be."""
    with Session(engine) as session:
        return [found for found in diagnose(session) if found.severity is Severity.ERROR]


def restore(source: Engine, target: Engine, tables: list[str], *, role: str = "replica") -> None:
    """Copy tables one by one, as a dump of data does."""
    rows = committed_rows(source)
    with target.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL session_replication_role = {role}")
        for table in tables:
            connection.execute(
                Base.metadata.tables[table].insert(), [row._asdict() for row in rows[table]]
            )


@contextmanager
def refused(rule: str) -> Iterator[None]:
    """Expect the database to refuse the block by a constraint."""
    with pytest.raises(DBAPIError) as caught:
        yield
    assert constraint_name(caught.value) == rule


@pytest.mark.parametrize("before", [0, 20], ids=["never analyzed", "analyzed among small ones"])
def test_the_commit_of_a_set_reads_no_member_twice_over_whatever_the_statistics_say(
    migrated: Engine, before: int
) -> None:
    number = 600
    fetched = text(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'tup'"
    )
    if before:
        with Session(migrated) as session, session.begin():
            for _ in range(before):
                make_org(session)
        with migrated.begin() as connection:
            connection.exec_driver_sql("ANALYZE mem, tup")
    with Session(migrated) as session:
        tenancy = TenancyRepository(session)
        users = [make_user(session) for _ in range(number)]
        org_id = make_org(session).id
        tenancy.add_members(org_id, [(user.id, Role.MEMBER) for user in users], all_or_nothing=True)
        so_far = session.scalar(fetched)
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))

        # One for the membership and one for the tuple; among all members it would be thousands.
        assert session.scalar(fetched) - so_far <= 3 * number
