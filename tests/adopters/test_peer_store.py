"""The peer package's PostgreSQL store beside ours, on one database that upholds the rules."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any, Final
from uuid import UUID

import flametrench_tenancy
import psycopg
import pytest
from flametrench_tenancy.postgres import PostgresTenancyStore
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from flametrench_tenancy_sqlalchemy import (
    PreconditionError,
    PreTuple,
    Role,
    TenancyStore,
)
from tests.support.invariants import breaches
from tests.support.scenes import INVITATIONS, MEMBERSHIPS, Scene, stage
from tests.support.steps import STEPS, Step

# It has no such operation, writes no row for a new user, and removes active members only.
BEYOND_IT: Final = {
    *("expire_invitations", "add_members", "create_invitations", "change_roles", "remove_members"),
    *("offboard_user", "renew_invitation", "erase_identifier"),
    "accept_invitation by a new user",
    "admin_remove sam by bob",
}

# What concerns more organizations of the users than are told apart here.
WIDER: Final = {"offboard_user ann for bob and eve"}

# Other than ours, it leaves these behind.
LEFT_BY_PEER: Final = {
    "revoke_org": {
        "a revoked organization with a membership",
        "a revoked organization with a pending invitation",
    }
}


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
            scene.address,
            Role(role),
            ids["ann"],
            scene.expires_at,
            pre_tuples=grants,
        ).id
    if step.operation == "reinstate_org":
        store.suspend_org(ids["acme"])
    return Scene(ids, scene.expires_at, scene.address)


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


@pytest.mark.parametrize("step", [step for step in STEPS if step.name not in WIDER], ids=str)
def test_each_reads_and_changes_what_the_other_wrote(step: Step, clean_engine: Engine) -> None:
    ours = TenancyStore(sessionmaker(clean_engine))

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

    url = clean_engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection_of_peer:
        peer = PostgresTenancyStore(connection_of_peer)
        assert end(peer, ours) == set()
        if not {step.name, step.operation} & BEYOND_IT:
            assert end(ours, peer) == LEFT_BY_PEER.get(step.name, set())
