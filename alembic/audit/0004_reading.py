"""Consumers follow the log, each from its own position, and history knows who was suspended when.

A position is a transaction's number and a place in it. A log that is restored on another server
begins another era there, since that server numbers its transactions anew.
"""

from __future__ import annotations

from alembic import op

from flametrench_tenancy_sqlalchemy.migrations import SECURE_FUNCTIONS
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft_audit_0004"
down_revision = "ft_audit_0003"
branch_labels = None
depends_on = None

TABLES = """
    CREATE TABLE aud_consumer (
        name text CONSTRAINT aud_consumer_pkey PRIMARY KEY,
        era integer NOT NULL DEFAULT 0,
        xid xid8 NOT NULL DEFAULT '0',
        pos bigint NOT NULL DEFAULT '0',
        moved_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE aud_skipped (
        consumer text NOT NULL,
        event_id uuid NOT NULL,
        error text NOT NULL,
        skipped_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT aud_skipped_pkey PRIMARY KEY (consumer, event_id)
    );
    CREATE TABLE aud_era (
        era integer CONSTRAINT aud_era_pkey PRIMARY KEY,
        began_at timestamptz NOT NULL DEFAULT now()
    );
    INSERT INTO aud_era (era) VALUES (1)
"""
KEEPS_ROWS = """
    CREATE TRIGGER {table}_keeps_rows BEFORE TRUNCATE ON {table} FOR EACH STATEMENT
    WHEN (current_setting('tenancy.allow_truncate', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION flametrench_tenancy_keep_rows()
"""
PAUSES = """
    CREATE INDEX aud_pause_idx ON aud (scope_id, target_id, occurred_at, pos, action)
    WHERE action IN ('tenancy.member_suspended', 'tenancy.member_reinstated',
        'tenancy.member_left', 'tenancy.member_removed')
"""
# What lies beyond the newest number of this server comes from another one, and whatever has a later
# place has been recorded since.
BEGIN_ERA = """
    CREATE FUNCTION flametrench_tenancy_begin_era() RETURNS integer LANGUAGE plpgsql AS $$
    DECLARE
        beyond xid8;
        restored bigint;
        last integer;
    BEGIN
        LOCK TABLE aud IN ACCESS EXCLUSIVE MODE;
        beyond := pg_snapshot_xmax(pg_current_snapshot());
        SELECT max(era) INTO last FROM aud_era;
        INSERT INTO aud_era (era) VALUES (last + 1);
        SELECT max(pos) INTO restored FROM aud
        WHERE era = last AND xid >= beyond AND xid <> pg_current_xact_id();
        ALTER TABLE aud DISABLE TRIGGER aud_is_final_updated;
        UPDATE aud SET era = last + 1 WHERE era = last AND xid < beyond AND pos > restored;
        ALTER TABLE aud ENABLE TRIGGER aud_is_final_updated;
        EXECUTE format('ALTER TABLE aud ALTER COLUMN era SET DEFAULT %s', last + 1);
        RETURN last + 1;
    END $$
"""


def upgrade() -> None:
    with one_schema():
        for statement in (*TABLES.split(";"), PAUSES):
            op.execute(statement)
        for table in ("aud_consumer", "aud_skipped", "aud_era"):
            op.execute(KEEPS_ROWS.format(table=table))
        op.execute(BEGIN_ERA.replace(":", r"\:"))
        op.execute(SECURE_FUNCTIONS)


def downgrade() -> None:
    with one_schema():
        op.execute("DROP FUNCTION flametrench_tenancy_begin_era")
        op.execute("DROP INDEX aud_pause_idx")
        for table in ("aud_era", "aud_skipped", "aud_consumer"):
            op.execute(f"DROP TABLE {table}")
