"""An application's own models, on its own declarative base, beside ours."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Uuid, delete, func, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from flametrench_tenancy_sqlalchemy import (
    Base,
    InvalidIdError,
    Membership,
    Organization,
    Role,
    TenancyRepository,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy._integrity import constraint_name
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user
from tests.support.adopter import AdopterBase, Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture(scope="module")
def adopter_tables(engine: Engine) -> Iterator[None]:
    """The application's own tables, for the time of this module."""
    AdopterBase.metadata.create_all(engine)
    yield
    AdopterBase.metadata.drop_all(engine)


@pytest.fixture
def db(adopter_tables: None, session: Session) -> Session:
    """A Session on a database with our tables and the application's."""
    return session


def test_metadata_and_registry_are_ours_alone() -> None:
    assert set(Base.metadata.tables) == {"usr", "org", "mem", "inv", "tup"}
    assert set(AdopterBase.metadata.tables) == {"project", "note"}
    assert not set(Base.registry.mappers) & set(AdopterBase.registry.mappers)


def test_a_foreign_key_takes_the_type_of_ours(db: Session) -> None:
    declared = AdopterBase.metadata.tables["project"].c
    created = {c["name"]: c["type"] for c in inspect(db.connection()).get_columns("project")}

    assert repr(declared.org_id.type) == "WireId('org')"
    assert repr(declared.lead_id.type) == "WireId('usr')"
    assert isinstance(created["org_id"], Uuid)
    assert isinstance(created["lead_id"], Uuid)


def test_rows_on_both_sides_are_inserted_in_the_right_order(db: Session) -> None:
    for _ in range(20):
        lead = User(id=new_id("usr"))
        org = Organization(id=new_id("org"))
        db.add(Project(name=org.id, organization=org, lead=lead))

    db.flush()

    assert db.scalar(select(func.count()).select_from(Project).join(Project.organization)) == 20


def test_a_row_and_its_organization_come_in_one_transaction(
    adopter_tables: None, clean_engine: Engine
) -> None:
    with Session(clean_engine) as session, session.begin():
        lead = User(id=new_id("usr"))
        project = Project(name="engines", lead=lead)
        session.add(project)
        project.organization = TenancyRepository(session).create_org(lead.id, slug="acme").org

    with Session(clean_engine) as session:
        found = session.scalars(
            select(Project).join(Project.organization).where(Organization.slug == "acme")
        ).one()
        assert found.organization is not None
        assert found.org_id == found.organization.id
        assert found.lead is session.get(User, found.lead_id)


def test_queries_reach_across(db: Session) -> None:
    org, other = make_org(db, slug="acme"), make_org(db, slug="other")
    member = make_member(db, org, role=Role.EDITOR)
    db.add_all([Project(name="a", organization=org), Project(name="b", org_id=other.id)])

    visible = (
        select(Project)
        .join(Membership, Membership.org_id == Project.org_id)
        .where(Membership.usr_id == member.usr_id, Membership.role == Role.EDITOR)
        .options(joinedload(Project.organization))
    )

    assert [(p.name, p.organization) for p in db.scalars(visible)] == [("a", org)]
    assert db.scalars(select(Project.name).where(Project.org_id == other.id)).all() == ["b"]
    assert db.scalars(select(Project.name).where(Project.organization == org)).all() == ["a"]


def test_an_id_of_another_type_is_refused_before_the_database_sees_it(db: Session) -> None:
    db.add(Project(name="mine", org_id=make_user(db).id))

    with pytest.raises(InvalidIdError):
        db.flush()


def test_a_row_of_the_application_keeps_its_organization_from_being_deleted(db: Session) -> None:
    org = make_org(db)
    project = Project(name="mine", organization=org)
    db.add(project)

    assert TenancyRepository(db).revoke_org(org.id) is project.organization

    db.execute(delete(Membership))
    with pytest.raises(IntegrityError) as refusal:
        db.execute(delete(Organization))
    assert constraint_name(refusal.value) == "project_org_id_fkey"


NAMESAKES = """
import flametrench_tenancy_sqlalchemy as tenancy
from flametrench_tenancy_sqlalchemy import models, repository, store, unit_of_work
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, configure_mappers, mapped_column, relationship

class Base(DeclarativeBase): pass

class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    usr_id: Mapped[str] = mapped_column(ForeignKey(tenancy.User.id))
    identity: Mapped[tenancy.User] = relationship(lambda: tenancy.User)
    organizations: Mapped[list["Organization"]] = relationship(back_populates="owner")

class Organization(Base):
    __tablename__ = "org"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey(User.id))
    owner: Mapped[User] = relationship(back_populates="organizations")

configure_mappers()
configure_mappers()
assert tenancy.User is models.User and tenancy.TenancyRepository is repository.TenancyRepository
assert len(tenancy.Base.registry.mappers) == 5 and len(Base.registry.mappers) == 2
assert User.identity.property.mapper.class_ is tenancy.User
assert User.organizations.property.mapper.class_ is Organization
"""


def test_classes_and_tables_of_the_same_name_do_not_meet() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "error", "-c", NAMESAKES], check=True, env=environment)
