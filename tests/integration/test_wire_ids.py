"""Wire ids at every door: on entities as they are read back, and in queries of the models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute

from flametrench_tenancy_sqlalchemy import (
    Base,
    InvalidIdError,
    Invitation,
    Membership,
    Organization,
    PreTuple,
    TenancyRepository,
    Tuple,
    User,
    WireId,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.sql import bare, stored
from tests.support.stage import IDENTIFIER, Stage

MODELS: list[type[Base]] = [User, Organization, Membership, Invitation, Tuple]


def _id_attributes(model: type[Base]) -> Iterator[tuple[str, str]]:
    """Return the names of a model's wire-id attributes, each with its type of id."""
    for column in model.__mapper__.columns:
        if isinstance(column.type, WireId):
            yield column.key, column.type.type_


ID_ATTRIBUTES = [(model, *found) for model in MODELS for found in _id_attributes(model)]


@pytest.fixture
def entities(stage: Stage, tenancy: TenancyRepository) -> dict[type[Base], Base]:
    """One entity of each model with every id set, as the database has it."""
    org, usr_id = stage.org(), stage.user()
    grant = PreTuple("billing", "org", org.id)
    accepted = tenancy.accept_invitation(
        stage.invitation(org, grant).id, as_usr_id=usr_id, accepting_identifier=IDENTIFIER
    )
    successor = tenancy.change_role(accepted.membership.id, "admin")
    tenancy.admin_remove(successor.id, stage.owner(org).usr_id)
    (granted,) = accepted.materialized_tuples
    identities = {
        User: usr_id,
        Organization: org.id,
        Membership: successor.id,
        Invitation: accepted.invitation.id,
        Tuple: granted.id,
    }
    stage.session.expunge_all()
    return {model: stage.session.get_one(model, identity) for model, identity in identities.items()}


@pytest.mark.parametrize("model, name, type_", ID_ATTRIBUTES)
def test_an_id_reads_as_a_wire_id_and_is_stored_as_its_uuid(
    model: type[Base], name: str, type_: str, entities: dict[type[Base], Base], stage: Stage
) -> None:
    entity = entities[model]
    value = getattr(entity, name)
    assert value.startswith(f"{type_}_")
    row = stored(stage.session, entity.__tablename__, getattr(entity, "id"))  # noqa: B009 - Base has none
    assert row[name] == bare(value)


@pytest.mark.parametrize("model, name, type_", ID_ATTRIBUTES)
def test_a_query_compares_an_id_with_wire_ids(
    model: type[Base], name: str, type_: str, entities: dict[type[Base], Base], stage: Stage
) -> None:
    entity = entities[model]
    attribute: InstrumentedAttribute[str] = getattr(model, name)
    value, other = getattr(entity, name), new_id(type_)
    narrowed = select(model).where(model.__mapper__.primary_key[0] == getattr(entity, "id"))  # noqa: B009 - Base has none
    for condition, holds in [
        (attribute == value, True),
        (attribute == other, False),
        (attribute != other, True),
        (attribute.in_([other, value]), True),
        (attribute.in_([other]), False),
        (attribute < other, True),
        (attribute.between(value, value), True),
    ]:
        found = stage.session.scalars(narrowed.where(condition)).all()
        assert list(found) == ([entity] if holds else [])


@pytest.mark.parametrize("model, name, type_", ID_ATTRIBUTES)
@pytest.mark.parametrize("bad", ["another type", "uuid", "newline", "garbage"])
def test_a_query_refuses_what_is_no_such_wire_id_before_the_database_sees_it(
    bad: str, model: type[Base], name: str, type_: str, stage: Stage
) -> None:
    uuid = new_uuid()
    value = {
        "another type": f"{'org' if type_ != 'org' else 'usr'}_{uuid.hex}",
        "uuid": str(uuid),
        "newline": f"{type_}_{uuid.hex}\n",
        "garbage": "garbage",
    }[bad]
    with pytest.raises(InvalidIdError) as caught:
        stage.session.scalars(select(model).where(getattr(model, name) == value))
    assert caught.value.value == value
