"""Users in a table of the application's own: their `usr` rows come along."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import ForeignKey, Uuid, insert, select
from sqlalchemy.exc import ArgumentError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    foreign,
    joinedload,
    lazyload,
    mapped_column,
    registry,
    relationship,
    selectinload,
    subqueryload,
)
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import (
    InvalidIdError,
    Membership,
    Role,
    TenancyRepository,
    User,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import encode
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user
from flametrench_tenancy_sqlalchemy.users import registers_user
from tests.support.processes import in_another_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from flametrench_tenancy_sqlalchemy.testing.plugin import NewDatabase


class AppBase(DeclarativeBase):
    """The application's own base."""


@registers_user("usr_id")
class Account(AppBase):
    """A user with a number, and with a relationship that nobody has to use."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    usr_id: Mapped[str] = mapped_column(ForeignKey(User.id), unique=True)
    usr: Mapped[User] = relationship(lambda: User)


@registers_user("id")
class Person(AppBase):
    """A user with a UUID, which is the id of the `usr` row as well."""

    __tablename__ = "person"

    id: Mapped[UUID] = mapped_column(Uuid, ForeignKey(User.id), primary_key=True, default=uuid4)
    kind: Mapped[str] = mapped_column(default="person")
    usr: Mapped[User] = relationship(lambda: User, viewonly=True, omit_join=False)
    memberships: Mapped[list[Membership]] = relationship(
        lambda: Membership,
        primaryjoin=lambda: Person.id == foreign(Membership.usr_id),
        viewonly=True,
        omit_join=False,
    )
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012 - as SQLAlchemy wants it


class Robot(Person):
    """A user of another kind."""

    __mapper_args__ = {"polymorphic_identity": "robot"}  # noqa: RUF012 - as above


@pytest.fixture(scope="module")
def users_tables(engine: Engine) -> Iterator[None]:
    """The application's own tables, for the time of this module."""
    AppBase.metadata.create_all(engine)
    yield
    AppBase.metadata.drop_all(engine)


@pytest.fixture
def db(users_tables: None, session: Session) -> Session:
    """A Session on a database with our tables and the application's."""
    return session


def user_ids(session: Session) -> set[str]:
    return set(session.scalars(select(User.id)))


def test_every_row_brings_its_user_along(db: Session) -> None:
    accounts = [Account(email=f"{number}@example.com") for number in range(20)]
    people = [Person(), Person(id=uuid4()), Robot()]
    db.add_all([*accounts, *people])
    db.flush()

    written = {a.usr_id for a in accounts} | {encode("usr", p.id) for p in people}
    assert (user_ids(db), len(written)) == (written, 23)
    ann = accounts[0]
    assert ann.usr.id == ann.usr_id
    assert TenancyRepository(db).create_org(ann.usr_id).owner_membership.usr_id == ann.usr_id


@pytest.mark.parametrize("come", ["by id", "by relationship", "together"])
def test_users_who_are_there_already_stay_as_they_are(db: Session, come: str) -> None:
    known = User(id=new_id("usr"), display_name="Ann")
    if come != "together":
        db.add(known)
        db.flush()
    account = Account(email="ann@example.com")
    if come == "by id":
        account.usr_id = known.id
    else:
        account.usr = known
    db.add(account)
    db.flush()
    db.expire_all()

    assert (account.usr, account.usr.display_name) == (known, "Ann")
    assert user_ids(db) == {known.id}


def test_a_user_whom_an_invitation_made_gets_an_account(db: Session) -> None:
    tenancy, inviter = TenancyRepository(db), make_user(db)
    org, later = make_org(db, owner=inviter), datetime.now(UTC) + timedelta(days=1)
    offer = tenancy.create_invitation(org.id, "new@example.com", Role.MEMBER, inviter.id, later)

    usr_id = tenancy.accept_invitation(offer.id).membership.usr_id
    db.add(Account(email=offer.identifier, usr_id=usr_id))
    db.flush()

    assert user_ids(db) == {inviter.id, usr_id}


def test_both_rows_are_undone_together(db: Session) -> None:
    with db.begin_nested() as savepoint:
        db.add(Account(email="ann@example.com"))
        db.flush()
        assert user_ids(db)
        savepoint.rollback()

    assert user_ids(db) == set()


def test_an_id_of_another_type_is_refused_before_anything_is_written(db: Session) -> None:
    db.add(Account(email="ann@example.com", usr_id=new_id("org")))

    with pytest.raises(InvalidIdError, match="usr_id"):
        db.flush()


def test_what_goes_around_the_unit_of_work_is_stopped_by_the_foreign_key(db: Session) -> None:
    with pytest.raises(IntegrityError, match="foreign key"):
        db.execute(insert(Account), [{"email": "a@example.com", "usr_id": new_id("usr")}])


def test_they_are_related_to_our_models_in_both_directions(new_database: NewDatabase) -> None:
    url = new_database(migrated=True).set(drivername="postgresql+psycopg")

    printed = in_another_process(
        "-m", "tests.support.own_users", url.render_as_string(hide_password=False)
    )

    assert printed == "72 ways\n"  # two classes, six relationships, six strategies


@pytest.mark.parametrize("load", [lazyload, joinedload, selectinload, subqueryload])
def test_a_uuid_that_stays_one_can_be_read_along_by_every_strategy(db: Session, load: Any) -> None:
    people = [Person(), Person()]
    db.add_all(people)
    db.flush()
    usr_ids = [encode("usr", person.id) for person in people]
    for usr_id in usr_ids:
        TenancyRepository(db).create_org(usr_id)
    db.expunge_all()

    query = select(Person).options(load(Person.usr), load(Person.memberships)).order_by(Person.id)
    for person, usr_id in zip(db.scalars(query).unique(), sorted(usr_ids), strict=True):
        assert person.usr.id == usr_id
        assert [membership.usr_id for membership in person.memberships] == [usr_id]


@pytest.mark.parametrize("options", [{}, {"viewonly": True}, {"omit_join": False}])
def test_a_relationship_that_would_lose_rows_is_refused(options: dict[str, Any]) -> None:
    class Base(DeclarativeBase):
        registry = registry()

    class Human(Base):
        __tablename__ = "human"
        id: Mapped[UUID] = mapped_column(Uuid, ForeignKey(User.id), primary_key=True)
        usr: Mapped[User] = relationship(lambda: User, **options)

    with pytest.raises(
        ArgumentError, match=r"Human\.usr leads from human\.id, Uuid\(\), to usr\.id"
    ):
        Base.registry.configure()
    Base.registry.dispose()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_asynchronous_sessions_write_them_too(
    users_tables: None, clean_engine: Engine, driver: str, anyio_backend: str
) -> None:
    url = clean_engine.url.set(drivername=f"postgresql+{driver}")
    async with AsyncSession(create_async_engine(url, poolclass=NullPool)) as session:
        ann, bob = Account(email="ann@example.com"), Person()
        session.add_all([ann, bob])
        await session.flush()
        written = set(await session.scalars(select(User.id)))

    assert written == {ann.usr_id, encode("usr", bob.id)}
