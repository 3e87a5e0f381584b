"""Every operation works as a request's role under row-level security, by statement and by flush."""

from __future__ import annotations

from typing import Final

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Policy, PreconditionError, Reason, TenancyRepository
from tests.integration.audit.test_every_writer import NODE
from tests.support.calls import CALLS
from tests.support.operations import OPERATIONS, Operation
from tests.support.raw import run
from tests.support.scenes import Scene
from tests.support.sql import Row, disagreements, snapshot

from .conftest import Engines

SPANNING: Final = {"list_orgs", "expire_invitations"}
EVERY: Final = [*OPERATIONS, *(Operation(name) for name in CALLS)]
POLICIES: Final = {
    "letter": Policy(),
    "recommended": Policy.recommended(inviter_authority=False),
    "withdrawing": Policy.recommended(
        inviter_authority=False, departure_withdraws_grants=True, seats=lambda *_: 100
    ),
}


@pytest.fixture
def staged(owner: Session) -> Session:
    """A Session on which the owner sets the stage, and a request's role then acts."""
    owner.connection().info.pop("flametrench_tenancy.isolated", None)
    return owner


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("way", ["by statement", "by flush"])
@pytest.mark.parametrize("operation", EVERY, ids=str)
def test_an_operation_does_as_the_owner_what_it_does_as_a_request(
    operation: Operation, way: str, policy: str, staged: Session, engines: Engines
) -> None:
    call = operation.stage(staged)
    staged.flush()
    if way == "by flush":
        event.listen(staged, "before_flush", lambda *_: None)
    tenancy = TenancyRepository(staged, policy=POLICIES[policy])
    before = snapshot(staged)
    with staged.begin_nested() as savepoint:
        call(tenancy)
        staged.flush()
        as_owner = changed(before, snapshot(staged))
        savepoint.rollback()
    connection = staged.connection()
    role = f"{engines['owner'].url.database}_app"
    connection.execute(text("SELECT set_config('role', :role, true)"), {"role": role})
    connection.info.pop("flametrench_tenancy.isolated", None)
    try:
        if operation.name in SPANNING:
            with pytest.raises(PreconditionError) as caught:
                call(tenancy)
            assert caught.value.reason is Reason.SPANS_ORGANIZATIONS
            return
        call(tenancy)
        staged.flush()
        staged.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    finally:
        connection.info.pop("flametrench_tenancy.isolated", None)
    connection.execute(text("SELECT set_config('role', 'none', true)"))
    assert disagreements(staged) == []
    assert changed(before, snapshot(staged)) == as_owner


def changed(before: dict[str, Row], after: dict[str, Row]) -> tuple[int, int, int]:
    """Return how many rows came, went and changed."""
    both = before.keys() & after.keys()
    return (
        len(after.keys() - before.keys()),
        len(before.keys() - after.keys()),
        sum(before[key] != after[key] for key in both),
    )


@pytest.mark.parametrize("operation", NODE)
def test_the_node_sdks_statements_work_where_the_transaction_names_the_organization(
    operation: str, scene: Scene, app: Session, owner: Session
) -> None:
    before = snapshot(owner)
    owner.rollback()
    say = "SELECT set_config('tenancy.org', {acme}::text, true), "
    say += "set_config('tenancy.about', {max}::text, true)"
    run(app.connection(), scene, say, *NODE[operation])
    app.commit()
    assert changed(before, snapshot(owner)) != (0, 0, 0)


def test_without_it_they_change_nothing(scene: Scene, app: Session, owner: Session) -> None:
    before = snapshot(owner)
    owner.rollback()
    run(app.connection(), scene, *NODE["adminRemove"], *NODE["revokeOrg"])
    app.commit()
    assert snapshot(owner) == before
