"""An answered invitation may be forgotten, and any one is found without reading all of them.

Of an invitation that is not pending, one change remains: `erase_identifier` puts ``erased:`` and
the invitation's own id where its identifier was. Departures, the inbox, the one live invitation and
erasure get indexes, built concurrently like those of ``ft0003``.
"""

from __future__ import annotations

from alembic import op

from flametrench_tenancy_sqlalchemy.migrations.catalog import Part
from flametrench_tenancy_sqlalchemy.migrations.indexes import create_indexes, drop_indexes
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft0004"
down_revision = "ft0003"
branch_labels = None
depends_on = None

INDEXES = {
    # What an inviter has open: it goes with them, from one organization or from everywhere.
    Part("index", "inv", "inv_offers_idx"): (
        "btree (invited_by, org_id) WHERE status = 'pending'::text"
    ),
    # The others that are open for an identifier in an organization, and who has a seat there.
    Part("index", "inv", "inv_live_idx"): (
        "btree (org_id, identifier, expires_at) WHERE status = 'pending'::text"
    ),
    # The inbox in its own order, and whatever names an identifier that is to be erased.
    Part("index", "inv", "inv_identifier_page_idx"): "btree (identifier NULLS FIRST, status, id)",
    # What has brought users what they have.
    Part("index", "inv", "inv_accepted_idx"): (
        "btree (invited_user_id) WHERE status = 'accepted'::text"
    ),
}

FINAL = """
    CREATE OR REPLACE TRIGGER inv_terminal_is_final AFTER UPDATE ON inv FOR EACH ROW
    WHEN (OLD.status <> 'pending' AND OLD.* IS DISTINCT FROM NEW.*{unless})
    EXECUTE FUNCTION
        flametrench_tenancy_refuse('an invitation that is not pending never changes')
"""
# All of the row is compared, whatever columns have been added to it.
UNLESS_FORGOTTEN = """
    AND NOT (
        NEW.identifier = 'erased:' || pg_catalog.replace(CAST(OLD.id AS text), '-', '')
        AND pg_catalog.to_jsonb(OLD) - CAST('identifier' AS text)
            = pg_catalog.to_jsonb(NEW) - CAST('identifier' AS text)
    )
"""


def upgrade() -> None:
    with one_schema() as schema:
        create_indexes(INDEXES, schema)
        op.execute(FINAL.format(unless=UNLESS_FORGOTTEN))


def downgrade() -> None:
    with one_schema():
        op.execute(FINAL.format(unless=""))
        drop_indexes(INDEXES)
