"""A database with row-level security, its roles, and a scene of two organizations on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.migrations.grants import PURPOSES, grants
from flametrench_tenancy_sqlalchemy.testing.databases import Databases, empty_tables
from flametrench_tenancy_sqlalchemy.testing.servers import Server
from tests.support.scenes import Scene, stage

BRANCHES = ["audit", "rls"]
Engines: TypeAlias = dict[str, Engine]


@pytest.fixture(scope="session")
def engines(server: Server, pytestconfig: pytest.Config) -> Iterator[Engines]:
    """An engine for the owner of the tables, and one for the role of each purpose."""
    databases = Databases(server)
    template = databases.ensure_template("isolated", lambda url: upgrade(url, branches=BRANCHES))
    name = f"isolated_{getattr(pytestconfig, 'workerinput', {}).get('workerid', 'main')}"
    url = databases.create(name, template=template)
    engines = {"owner": create_engine(url)}
    roles = {purpose: f"{url.database}_{purpose}" for purpose in PURPOSES}
    with engines["owner"].begin() as connection:
        for purpose, role in roles.items():
            given = grants(role, purpose, branches=BRANCHES)
            for statement in (f'CREATE ROLE "{role}"', *given):
                connection.execute(text(statement))
    for purpose, role in roles.items():
        engines[purpose] = create_engine(url.update_query_dict({"options": f"-c role={role}"}))
    yield engines
    for purpose in roles:
        engines[purpose].dispose()
    with engines["owner"].begin() as connection:
        for role in roles.values():
            connection.execute(text(f'DROP OWNED BY "{role}"'))
            connection.execute(text(f'DROP ROLE "{role}"'))
    engines["owner"].dispose()
    databases.drop(name)


@pytest.fixture
def scene(engines: Engines) -> Iterator[Scene]:
    """The rows of two organizations, acme and bolt, which are gone after the test."""
    with engines["owner"].begin() as connection:
        (scene,) = stage(connection)
    yield scene
    with engines["owner"].begin() as connection:
        empty_tables(connection)


@pytest.fixture
def owner(engines: Engines) -> Iterator[Session]:
    """A Session to which nothing is hidden."""
    with Session(engines["owner"]) as session:
        yield session


@pytest.fixture
def app(engines: Engines) -> Iterator[Session]:
    """A Session of a request's role."""
    with Session(engines["app"]) as session:
        yield session


@pytest.fixture
def as_role(engines: Engines) -> Iterator[Callable[[str], Session]]:
    """Opens Sessions of a purpose's role."""
    opened: list[Session] = []

    def open_session(purpose: str) -> Session:
        opened.append(Session(engines[purpose]))
        return opened[-1]

    yield open_session
    for session in opened:
        session.close()
