"""The guides to replicas and to a failover are true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import TenancyStore, new_id
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.cutting import relay
from tests.support.guides import Reader, chapters
from tests.support.rows import committed_rows

if TYPE_CHECKING:
    from flametrench_tenancy_sqlalchemy import Organization


def test_what_is_read_on_a_replica(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(reader.database)
    monkeypatch.setenv("REPLICA_URL", reader.variables["DATABASE_URL"])
    [guide] = chapters("how-to/replicas.md")

    reader.follow(guide)

    assert reader.here["name"] == "Acme Roofs"
    for engine in ("primary", "replica"):
        reader.here[engine].dispose()


@pytest.mark.parametrize("happened", [True, False])
def test_a_request_that_is_tried_again_creates_once(reader: Reader, *, happened: bool) -> None:
    upgrade(reader.database)
    [guide] = chapters("how-to/failover.md")
    reader.follow(guide)
    reader.here["engine"].dispose()
    direct = create_engine(reader.database, poolclass=NullPool)
    with Session(direct) as session, session.begin():
        usr_id = make_user(session).id
    before = len(committed_rows(direct)["org"])

    with relay(reader.database) as cutting:
        cutting.cuts, cutting.sends = 1, happened
        store = TenancyStore(sessionmaker(create_engine(cutting.url, poolclass=NullPool)))
        org: Organization = reader.here["create_once"](store, usr_id, org_id := new_id("org"))

    assert org.id == org_id
    assert cutting.cuts == 0
    assert len(committed_rows(direct)["org"]) == before + 1
