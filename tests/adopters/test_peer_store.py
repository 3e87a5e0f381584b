"""The peer package's PostgreSQL store beside ours, on one database that upholds the rules."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from enum import Enum
from threading import Barrier
from typing import Any, Final
from uuid import UUID

import flametrench_tenancy
import psycopg
import pytest
from flametrench_tenancy.postgres import PostgresTenancyStore
from psycopg import errors
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import (
    PreconditionError,
    PreTuple,
    Role,
    SoleOwnerError,
    TenancyStore,
)
from tests.support.invariants import breaches
from tests.support.races import DEADLINE, LEVELS
from tests.support.scenes import INVITATIONS, MEMBERSHIPS, Scene, stage
from tests.support.steps import MAX, STEPS, Step

# It has no such operation, writes no row for a new user, and removes active members only.
BEYOND_IT: Final = {
    *("expire_invitations", "add_members", "create_invitations", "change_roles", "remove_members"),
    "accept_invitation by a new user",
    "admin_remove sam by bob",
}

# Other than ours, it leaves these behind.
LEFT_BY_PEER: Final = {
    "revoke_org": {
        "a revoked organization with a membership",
        "a revoked organization with a pending invitation",
    }
}

# What an owner may be told who comes second. The peer passes on what the database says; and since
# it does not lock the organization first, as ours does, the two may deadlock.
REFUSALS: Final = (
    SoleOwnerError,
    flametrench_tenancy.SoleOwnerError,
    errors.CheckViolation,
    errors.SerializationFailure,
    errors.DeadlockDetected,
)


@contextmanager
def peer_connection(
    engine: Engine, level: str = "READ COMMITTED"
) -> Iterator[psycopg.Connection[Any]]:
    """Connect for the peer's store, each of its operations in a transaction of its own."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.isolation_level = psycopg.IsolationLevel[level.replace(" ", "_")]
        yield connection


def found(store: Any, scene: Scene, step: Step) -> Scene:
    """Bring a scene about by a store's own operations, as a step needs it, and return it.

    Its users are there already.
    """
    ids = dict(scene.ids)
    for org in ("acme", "bolt"):
        founded = store.create_org(ids["ann"], name=org.title())
        ids[org], ids[f"ann@{org}"] = founded.org.id, founded.owner_membership.id
    for name, (role, status) in MEMBERSHIPS.items():
        user, _, org = name.partition("@")
        if user == "ann":
            continue
        sole_owner = step.name == "self_leave ann for bob" and user == "bob"
        given = Role.MEMBER if sole_owner else Role(role)
        ids[name] = store.add_member(ids[org], ids[user], given, invited_by=ids["ann"]).id
        if status == "suspended":
            store.suspend_membership(ids[name])
    for name, role in INVITATIONS.items():
        grants = [PreTuple("editor", "doc", str(UUID(scene.uuid("doc"))))]
        ids[name] = store.create_invitation(
            ids[name.partition("@")[2]],
            MAX,
            Role(role),
            ids["ann"],
            scene.expires_at,
            pre_tuples=grants,
        ).id
    if step.operation == "reinstate_org":
        store.suspend_org(ids["acme"])
    return Scene(ids, scene.expires_at)


def readings(store: Any, scene: Scene) -> list[Any]:
    """Return all that a store reads of a scene, in the peer's fields."""
    orgs = [scene["acme"], scene["bolt"]]
    read = [
        *(store.get_org(org) for org in orgs),
        *(store.get_membership(scene[name]) for name in MEMBERSHIPS),
        *(store.get_invitation(scene[name]) for name in INVITATIONS),
        *(entity for org in orgs for entity in store.list_members(org).data),
        *(entity for org in orgs for entity in store.list_invitations(org).data),
    ]
    tuples = [
        *store.list_tuples_for_subject("usr", scene["max"]),
        *(tup for org in orgs for tup in store.list_tuples_for_object("org", org)),
    ]
    return [_plain(entity) for entity in read] + sorted(
        (tup.subject_id, tup.relation, tup.object_type) for tup in tuples
    )


def _plain(value: Any) -> Any:
    kind = getattr(flametrench_tenancy, type(value).__name__, None)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if kind is not None:
        return {field.name: _plain(getattr(value, field.name)) for field in fields(kind)}
    return value


@pytest.fixture
def ours(clean_engine: Engine) -> TenancyStore:
    """Our store."""
    return TenancyStore(sessionmaker(clean_engine))


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_each_reads_and_changes_what_the_other_wrote(
    step: Step, ours: TenancyStore, clean_engine: Engine
) -> None:
    def end(maker: Any, taker: Any) -> set[str]:
        with clean_engine.begin() as connection:
            (users,) = stage(connection)
        scene = found(maker, users, step)
        assert readings(ours, scene) == readings(peer, scene)
        if step.name == "accept_invitation by sam" and taker is ours:
            with pytest.raises(PreconditionError, match="suspended"):
                step.call(taker, scene)
        else:
            step.call(taker, scene)
        assert readings(ours, scene) == readings(peer, scene)
        with clean_engine.connect() as connection:
            return {line.split(": ")[1].split(" (")[0] for line in breaches(connection)}

    with peer_connection(clean_engine) as connection_of_peer:
        peer = PostgresTenancyStore(connection_of_peer)
        assert end(peer, ours) == set()
        if not {step.name, step.operation} & BEYOND_IT:
            assert end(ours, peer) == LEFT_BY_PEER.get(step.name, set())


def test_its_owner_does_not_commit_a_leave_once_the_other_has(clean_engine: Engine) -> None:
    with clean_engine.begin() as connection:
        (scene,) = stage(connection)

    def both_leave(one: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> None:
        with one.transaction():
            PostgresTenancyStore(one).self_leave(scene["ann@acme"])
            PostgresTenancyStore(other).self_leave(scene["bob@acme"])

    with (
        peer_connection(clean_engine) as one,
        peer_connection(clean_engine) as other,
        pytest.raises(errors.CheckViolation, match="without an active owner"),
    ):
        both_leave(one, other)
    with clean_engine.connect() as connection:
        assert breaches(connection) == []


@pytest.mark.parametrize("level", LEVELS)
def test_of_its_racing_owners_one_remains(level: str, clean_engine: Engine) -> None:
    with clean_engine.begin() as connection:
        scenes = stage(connection, 4)
    ours = TenancyStore(sessionmaker(clean_engine.execution_options(isolation_level=level)))
    with (
        peer_connection(clean_engine, level) as one,
        peer_connection(clean_engine, level) as another,
        ThreadPoolExecutor(2) as threads,
    ):
        peer, other = PostgresTenancyStore(one), PostgresTenancyStore(another)
        barrier = Barrier(2, timeout=DEADLINE)

        def leave(tenancy: Any, mem_id: str) -> bool:
            barrier.wait()
            try:
                tenancy.self_leave(mem_id)
            except REFUSALS:
                return False
            return True

        for scene, competitor in zip(scenes, [other, ours] * 2, strict=True):
            first = threads.submit(leave, peer, scene["ann@acme"])
            second = threads.submit(leave, competitor, scene["bob@acme"])
            assert first.result(DEADLINE) + second.result(DEADLINE) == 1
    with clean_engine.connect() as connection:
        assert breaches(connection) == []
