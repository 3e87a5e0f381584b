"""An application whose own tables keep UUIDs, and every way to ask ours for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, Uuid, bindparam, func, literal, select, tuple_
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from flametrench_tenancy_sqlalchemy import Organization, WireId
from flametrench_tenancy_sqlalchemy._sql import table_of


class AssetBase(DeclarativeBase):
    """The application's own base."""


class Asset(AssetBase):
    """The application's own row, which names an organization by its UUID."""

    __tablename__ = "asset"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[UUID] = mapped_column(Uuid)


_ORG: Final = table_of(Organization)
_OTHER: Final = aliased(Organization)
_SUBQUERY: Final = select(Organization).subquery()
_ALIAS_OF_IT: Final = aliased(Organization, _SUBQUERY)

FORMS: Final[dict[str, Callable[[Any], Select[Any]]]] = {
    "equal": lambda id_: select(Organization).where(Organization.id == id_),
    "the other way round": lambda id_: select(Organization).where(id_ == Organization.id),
    "in a list": lambda id_: select(Organization).where(Organization.id.in_([id_])),
    "in a set": lambda id_: select(Organization).where(Organization.id.in_({id_})),
    "in a parameter": lambda id_: select(Organization).where(
        Organization.id.in_(bindparam("ids", [id_], expanding=True))
    ),
    "between": lambda id_: select(Organization).where(Organization.id.between(id_, id_)),
    "not distinct": lambda id_: select(Organization).where(
        Organization.id.is_not_distinct_from(id_)
    ),
    "parameter": lambda id_: select(Organization).where(Organization.id == bindparam("id", id_)),
    "literal": lambda id_: select(Organization).where(Organization.id == literal(id_)),
    "typed literal": lambda id_: select(Organization).where(
        literal(id_, WireId("org")) == Organization.id
    ),
    "written into the statement": lambda id_: select(Organization).where(
        Organization.id == bindparam("id", id_, WireId("org"), literal_execute=True)
    ),
    "function": lambda id_: select(Organization).where(func.coalesce(Organization.id, None) == id_),
    "pair": lambda id_: select(Organization).where(
        tuple_(Organization.id, Organization.status).in_([(id_, "active")])
    ),
    "alias": lambda id_: select(_OTHER).where(_OTHER.id == id_),
    "alias of a subquery": lambda id_: select(_ALIAS_OF_IT).where(_ALIAS_OF_IT.id == id_),
    "table": lambda id_: select(Organization).where(_ORG.c.id == id_),
    "joined to a uuid": lambda id_: (
        select(Organization).join(Asset, Asset.owner == Organization.id).where(_ORG.c.id == id_)
    ),
    "among uuids": lambda id_: select(Organization).where(
        Organization.id.in_(select(Asset.owner)), Organization.id == id_
    ),
}
"""Every query finds the organization with the id that is given, in whatever form."""


def misses(session: Session) -> list[tuple[str, object]]:
    """Return which form of a query does not find organizations by UUIDs and wire ids alike."""
    orgs = [Organization(), Organization()]
    session.add_all(orgs)
    session.flush()
    session.add_all(Asset(owner=UUID(org.id[4:])) for org in orgs)
    session.flush()
    return [
        (form, id_)
        for form, query in FORMS.items()
        for org in orgs  # twice: the second time the statement is cached
        for id_ in (UUID(org.id[4:]), org.id)
        if session.scalars(query(id_)).all() != [org]
    ]
