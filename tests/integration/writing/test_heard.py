"""Whoever listens hears what an operation writes, as if it were written by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Mapper, Session, sessionmaker

from flametrench_tenancy_sqlalchemy import (
    Base,
    Membership,
    Role,
    Status,
    TenancyRepository,
    Tuple,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org
from flametrench_tenancy_sqlalchemy.writing import endings, goes_by_flush
from tests.support.counting import sent
from tests.support.listening import listening, written
from tests.support.operations import every_operation, make_invitation
from tests.support.rows import rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tests.integration.writing.conftest import Play
    from tests.support.operations import Operation

KINDS = ("insert", "update", "delete")


@every_operation
def test_every_row_that_an_operation_writes_is_heard_of_once(
    play: Play, operation: Operation
) -> None:
    def scene(session: Session) -> None:
        call = operation.stage(session)
        session.flush()
        before = rows(session.connection())

        with listening(session) as ear:
            call(TenancyRepository(session))
            session.flush()

        expected = written(before, rows(session.connection()))
        assert any(expected.values())
        for kind in KINDS:
            once = dict.fromkeys(expected[kind], 1)
            assert ear.rows[f"before_{kind}"] == once
            assert ear.rows[f"after_{kind}"] == once
            assert ear.flushed[kind] == once

    play(scene)


@every_operation
def test_the_history_of_what_changes_is_there_before_it_is_flushed(
    session: Session, operation: Operation
) -> None:
    call = operation.stage(session)
    session.flush()
    before = {r.id: r for table in rows(session.connection()).values() for r in table}

    with listening(session) as ear:
        call(TenancyRepository(session))

    after = {r.id: r for table in rows(session.connection()).values() for r in table}
    for (_, id_), changes in ear.changes.items():
        assert changes
        for name, (old, new) in changes.items():
            assert (old, new) == (getattr(before[id_], name), getattr(after[id_], name))


def _tell(heard: list[Any]) -> Callable[..., None]:
    return lambda *args: heard.append(args)


HOW: dict[str, Callable[[Session], tuple[Any, str]]] = {
    "a Session's before_flush": lambda s: (s, "before_flush"),
    "a Session's after_flush": lambda s: (s, "after_flush"),
    "a Session's after_flush_postexec": lambda s: (s, "after_flush_postexec"),
    "a Session's after_attach": lambda s: (s, "after_attach"),
    "a Session's pending_to_persistent": lambda s: (s, "pending_to_persistent"),
    "all Sessions": lambda s: (Session, "before_flush"),
    "a model": lambda s: (Membership, "after_update"),
    "another model": lambda s: (Tuple, "after_delete"),
    "the base of all models": lambda s: (Base, "before_insert"),
    "all mappers": lambda s: (Mapper, "after_insert"),
}


@pytest.mark.parametrize("how", HOW)
def test_a_listener_of_any_kind_is_noticed_whenever_it_comes_and_goes(
    how: str, session: Session
) -> None:
    tenancy = TenancyRepository(session)
    mem_id = make_member(session, make_org(session)).id
    session.flush()
    heard: list[Any] = []
    target, name = HOW[how](session)
    options = {"propagate": True} if target is Base else {}

    assert not goes_by_flush(session)
    event.listen(target, name, listener := _tell(heard), **options)
    try:
        mem_id = tenancy.change_role(mem_id, Role.ADMIN).id
        assert heard
    finally:
        event.remove(target, name, listener)
    heard.clear()
    tenancy.change_role(mem_id, Role.MEMBER)
    assert not heard
    assert not goes_by_flush(session)


def test_a_session_whose_class_flushes_in_a_way_of_its_own_does_so(engine: Engine) -> None:
    flushed = []

    class Outspoken(Session):
        def flush(self, objects: Any = None) -> None:
            flushed.append(len(self.new))
            super().flush(objects)

    with sessionmaker(engine, class_=Outspoken)() as session:
        make_org(session)
        assert max(flushed) == 2  # the organization and its owner, after the user


@pytest.mark.parametrize(
    "target,name",
    [
        (Session, "after_commit"),
        (Session, "after_rollback"),
        (Session, "do_orm_execute"),
        (Membership.role, "set"),
        (Membership, "init"),
        (Membership, "load"),
    ],
    ids=str,
)
def test_who_listens_to_something_else_does_not_slow_an_operation_down(
    target: Any, name: str, session: Session
) -> None:
    mem_id = make_member(session, make_org(session)).id
    event.listen(target, name, listener := _tell([]))
    try:
        with sent(session) as statements:
            TenancyRepository(session).change_role(mem_id, Role.ADMIN)
    finally:
        event.remove(target, name, listener)
    assert len(statements) == 2


@pytest.mark.parametrize("by_flush", [False, True])
def test_new_entities_are_made_as_an_application_makes_them(
    session: Session, by_flush: bool
) -> None:
    org = make_org(session)
    made: list[Any] = []
    given: list[Any] = []
    event.listen(Membership, "init", on_init := lambda target, *_: made.append(target))
    event.listen(
        Membership.status, "set", on_set := lambda target, value, *_: given.append((target, value))
    )
    if by_flush:
        event.listen(session, "before_flush", lambda *_: None)
    try:
        membership = make_member(session, org)
    finally:
        event.remove(Membership, "init", on_init)
        event.remove(Membership.status, "set", on_set)
    assert made == [membership]
    assert (membership, Status.ACTIVE) in given


@every_operation
def test_a_listener_that_raises_undoes_the_operation(
    session: Session, operation: Operation
) -> None:
    class VetoError(Exception):
        pass

    def veto(session: Session, *_: object) -> None:
        if session.new or session.dirty or session.deleted:
            raise VetoError

    call = operation.stage(session)
    session.flush()
    before = rows(session.connection())
    event.listen(session, "after_flush", veto)
    with pytest.raises(VetoError):
        call(TenancyRepository(session))
    event.remove(session, "after_flush", veto)
    assert rows(session.connection()) == before


def test_nothing_is_heard_of_an_operation_that_is_refused(session: Session) -> None:
    org = make_org(session)
    tenancy = TenancyRepository(session)
    (owner,) = tenancy.list_members(org.id)
    with listening(session) as ear, pytest.raises(Exception, match="last active owner"):
        tenancy.self_leave(owner.id)
    assert not any(ear.rows.values())
    assert not any(ear.flushed.values())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(endings, "BATCH", 4)
    return 4


def test_an_organization_ends_in_batches_and_every_end_is_heard(
    session: Session, small_batches: int
) -> None:
    org = make_org(session)
    tenancy = TenancyRepository(session)
    for _ in range(9):
        make_member(session, org)
        make_invitation(session, org)
    session.expunge_all()
    most = 0
    ended: list[str] = []

    @event.listens_for(session, "after_flush")
    def count(session: Session, _: object) -> None:
        nonlocal most
        most = max(most, len(session.dirty) + len(session.deleted))
        ended.extend(type(entity).__name__ for entity in session.dirty)
        ended.extend(type(entity).__name__ for entity in session.deleted)

    tenancy.revoke_org(org.id)

    assert most == small_batches
    assert {name: ended.count(name) for name in set(ended)} == {
        "Organization": 1,
        "Membership": 10,
        "Tuple": 10,
        "Invitation": 9,
    }


@pytest.mark.sees_all
@pytest.mark.parametrize("limit,expired", [(1, 1), (4, 4), (6, 6), (1000, 9)])
def test_overdue_invitations_end_in_batches_up_to_the_limit(
    session: Session, small_batches: int, limit: int, expired: int
) -> None:
    org = make_org(session)
    ids = [make_invitation(session, org).id for _ in range(9)]
    much_later = datetime(2999, 1, 1, tzinfo=UTC)
    tenancy = TenancyRepository(session, clock=lambda: much_later)
    with listening(session) as ear:
        assert tenancy.expire_invitations(limit=limit) == expired
    assert set(ear.rows["after_update"]) == {("inv", id_) for id_ in ids[:expired]}
