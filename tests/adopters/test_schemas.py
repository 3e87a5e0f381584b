"""Our tables in a schema of their own, whichever way the application points there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, event, inspect, select
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import Organization, TenancyRepository, TenancyStore
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from tests.support.adopter import AdopterBase, Project
from tests.support.operations import OPERATIONS
from tests.support.rows import committed_rows, rows, untruths

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Engine

    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase


def by_translation(url: URL) -> Engine:
    engine = create_engine(url, poolclass=NullPool)
    return engine.execution_options(schema_translate_map={None: "tenancy"})


def by_search_path(url: URL) -> Engine:
    engine = create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def set_search_path(connection: Any, record: object) -> None:
        connection.cursor().execute("SET search_path TO tenancy")
        connection.commit()

    return engine


@pytest.fixture(params=[by_translation, by_search_path])
def elsewhere(new_database: NewDatabase, request: pytest.FixtureRequest) -> Engine:
    """An engine on a database whose tenancy tables are in the schema ``tenancy``."""
    point_to: Callable[[URL], Engine] = request.param
    url = new_database()
    upgrade(url, schema="tenancy")
    engine = point_to(url)
    assert not {"usr", "org", "mem", "inv", "tup"} & set(
        inspect(create_engine(url, poolclass=NullPool)).get_table_names("public")
    )
    return engine


def test_every_operation_works_there(elsewhere: Engine) -> None:
    with Session(elsewhere) as session:
        for operation in OPERATIONS:
            result = operation.stage(session)(TenancyRepository(session))
            assert untruths(session, rows(session.connection())) == []
            del result
        session.commit()

    kept = committed_rows(elsewhere)
    assert all(kept.values())
    assert len(kept["org"]) >= len(OPERATIONS)


def test_the_standalone_form_works_there(elsewhere: Engine) -> None:
    with Session(elsewhere) as session, session.begin():
        creator = make_user(session).id

    org = TenancyStore(sessionmaker(elsewhere)).create_org(creator, slug="acme").org

    assert [row.id for row in committed_rows(elsewhere)["org"]] == [org.id]


def test_tables_of_the_application_refer_to_ours_there(elsewhere: Engine) -> None:
    AdopterBase.metadata.create_all(elsewhere)
    (key,) = (
        key
        for key in inspect(elsewhere).get_foreign_keys("project", "tenancy")
        if key["constrained_columns"] == ["org_id"]
    )
    assert key["referred_table"] == "org"

    with Session(elsewhere) as session, session.begin():
        session.add(Project(name="mine", organization=make_org(session, slug="acme")))

    with Session(elsewhere) as session:
        joined = select(Project.name, Organization.slug).join(Project.organization)
        assert [tuple(row) for row in session.execute(joined)] == [("mine", "acme")]
