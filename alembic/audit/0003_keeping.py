"""What has been recorded stays, by the month; nobody but the owner sees more than one organization.

An event changes for two only: for the trigger that wrote it, as long as nobody else can have seen
it, and for retention, which may forget its context and drop whole months.
"""

from __future__ import annotations

from alembic import op

from flametrench_tenancy_sqlalchemy.migrations import SECURE_FUNCTIONS
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft_audit_0003"
down_revision = "ft_audit_0002"
branch_labels = None
depends_on = None

# Made aside and then attached, so that nobody waits who writes into another month. What the default
# partition has of the month moves over. The whole table's policies do not hold for whoever asks a
# month by its name: there only the owner sees anything, whatever has been granted by default.
ADD_MONTH = """
    CREATE FUNCTION flametrench_tenancy_add_month(month date) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE
        name text := 'aud_' || to_char(month, 'YYYY_MM');
        since timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
        until timestamptz :=
            (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    BEGIN
        IF EXISTS (
            SELECT FROM pg_inherits
            WHERE inhparent = 'aud'::regclass AND inhrelid = to_regclass(quote_ident(name))
        ) THEN
            RETURN false;
        END IF;
        LOCK TABLE aud_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE aud INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        IF EXISTS (SELECT FROM aud_default WHERE recorded_at >= since AND recorded_at < until) THEN
            ALTER TABLE aud_default DISABLE TRIGGER aud_is_final_deleted;
            EXECUTE format('WITH moved AS (DELETE FROM aud_default '
                'WHERE recorded_at >= $1 AND recorded_at < $2 RETURNING *) '
                'INSERT INTO %I SELECT * FROM moved', name) USING since, until;
            ALTER TABLE aud_default ENABLE TRIGGER aud_is_final_deleted;
        END IF;
        EXECUTE format('ALTER TABLE aud ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            name, since, until);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE TRIGGER aud_keeps_rows BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
            'WHEN (current_setting(''tenancy.allow_truncate'', true) IS DISTINCT FROM ''on'') '
            'EXECUTE FUNCTION flametrench_tenancy_keep_rows()', name);
        RETURN true;
    END $$
    """

TAKEN_BACK = "(pg_trigger_depth() > 0 AND OLD.xid = pg_current_xact_id())"
FORGOTTEN = """
    (current_setting('tenancy.forget_context', true) IS NOT DISTINCT FROM 'on'
        AND NEW.context IS NULL
        AND to_jsonb(OLD) - CAST('context' AS text) = to_jsonb(NEW) - CAST('context' AS text))
"""
FINAL = """
    CREATE TRIGGER aud_is_final_{verb} BEFORE {event} ON aud FOR EACH ROW WHEN (NOT {unless})
    EXECUTE FUNCTION flametrench_tenancy_refuse('an event never changes')
"""
KEEPS_ROWS = """
    CREATE TRIGGER aud_keeps_rows BEFORE TRUNCATE ON {table} FOR EACH STATEMENT
    WHEN (current_setting('tenancy.allow_truncate', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION flametrench_tenancy_keep_rows()
"""
MONTHS_AHEAD = """
    SELECT flametrench_tenancy_add_month(CAST(date_trunc('month', now() AT TIME ZONE 'UTC')
        + make_interval(months => ahead) AS date)) FROM generate_series(0, 3) AS ahead
"""
OWN_ORGANIZATION = """
    CREATE POLICY aud_own_organization ON aud FOR SELECT USING (
        scope_kind = 'org' AND scope_id
            = (SELECT 'org_' || replace(current_setting('tenancy.org', true), '-', '')))
"""


def upgrade() -> None:
    with one_schema():
        op.execute(ADD_MONTH.replace(":", r"\:"))
        op.execute(SECURE_FUNCTIONS)
        unless = f"({TAKEN_BACK} OR {FORGOTTEN})"
        op.execute(FINAL.format(verb="updated", event="UPDATE", unless=unless))
        op.execute(FINAL.format(verb="deleted", event="DELETE", unless=TAKEN_BACK))
        for table in ("aud", "aud_default"):
            op.execute(KEEPS_ROWS.format(table=table))
        op.execute(MONTHS_AHEAD)
        for table in ("aud", "aud_default"):
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(OWN_ORGANIZATION)


def downgrade() -> None:
    with one_schema():
        op.execute("DROP POLICY aud_own_organization ON aud")
        for table in ("aud", "aud_default"):
            op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        for name in ("aud_is_final_updated", "aud_is_final_deleted", "aud_keeps_rows"):
            op.execute(f"DROP TRIGGER {name} ON aud")
        op.execute("DROP TRIGGER aud_keeps_rows ON aud_default")
        op.execute("DROP FUNCTION flametrench_tenancy_add_month")
