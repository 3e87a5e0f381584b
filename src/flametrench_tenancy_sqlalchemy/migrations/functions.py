"""The trigger functions: whose rights they have, and where they look things up.

They act as the owner of the tables, to whom row-level security shows all rows, and find tables,
types and operators in the tables' schema or the server's own only: what the caller has put
elsewhere, or made temporary, answers for none of them. Nobody else may make a trigger of them.
"""

from __future__ import annotations

from typing import Final

INSECURE_FUNCTIONS: Final = """
    SELECT pg_proc.oid::regprocedure::text AS signature, relowner::regrole AS owner,
        proowner = current_user::regrole AND proowner <> relowner AS given_away
    FROM pg_proc JOIN pg_class ON relnamespace = pronamespace AND relname = 'mem'
    WHERE pronamespace = quote_ident(current_schema())::regnamespace
        AND starts_with(proname, 'flametrench_tenancy_')
        AND (
            NOT prosecdef
            OR proconfig IS DISTINCT FROM
                ARRAY['search_path=' || quote_ident(current_schema()) || ', pg_temp']
            OR has_function_privilege('public', pg_proc.oid, 'EXECUTE')
        )
    ORDER BY 1
"""
"""Selects those of the current schema that are new, or left behind since it has another name."""

SECURE_FUNCTIONS: Final = f"""
DO $do$
DECLARE
    function record;
BEGIN
    FOR function IN {INSECURE_FUNCTIONS} LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp',
            function.signature, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function.signature);
        IF function.given_away THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO %s', function.signature, function.owner);
        END IF;
    END LOOP;
END
$do$
"""
"""Makes them what they should be; to be run again after the schema has been renamed."""
