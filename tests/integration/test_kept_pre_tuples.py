"""Pre-tuples whose tuples exist already are found by arrays: a statement's parameters are few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import PreTuple, Role, TenancyRepository, Tuple
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user


@contextmanager
def _counted(connection: Connection) -> Iterator[list[tuple[str, int]]]:
    """Collect every statement with the number of its parameters."""
    statements: list[tuple[str, int]] = []

    def record(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, len(parameters)))

    event.listen(connection, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", record)


def _invite_and_accept(
    session: Session, usr_id: str, grants: list[PreTuple]
) -> tuple[list[Tuple], list[tuple[str, int]]]:
    tenancy = TenancyRepository(session)
    inviter, org = make_user(session), make_org(session)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with _counted(session.connection()) as statements:
        invitation = tenancy.create_invitation(
            org.id, "x@example.com", Role.GUEST, inviter.id, tomorrow, pre_tuples=grants
        )
        accepted = tenancy.accept_invitation(
            invitation.id, as_usr_id=usr_id, accepting_identifier="x@example.com"
        )
    return accepted.materialized_tuples, [
        sent
        for sent in statements
        if "SAVEPOINT" not in sent[0]  # they have names of their own
    ]


def test_pre_tuples_that_are_held_already_take_no_parameter_more(session: Session) -> None:
    usr_id = make_user(session).id
    many = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(500)]
    granted, _ = _invite_and_accept(session, usr_id, many)
    _, few_statements = _invite_and_accept(session, usr_id, many[:1])
    kept, statements = _invite_and_accept(session, usr_id, many)
    assert statements == few_statements
    assert [t.id for t in kept] == [t.id for t in granted]


def test_one_that_another_client_deletes_meanwhile_is_written_after_all(
    clean_engine: Engine,
) -> None:
    grant = PreTuple("editor", "proj", str(new_uuid()))
    other = create_engine(clean_engine.url, poolclass=NullPool)
    with Session(clean_engine) as session:
        usr_id = make_user(session).id
        ((before,), _) = _invite_and_accept(session, usr_id, [grant])
        session.commit()

        def delete_what_was_met(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("SELECT tup.id"):
                with other.begin() as client:
                    client.execute(text("DELETE FROM tup WHERE object_type = 'proj'"))

        event.listen(session.connection(), "before_cursor_execute", delete_what_was_met)
        ((after,), _) = _invite_and_accept(session, usr_id, [grant])
        session.commit()

        assert after.id != before.id
        assert [t.id for t in TenancyRepository(session).list_tuples_for_object(*_of(grant))] == [
            after.id
        ]


def _of(grant: PreTuple) -> tuple[str, str]:
    return grant.object_type, grant.object_id
