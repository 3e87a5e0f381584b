"""Events of the audit log: who did what to what, and how it went.

The table comes with the opt-in branch ``flametrench_tenancy_audit``, and so has a metadata of its
own: whoever does not migrate it has nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Dialect,
    Index,
    Integer,
    MetaData,
    Sequence,
    Text,
    cast,
    func,
    text,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.types import UserDefinedType

from ..ids import WireId
from ..values import AuditOutcome
from .base import NAMING_CONVENTION, TermType, UtcDateTime, matches, one_of
from .tuple import TYPE_PATTERN

EVENT_BYTES: Final = 64 * 1024
"""How large an event may be."""

# The time in milliseconds, the version, and 74 random bits: a counter would tell one organization
# how much goes on in others. PostgreSQL has no function for it before 18.
NEW_ID: Final = (
    "(lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' "
    "|| substr(gen_random_uuid()::text, 16))::uuid"
)
_POSITIONS: Final = Sequence("aud_pos_seq")

_SIZE: Final = " + ".join(
    f"octet_length({column})"
    for column in (
        *("action", "target_kind", "target_id"),
        *("coalesce(occurred_as, '')", "coalesce(scope_kind, '')", "coalesce(scope_id, '')"),
        *("coalesce(auth::text, '')", "coalesce(on_behalf::text, '')"),
        *("metadata::text", "coalesce(context::text, '')"),
    )
)


class AuditBase(DeclarativeBase):
    """The declarative base of the audit log, with a metadata of its own."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Xid8(UserDefinedType[int]):
    """A transaction's number, which no restart and no wrap-around repeats."""

    cache_ok = True

    @property
    def python_type(self) -> type[int]:
        """A number."""
        return int

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name."""
        return "xid8"

    def bind_expression(self, bindvalue: BindParameter[int]) -> ColumnElement[int]:
        """Send it as a number, which becomes one by its text: drivers do not know the type."""
        return cast(cast(type_coerce(bindvalue, BigInteger), Text), self)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Read the number, whether the driver gives it as such or as text."""
        return lambda value: None if value is None else int(value)


