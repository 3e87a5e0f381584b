"""`TenancyStore` tries a transaction again that the database gave up for another one's sake."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import stamina
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import Membership, Role, TenancyStore
from flametrench_tenancy_sqlalchemy._integrity import sqlstate
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org
from tests.support.rows import committed_rows
from tests.support.statements import await_blocked, backend_pid

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

SERIALIZATION_FAILURE = "40001"


@pytest.fixture
def owners(db: Engine) -> list[str]:
    """The memberships of two owners of one organization."""
    with Session(db) as session, session.begin():
        org = make_org(session)
        make_member(session, org, role=Role.OWNER)
        return list(session.scalars(select(Membership.id).order_by(Membership.id)))


@pytest.fixture
def without_retries() -> Iterator[None]:
    """Retries switched off, as an application does in its tests."""
    stamina.set_active(False)
    yield
    stamina.set_active(True)


@contextmanager
def between_the_locks(engine: Engine, interfere: Callable[[Connection], None]) -> Iterator[None]:
    """Interfere in each transaction after its first lock and before its second one."""
    statements = 0

    def begin(connection: Connection) -> None:
        nonlocal statements
        statements = 0

    def on_statement(connection: Connection, *_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == 2:
            interfere(connection)

    event.listen(engine, "begin", begin)
    event.listen(engine, "before_cursor_execute", on_statement)
    yield
    event.remove(engine, "begin", begin)
    event.remove(engine, "before_cursor_execute", on_statement)


class TestAConflict:
    """The other owner's row changes after the operation has taken its snapshot."""

    @pytest.fixture
    def repeatable(self, db: Engine) -> Engine:
        return db.execution_options(isolation_level="REPEATABLE READ")

    def conflicts(
        self, observer: Engine, mem_id: str, times: int
    ) -> tuple[Callable[[Connection], None], list[int]]:
        seen: list[int] = []

        def interfere(connection: Connection) -> None:
            seen.append(backend_pid(connection))
            if len(seen) <= times:
                with observer.begin() as other:
                    other.execute(
                        update(Membership)
                        .where(Membership.id == mem_id)
                        .values(updated_at=text("clock_timestamp()"))
                    )

        return interfere, seen

    def test_is_tried_again_until_there_is_none(
        self, db: Engine, observer: Engine, repeatable: Engine, owners: list[str]
    ) -> None:
        interfere, attempts = self.conflicts(observer, owners[1], times=2)

        with between_the_locks(repeatable, interfere):
            TenancyStore(sessionmaker(repeatable)).self_leave(owners[0])

        assert len(attempts) == 3
        statuses = {row.id: row.status for row in committed_rows(db)["mem"]}
        assert [statuses[id_] for id_ in owners] == ["revoked", "active"]

    def test_is_raised_as_it_is_when_it_does_not_end(
        self,
        db: Engine,
        observer: Engine,
        repeatable: Engine,
        owners: list[str],
        endings: Counter[str],
    ) -> None:
        interfere, attempts = self.conflicts(observer, owners[1], times=10)
        endings.clear()

        with between_the_locks(repeatable, interfere), pytest.raises(DBAPIError) as conflict:
            TenancyStore(sessionmaker(repeatable), attempts=3).self_leave(owners[0])

        assert sqlstate(conflict.value) == SERIALIZATION_FAILURE
        assert len(attempts) == 3
        assert endings["checkout"] == endings["checkin"] == 3
        assert {row.status for row in committed_rows(db)["mem"]} == {"active"}

    def test_that_is_a_deadlock_is_tried_again(
        self, db: Engine, observer: Engine, owners: list[str]
    ) -> None:
        lock = select(Membership.id).with_for_update()
        attempts: list[int] = []

        with observer.connect() as other, ThreadPoolExecutor(1) as pool:
            other.execute(text("SET LOCAL deadlock_timeout = '1h'"))
            other.execute(lock.where(Membership.id == owners[1]))
            pid = backend_pid(other)

            def close_the_circle(connection: Connection) -> None:
                attempts.append(backend_pid(connection))
                if len(attempts) == 1:
                    connection.connection.cursor().execute("SET LOCAL deadlock_timeout = '1ms'")
                    pool.submit(release_after, lock.where(Membership.id == owners[0]))
                    await_blocked(observer, pid)

            def release_after(statement: Any) -> None:
                other.execute(statement)
                other.rollback()

            with between_the_locks(db, close_the_circle):
                TenancyStore(sessionmaker(db)).self_leave(owners[0])

        assert len(attempts) == 2
        statuses = {row.id: row.status for row in committed_rows(db)["mem"]}
        assert [statuses[id_] for id_ in owners] == ["revoked", "active"]

    def test_is_not_tried_again_where_retries_are_switched_off(
        self,
        observer: Engine,
        repeatable: Engine,
        owners: list[str],
        without_retries: None,
    ) -> None:
        interfere, attempts = self.conflicts(observer, owners[1], times=1)

        with between_the_locks(repeatable, interfere), pytest.raises(DBAPIError):
            TenancyStore(sessionmaker(repeatable)).self_leave(owners[0])

        assert len(attempts) == 1

    def test_is_tried_as_often_as_an_applications_tests_say(
        self, observer: Engine, repeatable: Engine, owners: list[str]
    ) -> None:
        interfere, attempts = self.conflicts(observer, owners[1], times=1)

        stamina.set_testing(True, attempts=1)
        try:
            with between_the_locks(repeatable, interfere), pytest.raises(DBAPIError):
                TenancyStore(sessionmaker(repeatable)).self_leave(owners[0])
        finally:
            stamina.set_testing(False)

        assert len(attempts) == 1

    def test_of_another_kind_is_not_tried_again(self, db: Engine, owners: list[str]) -> None:
        attempts: list[int] = []

        def fail(connection: Connection) -> None:
            attempts.append(backend_pid(connection))
            connection.exec_driver_sql("SELECT 1 / 0")

        with between_the_locks(db, fail), pytest.raises(DBAPIError, match="division by zero"):
            TenancyStore(sessionmaker(db)).self_leave(owners[0])

        assert len(attempts) == 1
