"""Wire ids at every door: on entities as they are read back, and in queries of the models."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from flametrench_tenancy_sqlalchemy import (
    Base,
    InvalidIdError,
    Invitation,
    Membership,
    Organization,
    PreTuple,
    Tuple,
    User,
    WireId,
    new_id,
)
from tests.support.sql import bare
from tests.support.stage import IDENTIFIER, Stage

ID_ATTRIBUTES = [
    (model, column.key, column.type.type_)
    for model in (User, Organization, Membership, Invitation, Tuple)
    for column in model.__mapper__.columns
    if isinstance(column.type, WireId)
]


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """A stage with one row of each table in which every id is set."""
    org, tenancy = stage.org(), stage.tenancy
    invitation = stage.invitation(org, PreTuple("billing", "org", org.id))
    accepted = tenancy.accept_invitation(
        invitation.id, as_usr_id=stage.user(), accepting_identifier=IDENTIFIER
    )
    successor = tenancy.change_role(accepted.membership.id, "admin")
    tenancy.admin_remove(successor.id, stage.owner(org).usr_id)
    stage.session.expunge_all()
    return stage


@pytest.mark.parametrize("model, name, type_", ID_ATTRIBUTES)
def test_an_id_reads_as_a_wire_id_and_is_compared_with_wire_ids(
    model: type[Base], name: str, type_: str, stage: Stage
) -> None:
    attribute, other, session = getattr(model, name), new_id(type_), stage.session
    entity = session.scalars(select(model).where(attribute.is_not(None))).first()
    value = getattr(entity, name)
    raw = f"SELECT FROM {model.__tablename__} WHERE {name} = '{bare(value)}'"
    assert value.startswith(f"{type_}_")
    assert session.connection().exec_driver_sql(raw).first() is not None
    for condition, holds in [
        (attribute == value, True),
        (attribute == other, False),
        (attribute != other, True),
        (attribute.in_([other, value]), True),
        (attribute.in_([other]), False),
        (attribute < other, True),
        (attribute.between(value, value), True),
    ]:
        assert (entity in session.scalars(select(model).where(condition)).all()) == holds


@pytest.mark.parametrize("model, name, type_", ID_ATTRIBUTES)
def test_a_query_refuses_what_is_no_such_wire_id_before_the_database_sees_it(
    model: type[Base], name: str, type_: str, stage: Stage
) -> None:
    good = new_id(type_)
    for bad in (new_id("org" if type_ != "org" else "usr"), bare(good), f"{good}\n", "garbage"):
        with pytest.raises(InvalidIdError) as caught:
            stage.session.scalars(select(model).where(getattr(model, name) == bad))
        assert caught.value.value == bad
