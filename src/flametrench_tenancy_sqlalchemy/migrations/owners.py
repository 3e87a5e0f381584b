"""Who owns what the migrations work with: nobody may have prepared it for them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, text

from ..models import AuditBase, Base
from .autogenerate import VERSION_TABLE
from .errors import SchemaMismatchError

# A superuser counts as a member of every role, so it is trusted with its own objects only. What is
# named like a built-in function or operator, and fits the types at hand better, would be called
# with the migrating role's rights.
_STRANGERS: Final = text(
    """
    WITH me AS (SELECT oid, rolsuper FROM pg_roles WHERE rolname = current_user),
    stranger AS (
        SELECT role.oid, rolname FROM pg_roles AS role, me
        WHERE NOT role.rolsuper AND role.oid <> me.oid
        AND (me.rolsuper OR NOT pg_has_role(role.oid, 'USAGE'))
    ),
    named AS (
        SELECT 'table ' || oid::regclass AS thing, relowner AS owner, relnamespace AS place
        FROM pg_class WHERE relname IN :tables
            OR relname ~ '^aud_(default|pos_seq|[0-9]{4}_[0-9]{2})$'
        UNION ALL
        SELECT 'function ' || theirs.oid::regprocedure, proowner, pronamespace
        FROM pg_proc AS theirs WHERE starts_with(proname, 'flametrench_') OR EXISTS (
            SELECT FROM pg_proc AS built_in WHERE built_in.proname = theirs.proname
            AND built_in.pronamespace = 'pg_catalog'::regnamespace)
        UNION ALL
        SELECT 'operator ' || theirs.oid::regoperator, oprowner, oprnamespace
        FROM pg_operator AS theirs WHERE EXISTS (
            SELECT FROM pg_operator AS built_in WHERE built_in.oprname = theirs.oprname
            AND built_in.oprnamespace = 'pg_catalog'::regnamespace)
    )
    SELECT thing || ' belongs to ' || rolname
    FROM named JOIN stranger ON stranger.oid = owner JOIN pg_namespace ON pg_namespace.oid = place
    WHERE nspname = :schema
    ORDER BY 1
    """
).bindparams(
    bindparam(
        "tables",
        [*Base.metadata.tables, *AuditBase.metadata.tables, VERSION_TABLE],
        expanding=True,
    )
)


def require_own(connection: Connection, schema: str) -> None:
    """Refuse to work with what belongs to somebody else.

    Raises:
        SchemaMismatchError: there are such things in the schema; the error lists them.
    """
    savepoint = connection.begin_nested()
    connection.execute(text("SET LOCAL search_path TO pg_catalog"))
    found = connection.scalars(_STRANGERS, {"schema": schema}).all()
    savepoint.rollback()
    if found:
        raise SchemaMismatchError(schema, found)
