"""A consumer is given every committed event once, in order, and moves when its work commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import AuditEvent, PreconditionError, TenancyError
from flametrench_tenancy_sqlalchemy._integrity import is_transient
from flametrench_tenancy_sqlalchemy.audit import (
    AuditConsumer,
    AuditLog,
    Lag,
    SkippedEvent,
    begin_era,
)
from flametrench_tenancy_sqlalchemy.migrations.grants import grants
from flametrench_tenancy_sqlalchemy.transactions.sessions import itself
from tests.support.counting import sent
from tests.support.races import LEVELS
from tests.support.settling import settle

Emit = Callable[..., None]


def write(session: Session, *ids: str) -> None:
    for id_ in ids:
        AuditLog(session).write("proj.archive", ("proj", id_))


@pytest.fixture
def emit(clean_engine: Engine) -> Emit:
    """Commits an event about each id."""

    def emit(*ids: str) -> None:
        with Session(clean_engine) as session, session.begin():
            write(session, *ids)

    return emit


@contextmanager
def worker(engine: Engine, level: str = LEVELS[0], *, settled: bool = True) -> Iterator[AuditLog]:
    if settled:
        settle(engine)
    with (
        engine.connect().execution_options(isolation_level=level) as connection,
        Session(connection) as session,
    ):
        yield AuditLog(session)


def told(events: list[AuditEvent]) -> list[str]:
    return [event.target_id for event in events]


@pytest.mark.parametrize("level", LEVELS)
def test_events_come_in_order_from_the_beginning_and_go_on_where_a_commit_left_off(
    emit: Emit, clean_engine: Engine, level: str
) -> None:
    emit("a", "b")
    emit("c")
    with worker(clean_engine, level) as log:
        assert told(log.follow("mail", limit=2)) == ["a", "b"]
        log.session.commit()
        assert told(log.follow("mail", limit=2)) == ["c"]
        assert log.follow("mail") == []
        log.session.rollback()
        assert told(log.follow("mail")) == ["c"]
        log.session.commit()
        assert log.follow("mail") == []
        assert told(log.follow("another")) == ["a", "b", "c"]


def test_what_is_not_settled_is_withheld_so_that_nothing_is_passed_over(
    emit: Emit, clean_engine: Engine
) -> None:
    with Session(clean_engine) as early:
        write(early, "early")
        emit("late")
        with worker(clean_engine, settled=False) as log:
            assert log.follow("mail") == []
            [event] = log.query()
            assert log.lag("mail") == Lag(1, 1, event.recorded_at)
        early.commit()
    with worker(clean_engine) as log:
        assert log.lag("mail").withheld == 0
        assert told(log.follow("mail")) == ["early", "late"]
        assert log.lag("mail") == Lag(0, 0, None)


def test_what_is_prepared_is_withheld_until_it_is_committed(
    emit: Emit, clean_engine: Engine
) -> None:
    with Session(clean_engine) as session:
        if session.scalar(text("SHOW max_prepared_transactions")) == "0":
            pytest.skip("this server has no two-phase commit")
        write(session, "prepared")
        session.execute(text("PREPARE TRANSACTION 'of the feed'"))
    emit("late")
    autocommit = clean_engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        try:
            with worker(clean_engine, settled=False) as log:
                assert log.follow("mail") == []
                assert log.lag("mail").withheld == 1
        finally:
            connection.execute(text("COMMIT PREPARED 'of the feed'"))
    with worker(clean_engine) as log:
        assert told(log.follow("mail")) == ["prepared", "late"]


def test_who_dies_while_skipping_has_skipped_nothing(emit: Emit, clean_engine: Engine) -> None:
    emit("poison")
    with worker(clean_engine) as log:
        [event] = log.follow("mail")
        log.skip("mail", event, "it is poison")
        pid = log.session.scalar(text("SELECT pg_backend_pid()"))
        with clean_engine.begin() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        with pytest.raises(DBAPIError):
            log.session.execute(text("SELECT 1"))
    with worker(clean_engine) as log:
        assert told(log.follow("mail")) == ["poison"]
        assert log.session.scalars(select(SkippedEvent)).all() == []


def test_what_the_callers_own_transaction_has_written_comes_later(
    emit: Emit, clean_engine: Engine
) -> None:
    emit("a")
    with worker(clean_engine) as log:
        write(itself(log.session), "own")
        assert told(log.follow("mail")) == ["a"]
        log.session.commit()
    with worker(clean_engine) as log:
        assert told(log.follow("mail")) == ["own"]


def test_what_was_rolled_back_never_comes(emit: Emit, clean_engine: Engine) -> None:
    with Session(clean_engine) as session:
        write(session, "kept")
        savepoint = session.begin_nested()
        write(session, "gone")
        savepoint.rollback()
        write(session, "kept, too")
        session.commit()
        write(session, "gone")
        session.rollback()
    with worker(clean_engine) as log:
        assert told(log.follow("mail")) == ["kept", "kept, too"]


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_one_worker_at_a_time_works_for_a_consumer(
    emit: Emit, clean_engine: Engine, known: bool
) -> None:
    emit("a")
    if known:
        with worker(clean_engine) as log:
            log.follow("mail", limit=1)
            log.session.commit()
        emit("b")
    with worker(clean_engine) as one, worker(clean_engine) as other:
        assert told(one.follow("mail")) == ["b" if known else "a"]
        other.session.execute(text("SET LOCAL lock_timeout = '5s'"))
        assert other.follow("mail") == []
        assert told(other.follow("another")) == ["a", "b"][: 2 if known else 1]
        one.session.commit()
        assert other.follow("mail") == []


@pytest.mark.parametrize("level", LEVELS[1:])
def test_who_looks_at_an_older_snapshot_is_told_to_try_again(
    emit: Emit, clean_engine: Engine, level: str
) -> None:
    emit("a")
    with worker(clean_engine) as one, worker(clean_engine, level) as other:
        one.follow("mail", limit=1)
        one.session.commit()
        emit("b")
        settle(clean_engine)
        other.session.execute(text("SELECT 1"))
        other.session.execute(select(AuditConsumer.name))
        one.follow("mail")
        one.session.commit()
        with pytest.raises(DBAPIError) as failure:
            other.follow("mail")
        assert is_transient(failure.value)


def test_an_event_that_cannot_be_taken_is_skipped_on_record(
    emit: Emit, clean_engine: Engine
) -> None:
    emit("a", "poison", "b")
    taken = []
    with worker(clean_engine) as log:
        for event in log.follow("mail"):
            try:
                with log.session.begin_nested():
                    taken.append(100 / (event.target_id != "poison"))
            except ZeroDivisionError as exc:
                log.skip("mail", event, exc)
                log.skip("mail", event, "again \0 \ud800")
        log.session.commit()
        assert len(taken) == 2
        assert log.follow("mail") == []
        [skipped] = log.session.scalars(select(SkippedEvent))
        assert (skipped.consumer, skipped.error) == ("mail", "ZeroDivisionError: division by zero")
        assert log.get(skipped.event_id).target_id == "poison"


def test_a_batch_takes_three_statements(emit: Emit, clean_engine: Engine) -> None:
    emit("a", "b")
    with worker(clean_engine) as log:
        log.follow("mail", limit=1)
        with sent(itself(log.session)) as statements:
            assert len(log.follow("mail")) == 1
    assert len(statements) == 3


def beyond(engine: Engine) -> None:
    """Let what is there come from a server that has numbered many more transactions."""
    with engine.begin() as connection:
        for statement in (
            "SET LOCAL session_replication_role = replica",
            "UPDATE aud SET xid = CAST(CAST(CAST(xid AS text) AS bigint) + 1000000 AS text)::xid8",
            "UPDATE aud_consumer SET xid = CAST(CAST(CAST(xid AS text) AS bigint) + 1000000 "
            "AS text)::xid8",
        ):
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize("came_far", [True, False], ids=["at the end", "on the way"])
def test_after_a_restore_on_a_younger_server_a_new_era_loses_nothing(
    emit: Emit, clean_engine: Engine, came_far: bool
) -> None:
    emit("a")
    emit("b")
    with worker(clean_engine) as log:
        log.follow("mail", limit=2 if came_far else 1)
        log.session.commit()
    beyond(clean_engine)
    emit("since the restore")
    with worker(clean_engine, settled=False) as log, pytest.raises(PreconditionError) as refusal:
        log.follow("mail")
    assert refusal.value.reason == "log_restored"
    with clean_engine.begin() as connection:
        era = begin_era(connection)
    emit("in the new era")
    with worker(clean_engine) as log:
        events = log.follow("mail")
        log.session.commit()
        assert told(events) == [*["b"][came_far:], "since the restore", "in the new era"]
        assert {event.era for event in events[-2:]} == {era}
        assert log.follow("mail") == []


def test_a_worker_needs_no_more_than_its_role_has(emit: Emit, clean_engine: Engine) -> None:
    emit("a")
    role = f"follower_of_{clean_engine.url.database}"
    with clean_engine.connect() as connection, Session(connection) as session:
        settle(clean_engine)
        for statement in (
            f'CREATE ROLE "{role}"',
            *grants(role, "worker", branches=["audit"]),
            f'SET LOCAL ROLE "{role}"',
        ):
            session.execute(text(statement))
        log = AuditLog(session)
        [event] = log.follow("mail")
        log.skip("mail", event, "it is poison")
        assert log.lag("mail").events == 0
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("DELETE FROM aud_skipped"))
        session.rollback()


@pytest.mark.parametrize("consumer", ["", "x" * 601, "\0", None])
def test_a_consumer_has_a_name(clean_engine: Engine, consumer: Any) -> None:
    with worker(clean_engine) as log:
        for call in (log.follow, log.lag, partial(log.skip, event=AuditEvent(id="x"), error="")):
            with pytest.raises(TenancyError) as refusal:
                call(consumer)
            assert refusal.value.code == "precondition.consumer_format"
