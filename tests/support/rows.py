"""What is in the tables, and whether a Session says the same."""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, inspect, select
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import Base
from tests.support.isolation import in_full

Rows: TypeAlias = dict[str, list[Any]]


def rows(connection: Connection) -> Rows:
    """Return everything in the tables of tenancy, as this connection sees it."""
    with in_full(connection):
        return {
            name: list(connection.execute(select(table).order_by(table.c.id)))
            for name, table in Base.metadata.tables.items()
        }


def committed_rows(engine: Engine) -> Rows:
    """Return everything in the tables of tenancy, as everybody sees it."""
    with engine.connect() as connection:
        return rows(connection)


def load_all(session: Session) -> list[Base]:
    """Load every entity there is; the Session forgets them when the list is gone."""
    with in_full(session):
        return [
            entity
            for mapper in Base.registry.mappers
            for entity in session.scalars(select(mapper.class_))
        ]


def untruths(session: Session, truth: Rows) -> list[str]:
    """Return what the tenancy objects of a Session say that their rows do not."""
    found = [f"{entity!r} is pending" for entity in session.new if isinstance(entity, Base)]
    for entity in session.identity_map.values():
        if isinstance(entity, Base):
            found += untruths_of(entity, truth)
    return found


def untruths_of(entity: Base, truth: Rows) -> list[str]:
    """Return what an entity says, as far as it is loaded, that its row does not."""
    state = inspect(entity)
    (id_,) = state.identity or (None,)
    row = next((r for r in truth[entity.__tablename__] if r.id == id_), None)
    loaded = [a for a in state.mapper.column_attrs if a.key in state.dict]
    if row is None:
        # Expired, it says nothing, and raises SQLAlchemy's ObjectDeletedError when it is asked.
        return [f"{type(entity).__name__} {id_} has no row"] if loaded else []
    actual = row._mapping
    found = [
        f"{entity!r}.{attribute.key} is {state.dict[attribute.key]!r}, not {actual[column]!r}"
        for attribute in loaded
        for column in attribute.columns
        if state.dict[attribute.key] != actual[column]
    ]
    for relationship in state.mapper.relationships:
        if relationship.key in state.dict:
            ((local, _),) = relationship.local_remote_pairs or ()
            related = state.dict[relationship.key]
            if (related and inspect(related).identity[0]) != actual[local]:
                found.append(f"{entity!r}.{relationship.key} is {related!r}, not {actual[local]!r}")
    return found
