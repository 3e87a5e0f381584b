"""The application's own tables, beside those of tenancy."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from flametrench_tenancy_sqlalchemy import Organization, User


class Base(DeclarativeBase):
    pass


class Account(Base):
    """What the application knows of a user: the same id, in a table of its own."""

    __tablename__ = "account"

    id: Mapped[str] = mapped_column(ForeignKey(User.id), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)

    user: Mapped[User] = relationship(lambda: User)


class Project(Base):
    """What the application is about; it belongs to an organization."""

    __tablename__ = "project"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    org_id: Mapped[str] = mapped_column(ForeignKey(Organization.id))

    # A relationship tells the order of inserts, which a foreign key alone leaves to chance.
    organization: Mapped[Organization] = relationship(lambda: Organization)
