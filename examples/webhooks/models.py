"""What the worker keeps: who wants to know, and what is on its way to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import DateTime, ForeignKey, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from flametrench_tenancy_sqlalchemy import Organization, WireId


class Base(DeclarativeBase):
    """The application's own tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
    }


class Endpoint(Base):
    """Where an organization wants to be told what happens in it."""

    __tablename__ = "endpoint"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    org_id: Mapped[str] = mapped_column(WireId("org"), ForeignKey(Organization.id), index=True)
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(Text)


class Outgoing:
    """Something on its way: tried when it is due, and again later where that fails."""

    attempts: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    error: Mapped[str | None]


class Delivery(Outgoing, Base):
    """An event for an endpoint: one for each, however often it has to be tried."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("endpoint_id", "event_id"),
        Index("delivery_due_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey(Endpoint.id, ondelete="CASCADE"))
    event_id: Mapped[str] = mapped_column(WireId("aud"))
    body: Mapped[dict[str, Any]]

    endpoint: Mapped[Endpoint] = relationship(lazy="joined")


class Mail(Outgoing, Base):
    """A mail about an event."""

    __tablename__ = "mail"
    __table_args__ = (Index("mail_due_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[str] = mapped_column(WireId("aud"), unique=True)
    recipient: Mapped[str]
    subject: Mapped[str]
