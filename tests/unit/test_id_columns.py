"""The column types of ids: what they bind, compare, read and refuse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import bindparam, create_engine, event, func, literal, make_url, select, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Base,
    InvalidIdError,
    Invitation,
    Membership,
    Organization,
    Status,
    Tuple,
    User,
    WireId,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import ObjectId
from tests.support.entities import NOW, a_user

HEX = "0190f2a81b3c7abc8123456789abcdef"
WIRE = f"usr_{HEX}"
POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()

# What else is no id is said in test_ids.py.
NOT_USER_IDS: list[Any] = ["", HEX, f"org_{HEX}", f"{WIRE}\n", f"usr_{'0' * 32}", 7]


@pytest.fixture
def session() -> Iterator[Session]:
    """A Session on an empty database with the tables of tenancy."""
    engine = create_engine("sqlite://")
    with Session(engine) as session:
        Base.metadata.create_all(session.connection())
        yield session
    engine.dispose()


@pytest.fixture
def sent(session: Session) -> list[str]:
    """The statements that reached the database since the fixture was made."""
    statements: list[str] = []
    event.listen(
        session.connection(), "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    return statements


def test_it_stores_a_native_uuid_and_reads_the_wire_id_and_null_stays_null() -> None:
    column = WireId("usr")
    assert column.compile(dialect=POSTGRESQL) == "UUID"
    assert column.python_type is str
    for wire, stored in ((WIRE, UUID(HEX)), (None, None)):
        assert column.process_bind_param(wire, POSTGRESQL) == stored
        assert column.process_bind_param(stored, POSTGRESQL) == stored
        assert column.process_result_value(stored, POSTGRESQL) == wire


def test_it_renders_inline() -> None:
    inline: Any = {"dialect": POSTGRESQL, "compile_kwargs": {"literal_binds": True}}
    for type_ in (WireId("usr"), ObjectId()):
        for id_ in (WIRE, UUID(HEX)):
            assert str(literal(id_, type_).compile(**inline)) == f"'{UUID(HEX)}'"
        assert str(literal(None, type_).compile(**inline)) == "NULL"


@pytest.mark.parametrize(
    "column, python_type",
    [
        *((User.id, str), (Tuple.object_uuid, UUID), (User.status, Status)),
        *((User.created_at, datetime), (Invitation.pre_tuples, list)),
    ],
)
def test_every_type_of_column_tells_what_it_reads_as(column: Any, python_type: type) -> None:
    assert column.type.python_type is python_type


def test_columns_of_one_type_share_a_cache_key_and_those_of_two_do_not() -> None:
    keys = [select(literal(WIRE, WireId(t)))._generate_cache_key() for t in ("usr", "usr", "org")]
    assert keys[0] == keys[1] != keys[2]


def test_entities_are_found_by_wire_id_in_every_kind_of_comparison(session: Session) -> None:
    user, other = a_user(), a_user()
    session.add_all([user, other])
    session.commit()
    for condition in (
        User.id == user.id,
        User.id.in_([user.id]),
        User.id != other.id,
        User.id < other.id,
        User.id.between(user.id, user.id),
    ):
        assert session.scalars(select(User).where(condition)).all() == [user]
    assert session.get(User, user.id) is user
    assert session.scalars(select(User.id).order_by(User.id)).all() == [user.id, other.id]
    with pytest.raises(InvalidIdError):  # another type's id never finds who shares its uuid
        session.scalars(select(User).where(User.id == user.id.replace("usr_", "mem_")))


@pytest.mark.parametrize("value", NOT_USER_IDS, ids=repr)
def test_anything_else_is_refused_before_the_database_sees_it(
    session: Session, sent: list[str], value: Any
) -> None:
    for condition in (User.id == value, User.id != value, User.id.in_([WIRE, value])):
        with pytest.raises(InvalidIdError, match="usr id: "):
            session.scalars(select(User).where(condition))
    with pytest.raises(InvalidIdError, match="usr id: "):
        session.get(User, value)
    session.add(User(id=value))
    with pytest.raises(InvalidIdError, match="usr id: "):
        session.flush()
    assert sent == []


def test_none_in_a_comparison_asks_for_null(session: Session) -> None:
    statement = select(Membership).where(Membership.replaces == None)  # noqa: E711 - SQL's IS NULL
    assert "IS NULL" in str(statement)
    assert session.scalars(statement).all() == []


def test_every_column_takes_ids_of_its_own_type_only(session: Session) -> None:
    for column, type_ in (
        *((Organization.id, "org"), (Membership.org_id, "org")),
        *((Membership.id, "mem"), (Membership.replaces, "mem"), (Invitation.id, "inv")),
        *((Membership.usr_id, "usr"), (Membership.invited_by, "usr")),
        *((Membership.removed_by, "usr"), (Invitation.terminal_by, "usr"), (Tuple.id, "tup")),
    ):
        assert session.scalars(select(column).where(column == new_id(type_))).all() == []
        for other in {"usr", "org", "mem", "inv", "tup"} - {type_}:
            with pytest.raises(InvalidIdError, match=f"{type_} id: "):
                session.scalars(select(column).where(column == new_id(other)))


def test_ids_inside_an_expression_have_the_type_of_what_they_are_compared_with(
    session: Session,
) -> None:
    user = a_user()
    session.add(user)
    session.commit()
    for condition in (
        User.id == literal(user.id),
        User.id.in_([literal(user.id), new_id("usr")]),
        func.coalesce(User.id, None) == user.id,
        func.coalesce(User.id, None) == literal(user.id),
        text("id = :id").bindparams(bindparam("id", user.id, User.id.type)),
    ):
        assert session.scalars(select(User).where(condition)).all() == [user]
    with pytest.raises(InvalidIdError):
        session.scalars(select(User).where(User.id == literal("usr_")))


def test_a_moment_can_be_moved_by_a_duration(session: Session) -> None:
    [moved] = select(User.created_at + timedelta(days=1)).compile().params.values()
    assert moved == timedelta(days=1)


def test_tuples_are_found_by_any_form_of_an_id_and_asked_for_by_nothing_else(
    session: Session,
) -> None:
    about: dict[str, Any] = {"subject_type": "proj", "object_type": "proj", "relation": "part_of"}
    fact = Tuple(id=new_id("tup"), **about, subject_id=HEX, object_id=HEX, created_at=NOW)
    session.add(fact)
    session.commit()
    for column in (Tuple.subject_id, Tuple.object_id, Tuple.subject_uuid, Tuple.object_uuid):
        for id_ in (f"proj_{HEX}", str(UUID(HEX)), str(UUID(HEX)).upper(), HEX, UUID(HEX)):
            assert session.scalars(select(Tuple).where(column == id_)).all() == [fact]
        for no_id in ("", "proj_", f"proj_{HEX}\n", HEX.upper(), 7):
            with pytest.raises(InvalidIdError, match="object id: "):
                session.scalars(select(Tuple).where(column == no_id))
