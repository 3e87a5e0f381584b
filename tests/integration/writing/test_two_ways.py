"""By flush or by statement: nobody can tell what an operation leaves and returns apart."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Base, Outcome, TenancyRepository
from flametrench_tenancy_sqlalchemy.ids import decode
from tests.support.counting import sent
from tests.support.operations import every_operation
from tests.support.rows import Rows, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.writing.conftest import Play
    from tests.support.operations import Call, Operation


def described(value: Any, names: dict[str, str]) -> Any:
    """Return what can be compared of a result: entities as their values, without new ids."""
    if isinstance(value, Base):
        loaded = inspect(value).dict
        columns = inspect(value).mapper.column_attrs
        related = {r.key for r in inspect(value).mapper.relationships} & loaded.keys()
        return {c.key: described(loaded[c.key], names) for c in columns} | {
            name: described(inspect(loaded[name]).identity, names)
            for name in related
            if loaded[name] is not None
        }
    if isinstance(value, Outcome):
        return described(value.unwrap(), names)
    if dataclasses.is_dataclass(value):
        return [described(getattr(value, f.name), names) for f in dataclasses.fields(value)]
    if isinstance(value, list | tuple):
        return [described(each, names) for each in value]
    return names.get(str(value), value)


def new_ids(before: Rows, after: Rows) -> dict[str, str]:
    """Return the ids of new rows, in all that they are written as -> what they are."""
    names: dict[str, str] = {}
    for table, all_ in after.items():
        old = {row.id for row in before[table]}
        for id_ in (row.id for row in all_ if row.id not in old):
            names |= dict.fromkeys((id_, str(decode(id_, table, "id"))), f"new {table}")
    return names


def outcome(session: Session, call: Call, at: datetime) -> tuple[Any, Any]:
    """Return what a call returns and leaves, comparable."""
    before = rows(session.connection())
    result = call(TenancyRepository(session, clock=lambda: at))
    session.flush()
    after = rows(session.connection())
    names = new_ids(before, after)
    left = {
        table: sorted(
            (sorted(map(str, described(list(row), names))) for row in all_),
        )
        for table, all_ in after.items()
    }
    return described(result, names), left


@every_operation
def test_an_operation_returns_and_leaves_the_same(
    play: Play, operation: Operation, now: datetime
) -> None:
    def scene(session: Session) -> None:
        call = operation.stage(session)
        session.flush()

        with session.begin_nested() as savepoint:
            by_statement = outcome(session, call, now)
            savepoint.rollback()
        event.listen(session, "before_flush", lambda *_: None)
        by_flush = outcome(session, call, now)

        assert by_statement == by_flush

    play(scene)


def entities_in(value: Any) -> list[Any]:
    """Return the entities of a result."""
    if isinstance(value, Base):
        return [value]
    if isinstance(value, Outcome):
        return entities_in(value.unwrap())
    if dataclasses.is_dataclass(value):
        return entities_in([getattr(value, f.name) for f in dataclasses.fields(value)])
    return (
        [entity for each in value for entity in entities_in(each)]
        if isinstance(value, list)
        else []
    )


@every_operation
def test_what_is_returned_belongs_to_the_session_and_is_read_without_io(
    session: Session, operation: Operation, listen: Callable[[Session], None]
) -> None:
    call = operation.stage(session)
    session.flush()
    session.expire_all()
    listen(session)

    result = call(TenancyRepository(session))

    with sent(session) as statements:
        for entity in entities_in(result):
            assert entity in session
            assert inspect(entity).persistent
            for attribute in inspect(entity).mapper.column_attrs:
                getattr(entity, attribute.key)
    assert statements == []
