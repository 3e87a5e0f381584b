"""Every list reads its page from an index in its own order, however long it is.

Where the tables have rows, the indexes are built concurrently, and the transaction so far is
committed before. An interrupted run is simply run again. The shared schema's own indexes stay.

A page's query orders by all columns of its index. Where other indexes begin with the
same column, ``NULLS FIRST``, of which there are none, is an order that only the one has: to the
planner, sorting what another index finds must never look as cheap.
"""

from __future__ import annotations

from flametrench_tenancy_sqlalchemy.migrations.catalog import Part
from flametrench_tenancy_sqlalchemy.migrations.indexes import create_indexes, drop_indexes
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft0003"
down_revision = "ft0002"
branch_labels = None
depends_on = None

INDEXES = {
    # list_orgs in one status; without a status it has the primary key.
    Part("index", "org", "org_status_page_idx"): "btree (status, id)",
    # list_members; whether a member has a role is told from the index, here and in the next one
    Part("index", "mem", "mem_org_page_idx"): "btree (org_id NULLS FIRST, id, role)",
    # list_members in one status, and count_members
    Part("index", "mem", "mem_org_status_page_idx"): "btree (status, org_id, id, role)",
    # list_memberships
    Part("index", "mem", "mem_usr_page_idx"): "btree (usr_id NULLS FIRST, id)",
    # list_memberships in one status
    Part("index", "mem", "mem_usr_status_page_idx"): "btree (status NULLS FIRST, usr_id, id)",
    # list_invitations
    Part("index", "inv", "inv_org_page_idx"): "btree (org_id NULLS FIRST, id)",
    # list_invitations in one status; whether a pending one is overdue is told from the index
    Part("index", "inv", "inv_org_status_page_idx"): "btree (status, org_id, id, expires_at)",
}


def upgrade() -> None:
    with one_schema() as schema:
        create_indexes(INDEXES, schema)


def downgrade() -> None:
    with one_schema():
        drop_indexes(INDEXES)
