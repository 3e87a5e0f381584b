"""A second thread on the Session: it meets SQLAlchemy's error, or luck, and does no damage."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.invariants import breaches
from tests.support.operations import OPERATIONS
from tests.support.rows import committed_rows, rows, untruths

if TYPE_CHECKING:
    from concurrent.futures import Future

    from sqlalchemy import Engine

    from tests.support.operations import Call

BY_NAME = {operation.name: operation for operation in OPERATIONS}


class Halt:
    """A statement at which a thread stops until it is told to go on."""

    def __init__(self, at: int) -> None:
        self._left = at
        self._thread: int | None = None
        self._going = threading.Event()
        self.reached = threading.Event()

    def run(self, call: Call, session: Session) -> None:
        self._thread = threading.get_ident()
        try:
            call(TenancyRepository(session))
        finally:
            self.reached.set()

    def on_statement(self, *_: object) -> None:
        if threading.get_ident() == self._thread:
            self._left -= 1
            if self._left == 0:
                self.reached.set()
                assert self._going.wait(10)

    def resume(self, future: Future[None]) -> BaseException | None:
        self._going.set()
        return future.exception(10)


def staged(db: Engine, name: str) -> Call:
    with Session(db) as session, session.begin():
        return BY_NAME[name].stage(session)


@pytest.mark.parametrize("name", ["create_org", "change_role", "revoke_org", "accept_invitation"])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_call_in_the_middle_of_another_ones(db: Engine, name: str, at: int) -> None:
    call, intruding = staged(db, name), staged(db, "add_member")
    before = committed_rows(db)
    with Session(db) as session, ThreadPoolExecutor(1) as pool:
        halt = Halt(at)
        event.listen(session.connection(), "before_cursor_execute", halt.on_statement)
        first = pool.submit(halt.run, call, session)
        assert halt.reached.wait(10)

        try:
            intruding(TenancyRepository(session))
            let_in = True
        except InvalidRequestError:
            let_in = False

        assert halt.resume(first) is None
        assert untruths(session, rows(session.connection())) == []
        session.commit()

    after = committed_rows(db)
    joined = [row for row in after["mem"] if row.role == "admin" and row.invited_by]
    assert len(joined) == let_in
    assert after != before
    with db.connect() as connection:
        assert breaches(connection) == []
