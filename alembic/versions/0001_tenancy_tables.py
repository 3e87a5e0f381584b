"""The five tenancy tables, with what guards them; or those of another SDK, adopted.

The names are the ones that PostgreSQL picks for the specification's reference schema. Users,
organizations and memberships have their `updated_at` touched by a trigger, unless the writer has
set it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from flametrench_tenancy_sqlalchemy.migrations import SECURE_FUNCTIONS, catalog
from flametrench_tenancy_sqlalchemy.migrations.adoption import establish
from flametrench_tenancy_sqlalchemy.migrations.catalog import Part
from flametrench_tenancy_sqlalchemy.migrations.record import Record
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft0001"
down_revision = None
branch_labels = ("flametrench_tenancy",)
depends_on = None

STATUS = "status IN ('active', 'suspended', 'revoked')"
ROLE = "role IN ('owner', 'admin', 'member', 'guest', 'viewer', 'editor')"
INVITATION_STATUS = "status IN ('pending', 'accepted', 'declined', 'revoked', 'expired')"
SLUG = "slug IS NULL OR slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'"
TYPE_PATTERN = "^[a-z]{2,6}$"
RELATION_PATTERN = "^[a-z_]{2,32}$"


def id_column() -> sa.Column[Any]:
    return sa.Column("id", sa.Uuid, primary_key=True)


def reference(name: str, target: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Uuid, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def words(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, server_default=default, nullable=nullable)


def moment(name: str) -> sa.Column[Any]:
    kind = sa.DateTime(timezone=True)
    return sa.Column(name, kind, server_default=sa.func.now(), nullable=False)


def tables() -> sa.MetaData:
    """Return the schema as of this revision, whatever the models say later."""
    metadata = sa.MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
        }
    )
    sa.Table(
        "usr",
        metadata,
        id_column(),
        words("status", "active"),
        words("display_name", nullable=True),
        moment("created_at"),
        moment("updated_at"),
        sa.CheckConstraint(STATUS, name="usr_status_check"),
    )
    sa.Table(
        "org",
        metadata,
        id_column(),
        words("status", "active"),
        words("name", nullable=True),
        words("slug", nullable=True),
        moment("created_at"),
        moment("updated_at"),
        sa.CheckConstraint(STATUS, name="org_status_check"),
        sa.CheckConstraint(SLUG, name="org_slug_format"),
        sa.Index(
            "org_slug_unique", "slug", unique=True, postgresql_where=sa.text("slug IS NOT NULL")
        ),
    )
    sa.Table(
        "mem",
        metadata,
        id_column(),
        reference("usr_id", "usr"),
        reference("org_id", "org"),
        words("role"),
        words("status", "active"),
        reference("replaces", "mem", nullable=True),
        reference("invited_by", "usr", nullable=True),
        reference("removed_by", "usr", nullable=True),
        moment("created_at"),
        moment("updated_at"),
        sa.CheckConstraint(ROLE, name="mem_role_check"),
        sa.CheckConstraint(STATUS, name="mem_status_check"),
        sa.Index(
            "mem_unique_active",
            "usr_id",
            "org_id",
            unique=True,
            postgresql_where=sa.text("status = 'active'"),
        ),
        sa.Index("mem_org_idx", "org_id"),
        sa.Index("mem_usr_idx", "usr_id"),
        sa.Index("mem_replaces_idx", "replaces", postgresql_where=sa.text("replaces IS NOT NULL")),
    )
    sa.Table(
        "inv",
        metadata,
        id_column(),
        reference("org_id", "org"),
        words("identifier"),
        words("role"),
        words("status", "pending"),
        sa.Column("pre_tuples", postgresql.JSONB, server_default="[]", nullable=False),
        reference("invited_by", "usr"),
        reference("invited_user_id", "usr", nullable=True),
        moment("created_at"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("terminal_at", sa.DateTime(timezone=True)),
        reference("terminal_by", "usr", nullable=True),
        sa.CheckConstraint(ROLE, name="inv_role_check"),
        sa.CheckConstraint(INVITATION_STATUS, name="inv_status_check"),
        sa.CheckConstraint("(status = 'pending') = (terminal_at IS NULL)", name="inv_check"),
        sa.CheckConstraint("expires_at > created_at", name="inv_check1"),
        sa.Index("inv_org_idx", "org_id"),
        sa.Index("inv_pending_idx", "identifier", postgresql_where=sa.text("status = 'pending'")),
    )
    sa.Table(
        "tup",
        metadata,
        id_column(),
        words("subject_type"),
        sa.Column("subject_id", sa.Uuid, nullable=False),
        words("relation"),
        words("object_type"),
        sa.Column("object_id", sa.Uuid, nullable=False),
        moment("created_at"),
        reference("created_by", "usr", nullable=True),
        sa.CheckConstraint(f"subject_type ~ '{TYPE_PATTERN}'", name="tup_subject_type_check"),
        sa.CheckConstraint(f"relation ~ '{RELATION_PATTERN}'", name="tup_relation_check"),
        sa.CheckConstraint(f"object_type ~ '{TYPE_PATTERN}'", name="tup_object_type_check"),
        sa.UniqueConstraint(
            "subject_type",
            "subject_id",
            "relation",
            "object_type",
            "object_id",
            name="tup_subject_type_subject_id_relation_object_type_object_id_key",
        ),
        sa.Index("tup_object_relation_idx", "object_type", "object_id", "relation"),
        sa.Index("tup_subject_idx", "subject_type", "subject_id"),
    )
    return metadata


TOUCH = "flametrench_tenancy_touch()"
STAMP = "flametrench_tenancy_stamp()"
TOUCHED = ("usr", "org", "mem")

# PostgreSQL does not tell a trigger which columns the writer has set, but it fires some only if
# a certain one has been set. Such a trigger, earlier in the alphabet, leaves a mark for the other
# where what has been set is the value that was there already: a clock may stand still.
FUNCTIONS = (
    f"""
    CREATE OR REPLACE FUNCTION {STAMP} RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.updated_at := '-infinity';
        RETURN NEW;
    END
    $$
    """,
    # The comparison by image works for every type that a column may have. It is named with its
    # schema, because one of somebody else's for the table's own type would fit better.
    f"""
    CREATE OR REPLACE FUNCTION {TOUCH} RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.updated_at = '-infinity' THEN
            NEW.updated_at := OLD.updated_at;
        ELSIF NEW.updated_at = OLD.updated_at AND NEW OPERATOR(pg_catalog.*<>) OLD THEN
            NEW.updated_at := now();
        END IF;
        RETURN NEW;
    END
    $$
    """,
)
TRIGGERS = {
    Part("trigger", table, f"{table}_stamp"): f"""
        CREATE OR REPLACE TRIGGER {table}_stamp BEFORE UPDATE OF updated_at ON {table}
        FOR EACH ROW WHEN (NEW.updated_at = OLD.updated_at) EXECUTE FUNCTION {STAMP}
        """
    for table in TOUCHED
} | {
    Part("trigger", table, f"{table}_touch"): f"""
        CREATE OR REPLACE TRIGGER {table}_touch BEFORE UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION {TOUCH}
        """
    for table in TOUCHED
}

# What the reference schema has, or had once, in these places: as PostgreSQL words it.
OLDER = {
    Part("constraint", "tup", "tup_subject_type_check"): "CHECK (subject_type = 'usr'::text)",
} | {
    Part("trigger", table, f"{table}_touch"): f"CREATE TRIGGER {table}_touch BEFORE UPDATE ON "
    f"{table} FOR EACH ROW EXECUTE FUNCTION flametrench_touch_updated_at()"
    for table in TOUCHED
}


def upgrade() -> None:
    with one_schema() as schema:
        recorded = Record.load(TOUCH)
        record = recorded or Record()
        for function in FUNCTIONS:
            # Replacing one that somebody has created in this moment would leave it to them.
            op.execute(function if recorded else function.replace(" OR REPLACE", "", 1))
        establish(tables(), TRIGGERS, schema=schema, older=OLDER, record=record)
        op.execute(SECURE_FUNCTIONS)
        record.save(TOUCH)


def downgrade() -> None:
    with one_schema():
        Record.undo(TOUCH, [*catalog.items(tables()), *TRIGGERS], OLDER)
        op.execute(f"DROP FUNCTION {TOUCH}")
        op.execute(f"DROP FUNCTION {STAMP}")
