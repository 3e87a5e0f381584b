"""The trigger functions: whose rights they have, and where they look things up.

They act as the owner of the tables, to whom row-level security shows all rows; where it does not,
they refuse rather than judge by what is left. They find tables, types and operators in the tables'
schema or the server's own only: what the caller has put elsewhere, or made temporary, answers for
none of them. Nobody else may make a trigger of them.
"""

from __future__ import annotations

from typing import Final

# Whoever may create objects in the schema could offer functions and operators that fit the types
# better than the server's own. So functions are qualified, and operators get the types they take.
INSECURE_FUNCTIONS: Final = """
    SELECT pg_proc.oid::regprocedure::text AS signature, relowner::regrole::text AS owner,
        proowner = current_user::regrole::oid AND proowner <> relowner AS given_away
    FROM pg_catalog.pg_proc
        JOIN pg_catalog.pg_class ON relnamespace = pronamespace AND relname = 'mem'
    WHERE pronamespace
            = pg_catalog.quote_ident(pg_catalog.current_schema())::regnamespace::oid
        AND pg_catalog.starts_with(proname, 'flametrench_tenancy_')
        AND (
            NOT prosecdef
            OR pg_catalog.array_to_string(proconfig, ';') IS DISTINCT FROM
                'search_path=' || pg_catalog.quote_ident(pg_catalog.current_schema())
                    || ', pg_temp;row_security=off'
            OR pg_catalog.has_function_privilege('public', pg_proc.oid, 'EXECUTE')
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
        EXECUTE pg_catalog.format(
            'ALTER FUNCTION %s SECURITY DEFINER '
            'RESET ALL SET search_path = %I, pg_temp SET row_security = off',
            function.signature, pg_catalog.current_schema()
        );
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function.signature);
        IF function.given_away THEN
            EXECUTE pg_catalog.format(
                'ALTER FUNCTION %s OWNER TO %s', function.signature, function.owner
            );
        END IF;
    END LOOP;
END
$do$
"""
"""Makes them what they should be; to be run again after the schema has been renamed."""
