"""The peer package's PostgreSQL store beside ours, on one database that upholds the rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import flametrench_tenancy
import pytest
from flametrench_tenancy.postgres import PostgresTenancyStore
from psycopg import errors
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import PreconditionError, SoleOwnerError, TenancyStore
from tests.support.invariants import breaches
from tests.support.peer import PEER_STEPS, found, peer_connection, peer_verdict, readings
from tests.support.races import DEADLINE, DONE, LEVELS
from tests.support.scenes import Scene, stage
from tests.support.steps import STEPS, Step

# What an owner may be told who comes second. The peer passes on what the database says; and since
# it does not lock the organization first, as ours does, the two may deadlock.
REFUSALS = (
    SoleOwnerError,
    flametrench_tenancy.SoleOwnerError,
    errors.CheckViolation,
    errors.SerializationFailure,
    errors.DeadlockDetected,
)

# Other than ours, it leaves these behind.
LEFT_BY_PEER = {
    "revoke_org": {
        "a revoked organization with a membership",
        "a revoked organization with a pending invitation",
    }
}


@pytest.fixture
def users(clean_engine: Engine) -> Scene:
    """A scene of which only the users are used."""
    with clean_engine.begin() as connection:
        (scene,) = stage(connection)
    return scene


@pytest.fixture
def ours(clean_engine: Engine) -> TenancyStore:
    """Our store."""
    return TenancyStore(sessionmaker(clean_engine))


@pytest.mark.parametrize("step", PEER_STEPS, ids=str)
def test_it_reads_and_changes_what_ours_wrote(
    step: Step, users: Scene, ours: TenancyStore, clean_engine: Engine
) -> None:
    scene = found(ours, users, **conditions(step))
    with peer_connection(clean_engine) as connection_of_peer:
        peer = PostgresTenancyStore(connection_of_peer)
        assert readings(peer, scene) == readings(ours, scene)
        assert peer_verdict(step, peer, scene) == DONE
        assert readings(peer, scene) == readings(ours, scene)
    with clean_engine.connect() as connection:
        broken = {line.split(": ")[1].split(" (")[0] for line in breaches(connection)}
    assert broken == LEFT_BY_PEER.get(step.name, set())


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_ours_reads_and_changes_what_it_wrote(
    step: Step, users: Scene, ours: TenancyStore, clean_engine: Engine
) -> None:
    with peer_connection(clean_engine) as connection_of_peer:
        peer = PostgresTenancyStore(connection_of_peer)
        scene = found(peer, users, **conditions(step))
        assert readings(ours, scene) == readings(peer, scene)
        if step.name == "accept_invitation by sam":
            with pytest.raises(PreconditionError, match="suspended"):
                step.call(ours, scene)
        else:
            step.call(ours, scene)
        assert readings(ours, scene) == readings(peer, scene)
    with clean_engine.connect() as connection:
        assert breaches(connection) == []


def conditions(step: Step) -> dict[str, bool]:
    """Return what a step needs to make sense."""
    return {
        "suspended": step.operation == "reinstate_org",
        "sole_owner": step.name == "self_leave ann for bob",
    }


def test_its_owner_does_not_commit_their_leave_once_the_other_has(
    users: Scene, clean_engine: Engine
) -> None:
    def both_leave() -> None:
        with (
            peer_connection(clean_engine) as one,
            peer_connection(clean_engine) as other,
            one.transaction(),
        ):
            PostgresTenancyStore(one).self_leave(users["ann@acme"])
            PostgresTenancyStore(other).self_leave(users["bob@acme"])

    with pytest.raises(errors.CheckViolation, match="without an active owner"):
        both_leave()
    with clean_engine.connect() as connection:
        assert breaches(connection) == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("beside", ["its own", "ours"])
def test_of_its_racing_owners_one_remains(level: str, beside: str, clean_engine: Engine) -> None:
    with clean_engine.begin() as connection:
        scenes = stage(connection, 5)
    ours = TenancyStore(sessionmaker(clean_engine.execution_options(isolation_level=level)))
    with (
        peer_connection(clean_engine, level) as one,
        peer_connection(clean_engine, level) as other,
        ThreadPoolExecutor(2) as threads,
    ):
        barrier = Barrier(2, timeout=DEADLINE)

        def leave(tenancy: Any, mem_id: str) -> bool:
            barrier.wait()
            try:
                tenancy.self_leave(mem_id)
            except REFUSALS:
                return False
            return True

        competitor = ours if beside == "ours" else PostgresTenancyStore(other)
        for scene in scenes:
            first = threads.submit(leave, PostgresTenancyStore(one), scene["ann@acme"])
            second = threads.submit(leave, competitor, scene["bob@acme"])
            assert first.result(DEADLINE) + second.result(DEADLINE) == 1
    with clean_engine.connect() as connection:
        assert breaches(connection) == []
