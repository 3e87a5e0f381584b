"""An application that uses tenancy: a declarative base and a table of its own."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from flametrench_tenancy_sqlalchemy import Organization, User


class AdopterBase(DeclarativeBase):
    """The application's own base."""


class Project(AdopterBase):
    """The application's own row, which may belong to an organization and to a user."""

    __tablename__ = "project"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    org_id: Mapped[str | None] = mapped_column(ForeignKey(Organization.id))
    lead_id: Mapped[str | None] = mapped_column(ForeignKey(User.id))

    # A relationship tells the order of inserts, which a foreign key alone leaves to chance.
    organization: Mapped[Organization | None] = relationship(lambda: Organization)
    lead: Mapped[User | None] = relationship(lambda: User)


class Note(AdopterBase):
    """The application's own row that knows nothing of tenancy, and may lie in another database."""

    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(unique=True)
