"""The peer package's store on the same database, taking the same steps as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

import flametrench_tenancy
import psycopg
from flametrench_tenancy.postgres import PostgresTenancyStore
from sqlalchemy import Engine

from flametrench_tenancy_sqlalchemy import PreTuple, Role, TenancyStore
from tests.support.races import DONE
from tests.support.scenes import INVITATIONS, MEMBERSHIPS, Scene
from tests.support.steps import MAX, STEPS, Step

ISOLATION: Final = {
    "READ COMMITTED": psycopg.IsolationLevel.READ_COMMITTED,
    "REPEATABLE READ": psycopg.IsolationLevel.REPEATABLE_READ,
    "SERIALIZABLE": psycopg.IsolationLevel.SERIALIZABLE,
}

# It has no such operation, writes no row for a new user, and removes active members only.
_BEYOND_IT: Final = {
    "expire_invitations",
    "accept_invitation by a new user",
    "admin_remove sam by bob",
}

_SETS: Final = {"add_members", "create_invitations", "change_roles", "remove_members"}

PEER_STEPS: Final = [
    step for step in STEPS if step.name not in _BEYOND_IT and step.operation not in _SETS
]


@contextmanager
def peer_connection(
    engine: Engine, level: str = "READ COMMITTED"
) -> Iterator[psycopg.Connection[Any]]:
    """Open a connection for the peer's store, each operation in a transaction of its own."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.isolation_level = ISOLATION[level]
        yield connection


def peer_verdict(step: Step, store: PostgresTenancyStore, scene: Scene) -> str:
    """Return how a step of the peer's ends: done, or its error's code."""
    try:
        # The two agree on the names and arguments of the operations that they share.
        step.call(cast("TenancyStore", store), scene)
    except flametrench_tenancy.TenancyError as exc:
        return exc.code
    return DONE


def found(store: Any, scene: Scene, *, sole_owner: bool, suspended: bool) -> Scene:
    """Bring a scene about by a store's own operations, and return it with its ids.

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
        given = Role.MEMBER if sole_owner and user == "bob" else Role(role)
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
    if suspended:
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
