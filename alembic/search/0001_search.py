"""Organizations are found by a part of their name or slug without reading them all.

Opt-in: it needs the extension pg_trgm, which is created where it is missing and the role may do
so, and is left in place by the downgrade. What `list_orgs` finds is the same with and without.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flametrench_tenancy_sqlalchemy.migrations.catalog import Part
from flametrench_tenancy_sqlalchemy.migrations.indexes import create_indexes, drop_indexes
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft_search_0001"
down_revision = None
branch_labels = ("flametrench_tenancy_search",)
depends_on = "ft0001"

INDEX = Part("index", "org", "org_search_idx")
EXTENSION = "CREATE EXTENSION IF NOT EXISTS pg_trgm"
HOME = sa.text(
    """
    SELECT CASE WHEN nspname <> current_schema() THEN quote_ident(nspname) || '.' ELSE '' END
    FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname = 'pg_trgm'
    """
)


def trigrams() -> str:
    """Return the operator class to index with, by the schema that the extension lives in."""
    op.execute(EXTENSION)
    home = "" if op.get_context().as_sql else op.get_bind().scalars(HOME).one()
    return f"{home}gin_trgm_ops"


def upgrade() -> None:
    with one_schema() as schema:
        ops = trigrams()
        create_indexes({INDEX: f"gin (name {ops}, slug {ops})"}, schema)


def downgrade() -> None:
    with one_schema():
        drop_indexes([INDEX])
