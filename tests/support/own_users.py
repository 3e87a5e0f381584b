"""An application's own users, by number and by UUID, related to our models in both directions.

    python -m tests.support.own_users URL

A process of its own, since what is added to a model stays there.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import pytest
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    foreign,
    immediateload,
    joinedload,
    lazyload,
    mapped_column,
    raiseload,
    relationship,
    selectinload,
    subqueryload,
)
from sqlalchemy.orm.util import identity_key

import flametrench_tenancy_sqlalchemy as tenancy
from flametrench_tenancy_sqlalchemy import Invitation, Membership, Organization, Role, User
from flametrench_tenancy_sqlalchemy.users import registers_user
from tests.support.counting import sent
from tests.support.stage import Stage

EAGER: Final = (joinedload, selectinload, subqueryload, immediateload)


class Base(DeclarativeBase):
    """The application's own base."""


@registers_user("usr_id")
class Account(Base):
    """A user with a number."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    usr_id: Mapped[str] = mapped_column(ForeignKey(User.id), unique=True)

    usr: Mapped[User] = relationship(lambda: User, back_populates="account")
    memberships: Mapped[list[Membership]] = relationship(
        lambda: Membership,
        primaryjoin=lambda: Account.usr_id == foreign(Membership.usr_id),
        back_populates="account",
        overlaps="user",
    )
    invitations: Mapped[list[Invitation]] = relationship(
        lambda: Invitation,
        primaryjoin=lambda: Account.usr_id == foreign(Invitation.invited_by),
        viewonly=True,
    )


@registers_user("id")
class Person(Base):
    """A user whose key is the UUID of the user's wire id."""

    __tablename__ = "person"

    id: Mapped[str] = mapped_column(ForeignKey(User.id), primary_key=True)

    usr: Mapped[User] = relationship(lambda: User, back_populates="person")
    memberships: Mapped[list[Membership]] = relationship(
        lambda: Membership,
        primaryjoin=lambda: Person.id == foreign(Membership.usr_id),
        back_populates="person",
        overlaps="user,account,memberships",
    )
    invitations: Mapped[list[Invitation]] = relationship(
        lambda: Invitation,
        primaryjoin=lambda: Person.id == foreign(Invitation.invited_by),
        viewonly=True,
    )


def relate() -> None:
    """Add the other directions to our models."""
    for name, entity, key in (("account", Account, Account.usr_id), ("person", Person, Person.id)):
        related: dict[tuple[type[tenancy.Base], str], object] = {
            (User, name): relationship(entity, back_populates="usr", uselist=False),
            (Membership, name): relationship(
                entity,
                primaryjoin=key == foreign(Membership.usr_id),
                back_populates="memberships",
                overlaps="user,account,memberships",
            ),
            (Invitation, name): relationship(
                entity, primaryjoin=key == foreign(Invitation.invited_by), viewonly=True
            ),
        }
        for (model, attribute), each in related.items():
            setattr(model, attribute, each)


def populate(session: Session, own: type[Any]) -> dict[tuple[Any, str], set[Any]]:
    """Add users with memberships and offers; return whom each relationship leads one of them to.

    There are others beside them, lest a loader that finds whatever there is be believed.
    """
    stage = Stage(session)
    users = [own(), own(usr=User()), own()]
    session.add_all(users)
    session.flush()
    orgs = [[stage.tenancy.create_org(user.usr.id).org for _ in range(2)] for user in users]
    offers = [stage.invitation(org) for theirs in orgs for org in theirs][2:4]
    members = [stage.owner(org) for org in orgs[1]]
    user, name = users[1], own.__name__.lower()
    return {
        (user, "usr"): {user.usr},
        (user, "memberships"): set(members),
        (user, "invitations"): set(offers),
        (user.usr, name): {user},
        (members[0], name): {user},
        (offers[0], name): {user},
    }


def related(entity: Any, attribute: str) -> set[Any]:
    """Return the identity keys of what a relationship leads to."""
    value = getattr(entity, attribute)
    return {identity_key(instance=each) for each in (value if isinstance(value, list) else [value])}


def read(session: Session, own: type[Any]) -> int:
    """Read every relationship by every strategy; return how many ways that were."""
    expected = {
        (type(entity), identity_key(instance=entity), attribute): {
            identity_key(instance=each) for each in entities
        }
        for (entity, attribute), entities in populate(session, own).items()
    }
    for (model, identity, attribute), keys in expected.items():
        relation = getattr(model, attribute)
        for option in (*EAGER, lazyload, raiseload):
            session.expunge_all()
            every = session.scalars(select(model).options(option(relation))).unique().all()
            [entity] = [each for each in every if identity_key(instance=each) == identity]
            assert len(every) > 1
            with sent(session) as statements:
                if option is raiseload:
                    with pytest.raises(InvalidRequestError, match=attribute):
                        related(entity, attribute)
                else:
                    assert related(entity, attribute) == keys, (model, attribute, option)
            assert len(statements) == (option is lazyload), (model, attribute, option)
    return len(expected) * len((*EAGER, lazyload, raiseload))


def write(session: Session, own: type[Any]) -> None:
    """Write every relationship that can be written, from either end, in one flush."""
    name = own.__name__.lower()
    for _ in range(10):  # the order of classes without a relationship is left to chance
        user, known, late = own(), own(usr=User(display_name="Ann")), own()
        org, usr = Organization(), User()
        setattr(usr, name, late)
        member = Membership(organization=org, role=Role.OWNER, **{name: user})
        user.memberships.append(Membership(organization=Organization(), role=Role.OWNER))
        known.memberships = [Membership(organization=Organization(), role=Role.OWNER)]
        assert (late.usr, member in user.memberships) == (usr, True)
        with session.begin_nested() as savepoint, session.no_autoflush:
            session.add_all([member, known, usr])
            session.flush()
            session.expire_all()
            assert [each.user for each in user.memberships] == [user.usr] * 2
            assert known.memberships[0].user.display_name == "Ann"
            assert getattr(usr, name) is late
            savepoint.rollback()  # memberships without their tuples


def reached_by_identity(session: Session, own: type[Any]) -> None:
    """See that a user who is loaded is found without a statement, and compared as an object."""
    user = own()
    session.add(user)
    session.flush()
    key, usr_id = identity_key(instance=user), user.usr.id
    session.expunge_all()
    usr = session.get_one(User, usr_id)
    again = session.scalars(
        select(own).where(own.usr == usr).options(raiseload(own.usr, sql_only=True))
    ).one()
    assert (identity_key(instance=again), again.usr) == (key, usr)


def main(url: str) -> None:
    """Read and write the relationships of both classes."""
    relate()
    engine = create_engine(url)
    ways = 0
    with Session(engine) as session:
        tenancy.Base.metadata.create_all(session.connection())
        Base.metadata.create_all(session.connection())
        for own in (Account, Person):
            ways += read(session, own)
            write(session, own)
            reached_by_identity(session, own)
    engine.dispose()
    print(f"{ways} ways")


if __name__ == "__main__":
    main(*sys.argv[1:])
