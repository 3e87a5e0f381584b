"""UUIDs where wire ids are expected: an application may have the one or the other at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, delete, insert, select, update
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Base,
    InvalidIdError,
    Membership,
    Organization,
    TenancyRepository,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy._sql import table_of
from tests.support.adopter import Project
from tests.support.drivers import DRIVERS, Driver
from tests.support.uuids import AssetBase, misses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def session() -> Iterator[Session]:
    """A Session on an empty database in memory."""
    engine = create_engine("sqlite://")
    with Session(engine) as session:
        Base.metadata.create_all(session.connection())
        AssetBase.metadata.create_all(session.connection())
        yield session
    engine.dispose()


@pytest.fixture(scope="module")
def tables(engine: Engine) -> Iterator[None]:
    """The application's own tables, for the time of this module."""
    AssetBase.metadata.create_all(engine)
    yield
    AssetBase.metadata.drop_all(engine)


@pytest.mark.parametrize("driver", DRIVERS, ids=str)
def test_every_query_finds_by_either(driver: Driver, tables: None, clean_engine: Engine) -> None:
    assert driver.client(clean_engine.url).work(misses) == []


def test_so_it_does_in_memory(session: Session) -> None:
    assert misses(session) == []


def test_a_row_has_one_identity_however_it_is_asked_for(session: Session) -> None:
    uuid = uuid4()
    org = Organization(id=uuid)
    session.add(org)
    session.flush()

    assert org.id == f"org_{uuid.hex}"
    assert session.get(Organization, uuid) is session.get(Organization, org.id) is org
    assert session.merge(Organization(id=uuid, name="Acme")) is org
    session.flush()
    session.expire_all()
    assert session.get_one(Organization, uuid) is org
    assert (org.name, session.get(Organization, uuid4())) == ("Acme", None)


def test_an_attribute_of_any_class_holds_wire_ids_whatever_it_is_given(session: Session) -> None:
    uuid = uuid4()
    member = Membership(usr_id=uuid, org_id=uuid, role="owner")
    member.invited_by = uuid  # type: ignore[assignment] # a UUID is no str, and welcome
    project = Project(org_id=uuid)
    member.replaces = None

    assert member.usr_id == member.invited_by == f"usr_{uuid.hex}"
    assert member.org_id == project.org_id == f"org_{uuid.hex}"
    assert member.replaces is None


def test_rows_are_written_by_either(session: Session) -> None:
    one, two, three, four = uuids = [uuid4() for _ in range(4)]
    table = table_of(Organization)
    session.execute(insert(Organization).values(id=one))
    session.connection().execute(insert(table).values(id=two))
    returned = session.scalars(insert(Organization).returning(Organization), [{"id": three}])
    assert [org.id for org in returned] == [f"org_{three.hex}"]
    session.execute(insert(Organization), [{"id": f"org_{four.hex}"}])
    session.execute(update(Organization), [{"id": each, "name": each.hex} for each in uuids])

    found = session.execute(select(table.c.id, table.c.name)).all()
    assert sorted(map(tuple, found)) == sorted((f"org_{u.hex}", u.hex) for u in uuids)


@pytest.mark.parametrize("in_list", [False, True])
def test_an_update_reaches_what_the_session_holds(session: Session, in_list: bool) -> None:
    org = Organization(name="Old")
    session.add(org)
    session.flush()
    uuid = UUID(org.id[4:])
    this = Organization.id.in_([uuid]) if in_list else Organization.id == uuid
    in_python = {"synchronize_session": "evaluate"}

    renamed = update(Organization).where(this).values(name="New")
    session.execute(renamed, execution_options=in_python)
    assert org.name == "New"
    session.execute(delete(Organization).where(this), execution_options=in_python)
    assert org not in session


def test_an_id_of_another_type_is_refused_beside_a_uuid(session: Session) -> None:
    mixed = select(Organization).where(Organization.id.in_([uuid4(), new_id("usr")]))
    with pytest.raises(InvalidIdError, match="org id"):
        session.scalars(mixed)


def test_users_made_of_uuids_are_known_to_operations(session: Session) -> None:
    uuid = uuid4()
    session.add(User(id=uuid))
    session.flush()

    org = TenancyRepository(session).create_org(f"usr_{uuid.hex}").org

    mine = select(Organization).join(Membership).where(Membership.usr_id == uuid)
    assert session.scalars(mine).all() == [org]
