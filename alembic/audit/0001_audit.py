"""An audit log: every change of tenancy, whoever made it, in one append-only table.

Opt-in. Its table is partitioned by month, with a default partition, so that no write ever fails for
want of a month.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import UserDefinedType

from flametrench_tenancy_sqlalchemy.migrations import SECURE_FUNCTIONS
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft_audit_0001"
down_revision = None
branch_labels = ("flametrench_tenancy_audit",)
depends_on = "ft0004"

BYTES = 64 * 1024
# The time in milliseconds, the version, and 74 random bits: a counter would tell one organization
# how much goes on in others. PostgreSQL has no function for it before 18.
NEW_ID = (
    "(lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' "
    "|| substr(gen_random_uuid()::text, 16))::uuid"
)
SIZE = " + ".join(
    f"octet_length({column})"
    for column in (
        *("action", "target_kind", "target_id"),
        *("coalesce(occurred_as, '')", "coalesce(scope_kind, '')", "coalesce(scope_id, '')"),
        *("coalesce(auth::text, '')", "coalesce(on_behalf::text, '')"),
        *("metadata::text", "coalesce(context::text, '')"),
    )
)


class Xid8(UserDefinedType[Any]):
    """The type of a transaction's number."""

    def get_col_spec(self, **_: Any) -> str:
        """Return its name."""
        return "xid8"


def words(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, server_default=default, nullable=nullable)


def document(name: str, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, JSONB, server_default=default, nullable=default is None)


def moment(name: str, default: Any | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=False)


def table() -> sa.Table:
    """Return the table as of this revision, whatever the model says later."""
    return sa.Table(
        "aud",
        sa.MetaData(),
        sa.Column("id", sa.Uuid, server_default=sa.text(NEW_ID), nullable=False),
        moment("occurred_at"),
        words("occurred_as", nullable=True),
        moment("recorded_at", sa.func.clock_timestamp()),
        sa.Column("actor_usr_id", sa.Uuid),
        document("auth"),
        document("on_behalf"),
        words("action"),
        words("target_kind"),
        words("target_id"),
        words("scope_kind", nullable=True),
        words("scope_id", nullable=True),
        words("outcome", "success"),
        document("metadata", "{}"),
        document("context"),
        sa.Column("era", sa.Integer, server_default="1", nullable=False),
        sa.Column("xid", Xid8, server_default=sa.func.pg_current_xact_id(), nullable=False),
        sa.Column(
            "pos",
            sa.BigInteger,
            server_default=sa.text("nextval('aud_pos_seq')"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", "recorded_at", name="aud_pkey"),
        sa.CheckConstraint("action <> ''", name="aud_action_check"),
        sa.CheckConstraint("target_kind ~ '^[a-z]{2,6}$'", name="aud_target_kind_check"),
        sa.CheckConstraint("(scope_kind IS NULL) = (scope_id IS NULL)", name="aud_scope_check"),
        sa.CheckConstraint(
            "outcome IN ('success', 'failure', 'denied', 'pending')", name="aud_outcome_check"
        ),
        sa.CheckConstraint(
            "auth IS NULL OR jsonb_typeof(auth) = 'object' "
            "AND auth ->> 'kind' IN ('session', 'pat', 'share', 'system') "
            "AND num_nonnulls(auth ->> 'session_id', auth ->> 'pat_id', auth ->> 'share_id', "
            "auth ->> 'system_id') = 1 "
            "AND auth ->> (auth ->> 'kind' || '_id') IS NOT NULL",
            name="aud_auth_check",
        ),
        sa.CheckConstraint(
            "actor_usr_id IS NULL OR auth ->> 'kind' IS DISTINCT FROM 'system'",
            name="aud_actor_check",
        ),
        sa.CheckConstraint(
            "on_behalf IS NULL OR on_behalf - 'agent_id' = '{}' "
            "AND jsonb_typeof(on_behalf -> 'agent_id') IS NOT DISTINCT FROM 'string'",
            name="aud_on_behalf_check",
        ),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="aud_metadata_check"),
        sa.CheckConstraint("jsonb_typeof(context) = 'object'", name="aud_context_check"),
        sa.CheckConstraint(f"{SIZE} <= {BYTES}", name="aud_size_check"),
        sa.Index("aud_scope_idx", "scope_id", "recorded_at", "id"),
        sa.Index("aud_actor_idx", "actor_usr_id", "recorded_at", "id"),
        sa.Index("aud_target_idx", "target_id", "recorded_at", "id"),
        sa.Index("aud_feed_idx", "era", "xid", "pos"),
        postgresql_partition_by="RANGE (recorded_at)",
    )


def upgrade() -> None:
    with one_schema():
        op.execute("CREATE SEQUENCE aud_pos_seq")
        log = table()
        op.execute(CreateTable(log))
        for index in sorted(log.indexes, key=str):
            op.execute(CreateIndex(index))
        op.execute("ALTER SEQUENCE aud_pos_seq OWNED BY aud.pos")
        op.execute("CREATE TABLE aud_default PARTITION OF aud DEFAULT")
        op.execute(SECURE_FUNCTIONS)


def downgrade() -> None:
    with one_schema():
        op.execute("DROP TABLE aud")
