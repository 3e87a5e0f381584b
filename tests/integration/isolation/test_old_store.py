"""The old store of the Python SDK, on a connection of a request's role."""

from __future__ import annotations

from collections import Counter

import psycopg
import pytest
from flametrench_tenancy import NotFoundError as PeerNotFoundError
from flametrench_tenancy import Role as PeerRole
from flametrench_tenancy.postgres import PostgresTenancyStore
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import TenancyRepository
from tests.support.scenes import Scene
from tests.support.sql import disagreements

from .conftest import Engines


def connect(engines: Engines) -> psycopg.Connection:
    """Return a connection of a request's role."""
    dialect, url = engines["app"].dialect, engines["app"].url
    _, arguments = dialect.create_connect_args(url)
    return psycopg.connect(**arguments)


def test_it_works_in_the_organization_that_its_transaction_names(
    scene: Scene, engines: Engines, owner: Session
) -> None:
    with connect(engines) as connection:
        connection.execute("SELECT set_config('tenancy.org', %s, true)", [scene.uuid("acme")])
        peer = PostgresTenancyStore(connection)
        peer.change_role(scene["eve@acme"], PeerRole.ADMIN)
        peer.add_member(scene["acme"], scene["liz"], PeerRole.GUEST)
        peer.self_leave(scene["bob@acme"])
        with pytest.raises(PeerNotFoundError):
            peer.change_role(scene["eve@bolt"], PeerRole.ADMIN)
    members = TenancyRepository(owner).list_members(scene["acme"], status="active")
    assert Counter(m.role.value for m in members) == {"owner": 1, "admin": 3, "guest": 1}
    assert disagreements(owner) == []


def test_it_finds_nothing_where_the_transaction_names_none(scene: Scene, engines: Engines) -> None:
    with connect(engines) as connection, pytest.raises(PeerNotFoundError):
        PostgresTenancyStore(connection).get_org(scene["acme"])
