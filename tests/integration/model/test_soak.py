"""Whatever happens at once, and whoever dies on the way: nothing is wrong, and nothing is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from flametrench_tenancy_sqlalchemy import TenancyStore
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.testing.databases import empty_tables
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.integration.model import soak
from tests.integration.model.soak import IDENTIFIER, Actor, Targets, World
from tests.support.invariants import breaches

SEED: Final = int(os.environ.get("SOAK_SEED") or (time.time() if soak.MINUTES else 1))
ACTORS: Final = 4


@pytest.fixture
def targets(clean_engine: Engine) -> Iterator[Targets]:
    """Connections to the worker's database that may be terminated at any time."""
    targets = Targets(clean_engine)
    yield targets
    targets.engine.dispose()


def a_world(engine: Engine) -> World:
    """Return two organizations with members and an invitation."""
    with Session(engine) as session, session.begin():
        world = World([make_user(session).id for _ in range(5)])
    store = TenancyStore(sessionmaker(engine))
    for owner in world.users[:2]:
        created = store.create_org(owner)
        member = store.add_member(created.org.id, world.users[2], "owner")
        invitation = store.create_invitation(
            created.org.id, IDENTIFIER, "guest", owner, datetime.now(UTC) + timedelta(days=1)
        )
        world.see(created.org, created.owner_membership, member, invitation)
    return world


@pytest.mark.parametrize("alone", [True, False], ids=["single operations", "transactions"])
def test_nothing_is_wrong_or_lost_after_a_storm(
    clean_engine: Engine, targets: Targets, alone: bool
) -> None:
    for seed, _ in enumerate(soak.rounds(), SEED):
        print(f"SOAK_SEED={seed}")
        with clean_engine.begin() as connection:
            empty_tables(connection)
        storm(clean_engine, targets, seed, alone=alone)


def storm(engine: Engine, targets: Targets, seed: int, *, alone: bool) -> None:
    """Let actors loose on a new world, and examine what they leave."""
    world = a_world(engine)
    actors = [Actor(world, targets, f"{seed}.{n}", alone=alone) for n in range(ACTORS)]
    with ThreadPoolExecutor(ACTORS) as threads:
        ledgers = list(threads.map(lambda actor: actor.run(40), actors))

    now = datetime.now(UTC)
    TenancyStore(sessionmaker(engine), clock=lambda: now).expire_invitations()
    with Session(engine) as session:
        findings = diagnose(session, clock=lambda: now)
        # Inviting somebody twice is allowed; the doctor only mentions it.
        assert [found for found in findings if found.check != "duplicate_invitation"] == []
        assert breaches(session.connection()) == []
    assert [promise for ledger in ledgers for promise in ledger.broken_promises(engine)] == []
    assert any(ledger.acknowledged.created for ledger in ledgers)
