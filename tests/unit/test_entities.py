"""Entities apart from their rules: how they are made, flushed and shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, StaticPool, create_engine, event, inspect
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Base,
    Invitation,
    Membership,
    Organization,
    Role,
    Tuple,
    User,
    new_id,
)
from tests.support.entities import EXPIRY, LATER, NOW, a_member, an_invitation, an_org

HEX = "0190f2a81b3c7abc8123456789abcdef"
MODELS = [User, Organization, Membership, Invitation, Tuple]
every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An empty database with the tables of tenancy."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A Session on that database."""
    with Session(engine) as session:
        yield session


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """The events that attributes and constructors of memberships have told of."""
    heard: list[str] = []

    def told(name: str) -> Any:
        return lambda *args, **kwargs: heard.append(name)

    listeners: list[tuple[Any, str, Any]] = [
        (Membership, "init", told("init")),
        *((getattr(Membership, name), "set", told(name)) for name in ("role", "organization")),
    ]
    for listener in listeners:
        event.listen(*listener)
    yield heard
    for listener in listeners:
        event.remove(*listener)


def _one_of_each() -> dict[type[Base], Base]:
    """Return an entity of every model, without an id, all in one organization."""
    user, org = User(), Organization()
    return {
        User: user,
        Organization: org,
        Membership: Membership(user=user, organization=org, role=Role.OWNER),
        Invitation: Invitation(
            organization=org,
            identifier="newbie@example.com",
            role=Role.MEMBER,
            inviter=user,
            created_at=NOW,
            expires_at=EXPIRY,
        ),
        Tuple: Tuple(
            subject_type="usr",
            subject_id=HEX,
            relation="editor",
            object_type="proj",
            object_id=HEX,
            creator=user,
        ),
    }


def test_an_entity_without_an_id_gets_a_new_one_when_it_is_flushed(session: Session) -> None:
    entities = [*_one_of_each().values(), User(), Organization()]
    session.add_all(entities)
    session.flush()
    ids = [getattr(entity, "id") for entity in entities]  # noqa: B009 -- the base has none
    assert len(set(ids)) == len(ids)
    assert [id_.partition("_")[0] for id_ in ids] == [entity.__tablename__ for entity in entities]
    assert all(entity.id == id_ for entity, id_ in zip(entities, ids, strict=True))  # type: ignore[attr-defined]  # the same


@every_model
def test_an_id_that_is_given_stays(model: type[Base], session: Session) -> None:
    entity: Any = _one_of_each()[model]
    entity.id = given = new_id(model.__tablename__)
    session.add(entity)
    session.flush()
    assert entity.id == given


def test_a_new_entity_joins_no_session_by_itself(session: Session) -> None:
    user, org = User(), Organization.create(name=None, slug=None, at=NOW)
    session.add_all([user, org])
    session.flush()

    first = Membership.join(org, user.id, Role.OWNER, at=NOW)
    assert (first in session, set(session.new)) == (False, set())
    assert inspect(first).attrs.role.history.added == [Role.OWNER]
    session.add(first)
    assert set(session.new) == {first}
    session.flush()

    second = first.change_role(Role.ADMIN, other_owners=[a_member(Role.OWNER)], at=LATER)
    assert second.predecessor is first
    assert (second in session, set(session.new), set(session.dirty)) == (False, set(), {first})
    session.add(second)
    assert set(session.new) == {second}
    session.commit()
    assert (second.replaces, second.org_id) == (first.id, org.id)


def test_a_new_membership_is_heard_of_as_if_it_were_made_by_hand(heard: list[str]) -> None:
    membership = a_member(Role.MEMBER)
    assert sorted(heard) == ["init", "organization", "role"]
    heard.clear()
    membership.change_role(Role.ADMIN, other_owners=[], at=LATER)
    assert sorted(heard) == ["init", "organization", "role"]


def test_an_entity_shows_its_id_and_what_matters_of_it() -> None:
    org, membership, invitation = an_org(), a_member(Role.GUEST), an_invitation()
    assert repr(org) == f"<Organization {org.id} active>"
    assert repr(membership) == f"<Membership {membership.id} guest active>"
    assert repr(invitation) == f"<Invitation {invitation.id} pending>"
    assert repr(User(id=f"usr_{HEX}")) == f"<User usr_{HEX}>"


@every_model
def test_what_is_half_made_shows_what_there_is(model: type[Base]) -> None:
    name = model.__name__
    assert repr(model()) == f"<{name} (no id)>"
    assert repr(model(id="anything")) == f"<{name} anything>"
    assert repr(model.__new__(model)) == f"<{name} (no id)>"


@pytest.mark.parametrize("half", [{"subject_uuid": None}, {"object_uuid": HEX}, {"relation": []}])
def test_a_tuple_that_is_not_yet_a_fact_can_be_shown(half: dict[str, Any]) -> None:
    fact: Any = _one_of_each()[Tuple]
    for name, value in half.items():
        setattr(fact, name, value)
    assert repr(fact).startswith("<Tuple ")


@every_model
def test_what_is_not_loaded_is_shown_by_its_id_without_asking(
    model: type[Base], engine: Engine
) -> None:
    with Session(engine) as session:
        session.add_all(_one_of_each().values())
        session.commit()
        entity: Any = session.query(model).one()
        shown = f"<{model.__name__} {entity.id}>"
        session.expire(entity)
        assert repr(entity) == shown
        assert "id" not in vars(entity)
        session.expunge(entity)
        assert repr(entity) == shown
        assert "id" not in vars(entity)
