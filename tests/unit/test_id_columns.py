"""The column types of ids: what they bind, compare, read and refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, StaticPool, create_engine, event, literal, make_url, select
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Base,
    InvalidIdError,
    Membership,
    Organization,
    Tuple,
    User,
    WireId,
    new_id,
)
from tests.support.entities import NOW, a_user

HEX = "0190f2a81b3c7abc8123456789abcdef"
WIRE = f"usr_{HEX}"
POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()

NOT_USER_IDS: list[Any] = [
    "",
    HEX,
    f"org_{HEX}",
    f"{WIRE}\n",
    f"usr_{HEX.upper()}",
    f"usr_{HEX}0",
    f"usr_{'0' * 32}",
    7,
    UUID(HEX),
]


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
def sent(engine: Engine) -> list[str]:
    """The statements that reached the database since the fixture was made."""
    statements: list[str] = []

    def record(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", record)
    return statements


def test_it_stores_the_uuid_and_reads_the_wire_id() -> None:
    column = WireId("usr")
    assert column.process_bind_param(WIRE, POSTGRESQL) == UUID(HEX)
    assert column.process_result_value(UUID(HEX), POSTGRESQL) == WIRE
    assert column.python_type is str


def test_null_stays_null() -> None:
    column = WireId("usr")
    assert column.process_bind_param(None, POSTGRESQL) is None
    assert column.process_result_value(None, POSTGRESQL) is None
    assert column.process_literal_param(None, POSTGRESQL) == "NULL"


def test_it_is_a_native_uuid_on_postgresql() -> None:
    assert WireId("usr").compile(dialect=POSTGRESQL) == "UUID"


def test_it_renders_inline() -> None:
    statement = select(literal(WIRE, WireId("usr")))
    rendered = statement.compile(dialect=POSTGRESQL, compile_kwargs={"literal_binds": True})
    assert f"'{UUID(HEX)}'" in str(rendered)


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


@pytest.mark.parametrize("value", NOT_USER_IDS, ids=repr)
def test_a_query_with_anything_else_is_refused_before_the_database_sees_it(
    session: Session, sent: list[str], value: Any
) -> None:
    for condition in (User.id == value, User.id != value, User.id.in_([WIRE, value])):
        with pytest.raises(InvalidIdError, match="usr id: "):
            session.scalars(select(User).where(condition))
    with pytest.raises(InvalidIdError, match="usr id: "):
        session.get(User, value)
    assert sent == []


@pytest.mark.parametrize("value", NOT_USER_IDS, ids=repr)
def test_a_row_with_anything_else_is_refused_before_the_database_sees_it(
    session: Session, sent: list[str], value: Any
) -> None:
    session.add(User(id=value))
    with pytest.raises(InvalidIdError, match="usr id: "):
        session.flush()
    assert sent == []


def test_another_types_id_never_finds_an_entity_that_shares_its_uuid(session: Session) -> None:
    user = a_user()
    session.add(user)
    session.commit()
    with pytest.raises(InvalidIdError):
        session.scalars(select(User).where(User.id == user.id.replace("usr_", "mem_")))


def test_none_in_a_comparison_asks_for_null(session: Session) -> None:
    statement = select(Membership).where(Membership.replaces == None)  # noqa: E711 - SQL's IS NULL
    assert "IS NULL" in str(statement)
    assert session.scalars(statement).all() == []


@pytest.mark.parametrize(
    "column, type_",
    [
        (Organization.id, "org"),
        (Membership.id, "mem"),
        (Membership.usr_id, "usr"),
        (Membership.org_id, "org"),
        (Membership.replaces, "mem"),
        (Membership.invited_by, "usr"),
        (Membership.removed_by, "usr"),
    ],
    ids=str,
)
def test_every_column_takes_ids_of_its_own_type_only(
    session: Session, column: Any, type_: str
) -> None:
    assert session.scalars(select(column).where(column == new_id(type_))).all() == []
    for other in {"usr", "org", "mem", "inv", "tup"} - {type_}:
        with pytest.raises(InvalidIdError, match=f"{type_} id: "):
            session.scalars(select(column).where(column == new_id(other)))


@pytest.mark.parametrize(
    "id_", [f"proj_{HEX}", str(UUID(HEX)), str(UUID(HEX)).upper(), HEX, UUID(HEX)], ids=repr
)
def test_tuples_are_found_by_any_form_of_an_id(session: Session, id_: Any) -> None:
    fact = Tuple(
        id=new_id("tup"),
        subject_type="proj",
        subject_id=HEX,
        relation="part_of",
        object_type="proj",
        object_id=HEX,
        created_at=NOW,
    )
    session.add(fact)
    session.commit()
    for column in (Tuple.subject_id, Tuple.object_id, Tuple.subject_uuid, Tuple.object_uuid):
        assert session.scalars(select(Tuple).where(column == id_)).all() == [fact]


@pytest.mark.parametrize("id_", ["", "proj_", f"proj_{HEX}\n", HEX.upper(), 7], ids=repr)
def test_tuples_are_not_asked_for_by_anything_else(
    session: Session, sent: list[str], id_: Any
) -> None:
    with pytest.raises(InvalidIdError, match="object id: "):
        session.scalars(select(Tuple).where(Tuple.object_id == id_))
    assert sent == []
