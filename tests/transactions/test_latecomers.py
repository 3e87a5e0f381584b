"""Users who come just after the database has looked for them, and before we ask who is missing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    NotFoundError,
    TenancyRepository,
    TenancyStore,
    User,
    new_id,
)
from tests.support.calls import CALLS, call
from tests.support.rows import committed_rows
from tests.support.stage import NOW, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

REFERENCES = [
    ("create_org", "creator"),
    ("add_member", "usr_id"),
    ("add_member", "invited_by"),
    ("create_invitation", "invited_by"),
]


@contextmanager
def coming(db: Engine, observer: Engine, usr_id: str) -> Iterator[list[str]]:
    """Let a user come right before the question which users there are."""
    come: list[str] = []

    def register(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT usr.id") and not come:
            with Session(observer) as session, session.begin():
                session.add(User(id=usr_id))
            come.append(usr_id)

    event.listen(db, "before_cursor_execute", register)
    try:
        yield come
    finally:
        event.remove(db, "before_cursor_execute", register)


@pytest.mark.parametrize("standalone", [True, False])
@pytest.mark.parametrize("name, parameter", REFERENCES)
def test_were_not_there(
    db: Engine, observer: Engine, name: str, parameter: str, standalone: bool
) -> None:
    with Session(observer) as session, session.begin():
        given = CALLS[name](Stage(session)) | {parameter: new_id("usr")}
    before = committed_rows(db)

    with coming(db, observer, given[parameter]) as come, Session(db) as session:
        tenancy: Any = (
            TenancyStore(sessionmaker(db), clock=lambda: NOW)
            if standalone
            else TenancyRepository(session, clock=lambda: NOW)
        )
        with pytest.raises(NotFoundError) as refusal:
            call(tenancy, name, given)
        session.rollback()

    assert come == [given[parameter]]
    assert refusal.value.details == {"parameter": parameter, "id": given[parameter]}
    after = committed_rows(db)
    assert len(after.pop("usr")) == len(before.pop("usr")) + 1
    assert after == before
