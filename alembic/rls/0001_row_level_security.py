"""Row-level security: a role that does not own the tables sees the rows of one tenant at a time.

Opt-in. A transaction says by settings whose rows it may see: ``tenancy.org`` names organizations,
``tenancy.usr`` the user, ``tenancy.about`` whose tuples an operation reads or writes; ids separated
by commas, without their type. Of what none of them names there is nothing to be seen.

The owner of the tables sees everything, and with it the functions and triggers, which are definers.
"""

from __future__ import annotations

from alembic import op

from flametrench_tenancy_sqlalchemy.migrations import SECURE_FUNCTIONS
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft_rls_0001"
down_revision = None
branch_labels = ("flametrench_tenancy_rls",)
depends_on = "ft0004"


def named_by(*settings: str) -> str:
    """Return the ids that settings name, which a statement finds out once."""
    each = ", ".join(f"nullif(current_setting('{setting}', true), '')" for setting in settings)
    ids = f"SELECT CAST('{{' || concat_ws(',', {each}) || '}}' AS uuid[])"
    return f"ANY (CAST(({ids}) AS uuid[]))"  # a cast keeps it from being a set of arrays


ORGS = named_by("tenancy.org")
ABOUT = named_by("tenancy.about")
SUBJECTS = named_by("tenancy.usr", "tenancy.about")
OF_ORG = f"object_type = 'org' AND object_id = {ORGS}"
CHANGEABLE = f"({OF_ORG}) OR subject_id = {ABOUT}"

# One for each command: several would be alternatives, which no index has in the order of a page.
# (table, command, which rows it reaches, and which it may leave there)
POLICIES = (
    *(
        (table, command, None if command == "INSERT" else own, own)
        for table, own in (
            ("org", f"id = {ORGS}"),
            ("mem", f"org_id = {ORGS}"),
            ("inv", f"org_id = {ORGS}"),
        )
        for command in ("SELECT", "INSERT", "UPDATE")
    ),
    # A tuple about an object of the application's own has no organization.
    (
        *("tup", "SELECT", f"({OF_ORG}) OR subject_id = {SUBJECTS} OR object_id = {ABOUT}"),
        "",
    ),
    (*("tup", "INSERT", None), f"({OF_ORG}) OR object_type <> 'org' AND subject_id = {ABOUT}"),
    *(("tup", command, CHANGEABLE, CHANGEABLE) for command in ("UPDATE", "DELETE")),
)

# Where an operation finds its organizations, before it can see any of their rows.
FINDERS = {
    "orgs_of_slugs(given text[])": "SELECT id FROM org WHERE slug = ANY (given)",
    "orgs_of_memberships(given uuid[])": "SELECT DISTINCT org_id FROM mem WHERE id = ANY (given)",
    "orgs_of_invitations(given uuid[])": "SELECT DISTINCT org_id FROM inv WHERE id = ANY (given)",
    "orgs_of_identifiers(given text[])": (
        "SELECT DISTINCT org_id FROM inv WHERE identifier = ANY (given)"
    ),
    # To which they belong or have belonged, or have invited somebody.
    "orgs_of_users(given uuid[])": """
        SELECT org_id FROM mem WHERE usr_id = ANY (given)
        UNION SELECT org_id FROM inv WHERE status = 'pending' AND invited_by = ANY (given)
    """,
}
EVERYTHING = """
DO $do$
DECLARE
    policy record;
BEGIN
    FOR policy IN
        SELECT polname, relname FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid
        WHERE relnamespace = quote_ident(current_schema())::regnamespace
            AND relname IN ('org', 'mem', 'inv', 'tup')
            AND starts_with(polname, relname || '_all_for_')
    LOOP
        EXECUTE format('DROP POLICY %I ON %I', policy.polname, policy.relname);
    END LOOP;
END
$do$
"""


def upgrade() -> None:
    with one_schema():
        for signature, query in FINDERS.items():
            op.execute(
                f"CREATE FUNCTION flametrench_tenancy_{signature} RETURNS uuid[] "
                f"STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN ARRAY({query}); END $$"
            )
        op.execute(SECURE_FUNCTIONS)
        for table, command, reaches, leaves in POLICIES:
            using = f"USING ({reaches})" if reaches else ""
            check = f"WITH CHECK ({leaves})" if leaves and command in {"INSERT", "UPDATE"} else ""
            op.execute(
                f"CREATE POLICY {table}_in_context_{command.lower()} ON {table} "
                f"FOR {command} {using} {check}"
            )
        for table in ("org", "mem", "inv", "tup"):
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def downgrade() -> None:
    with one_schema():
        op.execute(EVERYTHING.replace(":", r"\:"))
        for table in ("org", "mem", "inv", "tup"):
            op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        for table, command, *_ in POLICIES:
            op.execute(f"DROP POLICY {table}_in_context_{command.lower()} ON {table}")
        for signature in FINDERS:
            op.execute(f"DROP FUNCTION flametrench_tenancy_{signature}".replace("given ", ""))
