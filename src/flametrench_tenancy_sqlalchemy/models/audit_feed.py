"""How far the consumers of the audit log have come, and what they have passed over."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Integer, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from ..ids import WireId
from .audit_event import AuditBase, Xid8
from .base import UtcDateTime


class AuditConsumer(AuditBase):
    """A consumer, and its position: the last event that it has been given.

    Attributes:
        name: the consumer's name.
        era: the event's era.
        xid: the transaction that wrote it.
        pos: its place in the transaction.
        moved_at: when the position moved last.
    """

    __tablename__ = "aud_consumer"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    era: Mapped[int] = mapped_column(Integer, server_default="0")
    xid: Mapped[int] = mapped_column(Xid8, server_default="0")
    pos: Mapped[int] = mapped_column(BigInteger, server_default="0")
    moved_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.now())


class SkippedEvent(AuditBase):
    """An event that a consumer could not take, and why: the record that it has been passed over.

    Attributes:
        consumer: the consumer's name.
        event_id: the event's wire id (``aud_…``).
        error: what was wrong.
        skipped_at: when it was passed over.
    """

    __tablename__ = "aud_skipped"

    consumer: Mapped[str] = mapped_column(Text, primary_key=True)
    event_id: Mapped[str] = mapped_column(WireId("aud"), primary_key=True)
    error: Mapped[str] = mapped_column(Text)
    skipped_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.now())


class AuditEra(AuditBase):
    """A time in which one server numbers the transactions; a log that is restored begins another.

    Attributes:
        era: its number, which events have.
        began_at: when it began.
    """

    __tablename__ = "aud_era"

    era: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    began_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.now())
