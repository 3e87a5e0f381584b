"""The schema upholds the rules against clients that know nothing of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from flametrench_tenancy_sqlalchemy import (
    AlreadyTerminalError,
    InvitationNotPendingError,
    PreconditionError,
    SoleOwnerError,
    TenancyError,
)
from flametrench_tenancy_sqlalchemy._integrity import broken_rule, constraint_name
from tests.support.foreign_hands import ALLOWED, REFUSED_AT_COMMIT, REFUSED_AT_ONCE, Attempt
from tests.support.raw import run
from tests.support.scenes import Scene, stage

ERRORS: dict[str, tuple[type[TenancyError], str]] = {
    "org_revoked_is_final": (AlreadyTerminalError, "already_terminal"),
    "mem_revoked_is_final": (AlreadyTerminalError, "already_terminal"),
    "inv_terminal_is_final": (InvitationNotPendingError, "conflict.invitation_not_pending"),
    "mem_identity_is_final": (PreconditionError, "precondition.mem_identity"),
    "mem_org_not_revoked": (PreconditionError, "precondition.org_not_active"),
    "inv_org_not_revoked": (PreconditionError, "precondition.org_not_active"),
    "mem_replaces_same_chain": (PreconditionError, "precondition.replaces_chain"),
    "mem_replaces_unique": (PreconditionError, "precondition.replaces_chain"),
    "mem_keeps_owner": (SoleOwnerError, "forbidden.sole_owner"),
    "mem_tup_duality": (PreconditionError, "precondition.membership_tuple"),
}
"""What the package makes of the schema's refusals."""


@pytest.fixture
def scene(clean_engine: Engine) -> Scene:
    """A scene that has been committed."""
    with clean_engine.begin() as connection:
        (scene,) = stage(connection)
    return scene


def attempts(by_rule: dict[str, list[Attempt]]) -> pytest.MarkDecorator:
    """Try each attempt, together with the rule that refuses it."""
    cases = [
        pytest.param(rule, attempt, id=f"{rule}: {attempt}")
        for rule, tried in by_rule.items()
        for attempt in tried
    ]
    return pytest.mark.parametrize("rule, attempt", cases)


@attempts(REFUSED_AT_ONCE)
def test_what_breaks_a_rule_is_refused_at_once(
    rule: str, attempt: Attempt, scene: Scene, clean_engine: Engine
) -> None:
    with begun(clean_engine, scene, attempt) as connection, refused(rule):
        run(connection, scene, attempt.statement)


@attempts(REFUSED_AT_COMMIT)
def test_what_leaves_a_rule_broken_is_refused_at_commit(
    rule: str, attempt: Attempt, scene: Scene, clean_engine: Engine
) -> None:
    with begun(clean_engine, scene, attempt) as connection:
        run(connection, scene, attempt.statement)
        with refused(rule):
            connection.commit()


@pytest.mark.parametrize("attempt", ALLOWED, ids=str)
def test_what_breaks_no_rule_is_none_of_the_schemas_business(
    attempt: Attempt, scene: Scene, clean_engine: Engine
) -> None:
    with begun(clean_engine, scene, attempt) as connection:
        run(connection, scene, attempt.statement)
        connection.commit()


def test_every_refusal_has_been_provoked() -> None:
    assert {*REFUSED_AT_ONCE, *REFUSED_AT_COMMIT} == {*ERRORS}


@contextmanager
def begun(engine: Engine, scene: Scene, attempt: Attempt) -> Iterator[Connection]:
    """Commit what comes before an attempt, and begin the transaction that it is made in."""
    with engine.begin() as connection:
        run(connection, scene, *attempt.after)
    with engine.connect() as connection:
        run(connection, scene, *attempt.before)
        yield connection


@contextmanager
def refused(rule: str) -> Iterator[None]:
    """Expect the database to refuse the block by a constraint that the package knows."""
    with pytest.raises(DBAPIError) as caught:
        yield
    assert constraint_name(caught.value) == rule
    error = broken_rule(caught.value)
    assert error is not None
    assert (type(error), error.code) == ERRORS[rule]