class AuditEvent(AuditBase):
    """What somebody did, or was refused, in the shape that the specification gives it.

    Attributes:
        id: its wire id (``aud_…``).
        occurred_at: when it happened, by the clock of whoever tells.
        occurred_as: the same in the words of an application that gave a string.
        recorded_at: when it was written, by the server's clock; the log's own order with ``id``.
        actor_usr_id: the user who did it, unless it was nobody, or nobody knows.
        auth: how they had signed in, or what the system's part in it was.
        on_behalf: the agent that acted for them.
        action: what was done, such as ``tenancy.member_added``.
        target_kind: the type of what it was done to.
        target_id: its id, in the application's own words where the type is its own.
        scope_kind: ``org``, where it happened in an organization.
        scope_id: that organization's wire id.
        outcome: how it went.
        metadata_: ids, roles, statuses, and what they were; the column ``metadata``.
        context: the request's id, address and user agent, until retention forgets them.
        era: how often the log has moved to another server.
        xid: the transaction that wrote it.
        pos: its place in the transaction.

    Specification: ADR 0019.
    """

    __tablename__ = "aud"
    __table_args__ = (
        CheckConstraint("action <> ''", name="aud_action_check"),
        matches(TYPE_PATTERN, "aud", "target_kind"),
        CheckConstraint("(scope_kind IS NULL) = (scope_id IS NULL)", name="aud_scope_check"),
        one_of(AuditOutcome, "aud", "outcome"),
        CheckConstraint(
            "auth IS NULL OR jsonb_typeof(auth) = 'object' "
            "AND auth ->> 'kind' IN ('session', 'pat', 'share', 'system') "
            "AND num_nonnulls(auth ->> 'session_id', auth ->> 'pat_id', auth ->> 'share_id', "
            "auth ->> 'system_id') = 1 "
            "AND auth ->> (auth ->> 'kind' || '_id') IS NOT NULL",
            name="aud_auth_check",
        ),
        CheckConstraint(
            "actor_usr_id IS NULL OR auth ->> 'kind' IS DISTINCT FROM 'system'",
            name="aud_actor_check",
        ),
        CheckConstraint(
            "on_behalf IS NULL OR on_behalf - 'agent_id' = '{}' "
            "AND jsonb_typeof(on_behalf -> 'agent_id') IS NOT DISTINCT FROM 'string'",
            name="aud_on_behalf_check",
        ),
        CheckConstraint("jsonb_typeof(metadata) = 'object'", name="aud_metadata_check"),
        CheckConstraint("jsonb_typeof(context) = 'object'", name="aud_context_check"),
        CheckConstraint(f"{_SIZE} <= {EVENT_BYTES}", name="aud_size_check"),
        Index("aud_scope_idx", "scope_id", "recorded_at", "id"),
        Index("aud_actor_idx", "actor_usr_id", "recorded_at", "id"),
        Index("aud_target_idx", "target_id", "recorded_at", "id"),
        Index("aud_feed_idx", "era", "xid", "pos"),
        # Who was suspended when.
        Index(
            "aud_pause_idx",
            *("scope_id", "target_id", "occurred_at", "pos", "action"),
            postgresql_where=text(
                "action IN ('tenancy.member_suspended', 'tenancy.member_reinstated', "
                "'tenancy.member_left', 'tenancy.member_removed')"
            ),
        ),
        {"postgresql_partition_by": "RANGE (recorded_at)"},
    )

    id: Mapped[str] = mapped_column(WireId("aud"), primary_key=True, server_default=text(NEW_ID))
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    occurred_as: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime] = mapped_column(
        UtcDateTime, primary_key=True, server_default=func.clock_timestamp()
    )
    actor_usr_id: Mapped[str | None] = mapped_column(WireId("usr"))
    auth: Mapped[Mapping[str, Any] | None] = mapped_column(JSONB)
    on_behalf: Mapped[Mapping[str, Any] | None] = mapped_column(JSONB)
    action: Mapped[str] = mapped_column(Text)
    target_kind: Mapped[str] = mapped_column(Text)
    target_id: Mapped[str] = mapped_column(Text)
    scope_kind: Mapped[str | None] = mapped_column(Text)
    scope_id: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[AuditOutcome] = mapped_column(
        TermType(AuditOutcome), server_default=AuditOutcome.SUCCESS
    )
    metadata_: Mapped[Mapping[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")
    context: Mapped[Mapping[str, Any] | None] = mapped_column(JSONB)
    era: Mapped[int] = mapped_column(Integer, server_default="1")
    xid: Mapped[int] = mapped_column(Xid8, server_default=func.pg_current_xact_id())
    pos: Mapped[int] = mapped_column(BigInteger, _POSITIONS, server_default=_POSITIONS.next_value())

    @property
    def target(self) -> tuple[str, str]:
        """The kind and the id of what it was done to."""
        return self.target_kind, self.target_id

    @property
    def scope(self) -> tuple[str, str] | None:
        """The kind and the id of where it happened, if that is known."""
        if self.scope_kind is None or self.scope_id is None:
            return None
        return self.scope_kind, self.scope_id

    def document(self) -> dict[str, Any]:
        """Return the event as JSON has it, in the shape that the specification gives it."""
        optional = {
            "auth": self.auth,
            "on_behalf": self.on_behalf,
            "scope": self.scope and _thing(*self.scope),
            "context": self.context,
        }
        return {
            "id": self.id,
            "occurred_at": self.occurred_as or _words(self.occurred_at),
            "recorded_at": _words(self.recorded_at),
            "actor_usr_id": self.actor_usr_id,
            "action": self.action,
            "target": _thing(*self.target),
            "outcome": self.outcome.value,
            "metadata": self.metadata_,
            **{name: value for name, value in optional.items() if value is not None},
        }

    def __repr__(self) -> str:
        loaded = vars(self)
        words = (str(loaded.get(name)) for name in ("id", "action", "target_id"))
        return f"<AuditEvent {' '.join(words)}>"


def _thing(kind: str, id_: str) -> dict[str, str]:
    return {"kind": kind, "id": id_}


def _words(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
