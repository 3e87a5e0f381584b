"""The trigger functions: whose rights they have, and where they look things up."""

from __future__ import annotations

from typing import Final

SECURE_FUNCTIONS: Final = r"""
DO $do$
DECLARE
    function record;
BEGIN
    FOR function IN
        SELECT pg_proc.oid::regprocedure AS signature, relowner::regrole AS owner,
            proowner = current_user::regrole AND proowner <> relowner AS given_away
        FROM pg_proc JOIN pg_class ON relnamespace = pronamespace AND relname = 'mem'
        WHERE pronamespace = quote_ident(current_schema())::regnamespace
            AND starts_with(proname, 'flametrench_tenancy_')
    LOOP
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
"""Gives every trigger function of the current schema, which is the tables', what it needs.

They act as the owner of the tables, to whom row-level security shows all rows, and find tables,
types and operators in this schema or the server's own only: what the caller has put elsewhere, or
made temporary, answers for none of them. Nobody else may make a trigger of them.
"""
