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
    PreconditionError,
    PreTuple,
    Role,
    TenancyRepository,
    Tuple,
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
    with _counted(session.connection()) as statements:
        invitation = tenancy.create_invitation(
            org.id, "x@example.com", Role.GUEST, inviter.id, AHEAD, pre_tuples=grants
        )
        accepted = tenancy.accept_invitation(
            invitation.id, as_usr_id=usr_id, accepting_identifier="x@example.com"
        )
    return accepted.materialized_tuples, [
        sent
        for sent in statements
        if "SAVEPOINT" not in sent[0]  # they have names of their own
    ]


def test_pre_tuples_take_the_same_statements_however_many_they_are(session: Session) -> None:
    many = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(10_000)]
    _, few_statements = _invite_and_accept(session, make_user(session).id, many[:1])
    granted, statements = _invite_and_accept(session, make_user(session).id, many)
    assert statements == few_statements
    assert [t.object_id for t in granted] == [g.object_id for g in many]


def test_so_they_do_where_all_of_them_are_held_already(session: Session) -> None:
    usr_id = make_user(session).id
    many = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(500)]
    granted, _ = _invite_and_accept(session, usr_id, many)
    _, few_statements = _invite_and_accept(session, usr_id, many[:1])
    kept, statements = _invite_and_accept(session, usr_id, many)
    assert statements == few_statements
    assert [t.id for t in kept] == [t.id for t in granted]
