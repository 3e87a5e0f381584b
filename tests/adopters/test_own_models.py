"""An application's own models beside ours: related, in another schema, added to, of one name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import render_python_code
from alembic.operations.ops import CreateTableOp, UpgradeOps
from sqlalchemy import (
    Table,
    Uuid,
    create_engine,
    event,
    func,
    inspect,
    select,
)
from sqlalchemy.orm import Session, joinedload, sessionmaker
from sqlalchemy.pool import NullPool

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import (
    Base,
    InvalidIdError,
    Membership,
    Organization,
    Role,
    TenancyRepository,
    TenancyStore,
    User,
    WireId,
    new_id,
)
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from tests.support.adopter import AdopterBase, Project
from tests.support.calls import CALLS
from tests.support.operations import OPERATIONS
from tests.support.processes import in_another_process
from tests.support.rows import committed_rows, rows, untruths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL, Engine

    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase


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


def test_a_foreign_key_takes_the_type_of_ours(db: Session) -> None:
    declared = AdopterBase.metadata.tables["project"].c
    created = {c["name"]: c["type"] for c in inspect(db.connection()).get_columns("project")}

    assert repr(declared.org_id.type) == "WireId('org')"
    assert repr(declared.lead_id.type) == "WireId('usr')"
    assert isinstance(created["org_id"], Uuid)
    assert isinstance(created["lead_id"], Uuid)


def test_its_type_is_written_into_a_revision_as_code_that_makes_the_same() -> None:
    table = Project.__table__
    assert isinstance(table, Table)
    revision = render_python_code(UpgradeOps([CreateTableOp.from_table(table)]))

    code = re.findall(r"Column\('(?:org|lead)_id', (.+?), nullable", revision)
    types = [eval(each, {"flametrench_tenancy_sqlalchemy": package}) for each in code]

    assert [(type(each), each.type_) for each in types] == [(WireId, "org"), (WireId, "usr")]


def test_rows_on_both_sides_are_inserted_in_the_right_order(db: Session) -> None:
    for _ in range(20):
        lead = User(id=new_id("usr"))
        org = Organization(id=new_id("org"))
        db.add(Project(name=org.id, organization=org, lead=lead))

    db.flush()

    assert db.scalar(select(func.count()).select_from(Project).join(Project.organization)) == 20


def test_a_row_and_its_organization_come_together_and_are_found_together(db: Session) -> None:
    lead = User(id=new_id("usr"))
    project = Project(name="engines", lead=lead)
    db.add(project)
    org = TenancyRepository(db).create_org(lead.id, slug="acme").org
    project.organization = org
    db.commit()

    visible = (
        select(Project)
        .join(Membership, Membership.org_id == Project.org_id)
        .where(Membership.usr_id == lead.id, Membership.role == Role.OWNER)
        .options(joinedload(Project.organization))
    )
    assert [(p.name, p.organization) for p in db.scalars(visible)] == [("engines", org)]
    assert db.scalars(select(Project.name).where(Project.org_id == org.id)).all() == ["engines"]


def test_an_id_of_another_type_is_refused_before_the_database_sees_it(db: Session) -> None:
    db.add(Project(name="mine", org_id=make_user(db).id))

    with pytest.raises(InvalidIdError):
        db.flush()


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


@pytest.mark.parametrize("point_to", [by_translation, by_search_path])
def test_everything_works_in_a_schema_of_its_own(
    new_database: NewDatabase, point_to: Callable[[URL], Engine]
) -> None:
    url = new_database()
    upgrade(url, schema="tenancy")
    elsewhere = point_to(url)
    everywhere = create_engine(url, poolclass=NullPool)
    assert not {"usr", "org", "mem", "inv", "tup"} & set(inspect(everywhere).get_table_names())

    with Session(elsewhere) as session:
        for operation in OPERATIONS:
            result = operation.stage(session)(TenancyRepository(session))
            assert untruths(session, rows(session.connection())) == []
            del result
        creator = make_user(session).id
        session.commit()
    org = TenancyStore(sessionmaker(elsewhere)).create_org(creator, slug="standalone").org
    kept = committed_rows(elsewhere)
    assert all(kept.values())
    assert org.id in {row.id for row in kept["org"]}
    assert len(kept["org"]) > len(OPERATIONS)

    AdopterBase.metadata.create_all(elsewhere)
    keys = inspect(elsewhere).get_foreign_keys("project", "tenancy")
    assert {key["referred_table"] for key in keys} == {"org", "usr"}
    with Session(elsewhere) as session, session.begin():
        session.add(Project(name="mine", organization=session.get(Organization, org.id)))
    with Session(elsewhere) as session:
        joined = select(Project.name, Organization.slug).join(Project.organization)
        assert [tuple(row) for row in session.execute(joined)] == [("mine", "standalone")]


def test_every_operation_works_with_what_is_added_to_our_models(new_database: NewDatabase) -> None:
    url = new_database(migrated=True).set(drivername="postgresql+psycopg")

    printed = in_another_process(
        "-m", "tests.support.extended", url.render_as_string(hide_password=False)
    )

    assert printed == f"{len(CALLS)} operations\n"


NAMESAKES = """
import flametrench_tenancy_sqlalchemy as tenancy
from flametrench_tenancy_sqlalchemy import models, repository
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
    assert set(Base.metadata.tables) == {"usr", "org", "mem", "inv", "tup"}
    assert not set(Base.registry.mappers) & set(AdopterBase.registry.mappers)
    in_another_process("-c", NAMESAKES)
