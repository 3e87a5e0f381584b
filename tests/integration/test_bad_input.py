"""Bad input meets a typed error: nothing is written, and the transaction goes on.

On PostgreSQL, in the caller's transaction, and in memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    AcceptInvitationResult,
    PreconditionError,
    PreTuple,
    Role,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.backends import BACKENDS, make_backend, nothing_written
from tests.support.bad_input import AHEAD, Scene, bad_inputs
from tests.support.entities import refused

OPERATIONS = [
    name
    for name, member in inspect.getmembers(TenancyRepository, inspect.isfunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_spoilt_below_is_fine_otherwise(
    operation: str, backend: str, request: pytest.FixtureRequest
) -> None:
    scene = Scene(make_backend(backend, request))
    if operation.startswith("reinstate_"):
        with refused(PreconditionError, reason="invalid_transition"):
            scene.call(operation)
    else:
        scene.call(operation)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_bad_input_is_refused_by_name_and_leaves_no_trace(
    operation: str, backend: str, request: pytest.FixtureRequest, subtests: pytest.Subtests
) -> None:
    scene = Scene(make_backend(backend, request))
    refusals = bad_inputs(operation, registering=backend == "memory")
    assert refusals
    for bad in refusals:
        with subtests.test(str(bad)), nothing_written(scene.backend):
            with refused(bad.error, reason=bad.reason) as caught:
                scene.call(operation, **{bad.parameter: bad.value})
            assert bad.parameter in str(caught.value)


@contextmanager
def _counted(connection: Connection) -> Iterator[list[str]]:
    statements: list[str] = []

    def record(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(connection, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", record)


def _invite_and_accept(
    session: Session, grants: list[PreTuple], usr_id: str
) -> tuple[AcceptInvitationResult, list[str]]:
    tenancy = TenancyRepository(session)
    inviter, org = make_user(session), make_org(session)
    with _counted(session.connection()) as statements:
        invitation = tenancy.create_invitation(
            org.id, "x@example.com", Role.GUEST, inviter.id, AHEAD, pre_tuples=grants
        )
        accepted = tenancy.accept_invitation(
            invitation.id, as_usr_id=usr_id, accepting_identifier="x@example.com"
        )
    return accepted, statements


def test_pre_tuples_take_the_same_statements_however_many_they_are(session: Session) -> None:
    many = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(10_000)]
    _, few_statements = _invite_and_accept(session, many[:1], make_user(session).id)
    accepted, statements = _invite_and_accept(session, many, make_user(session).id)
    assert len(statements) == len(few_statements)
    assert [t.object_id for t in accepted.materialized_tuples] == [g.object_id for g in many]


def test_so_they_do_where_all_of_them_are_held_already(session: Session) -> None:
    # More than the 65535 parameters that one statement may have, if each were four.
    many = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(17_000)]
    usr_id, other = make_user(session).id, make_user(session).id
    first, _ = _invite_and_accept(session, many, usr_id)
    _invite_and_accept(session, many[:1], other)
    _, few_statements = _invite_and_accept(session, many[:1], other)
    again, statements = _invite_and_accept(session, many, usr_id)
    assert len(statements) == len(few_statements)
    assert [t.id for t in again.materialized_tuples] == [t.id for t in first.materialized_tuples]
