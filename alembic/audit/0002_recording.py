"""Triggers record what happens, whoever makes it happen.

They run when a statement has ended, once for all of its rows. Two things are known only later in
the transaction: that a member who left has come back in another role, and that an organization ends
with those who left. Their events are written when the rows change, while it is known whose doing
that is, and taken back by the transaction that wrote them, before anybody has seen them.
"""

from __future__ import annotations

import flametrench_ids
from alembic import op

from flametrench_tenancy_sqlalchemy.migrations import SECURE_FUNCTIONS
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft_audit_0002"
down_revision = "ft_audit_0001"
branch_labels = None
depends_on = None

REGISTERED = ", ".join(f"'{type_}'" for type_ in sorted(flametrench_ids.TYPES))
# By these events the feed and history are told apart from what applications write.
RECORDED = (
    *("tenancy.org_created", "tenancy.org_updated", "tenancy.org_suspended"),
    *("tenancy.org_reinstated", "tenancy.org_revoked"),
    *("tenancy.member_added", "tenancy.member_role_changed", "tenancy.member_suspended"),
    *("tenancy.member_reinstated", "tenancy.member_left", "tenancy.member_removed"),
    *("tenancy.invitation_created", "tenancy.invitation_renewed", "tenancy.invitation_updated"),
    *("tenancy.invitation_accepted", "tenancy.invitation_declined"),
    *("tenancy.invitation_revoked", "tenancy.invitation_expired", "tenancy.identifier_erased"),
    *("authz.tuple_created", "authz.tuple_deleted"),
)


def wire(kind: str, column: str) -> str:
    """Return the expression for a wire id."""
    return f"'{kind}_' || replace({column}::text, '-', '')"


def any_id(type_: str, column: str) -> str:
    """Return the expression for the id of a tuple's subject or object."""
    hex_ = f"{type_} || '_' || replace({column}::text, '-', '')"
    return f"CASE WHEN {type_} IN ({REGISTERED}) THEN {hex_} ELSE {column}::text END"


# No partition but the newest is looked at for what this transaction has written.
OWN = "aud.xid = pg_current_xact_id() AND aud.recorded_at > now() - interval '1 day'"
EVENT = """
    INSERT INTO aud (occurred_at, actor_usr_id, auth, on_behalf, action,
        target_kind, target_id, scope_kind, scope_id, metadata, context)
"""


def told(
    *,
    at: str,
    by: str = "NULL::uuid",
    action: str,
    target: str,
    id_: str,
    org: str | None,
    metadata: str,
) -> str:
    """Return the columns of an event; whoever is said to act has acted, else whom the row names."""
    scope = f"'org', {wire('org', org)}" if org else "NULL, NULL"
    return f"""
        {at}, CASE WHEN said.auth IS NULL THEN coalesce(said.actor, {by}) ELSE said.actor END,
        said.auth, said.on_behalf, {action}, '{target}', {wire(target, id_)}, {scope},
        {metadata} || said.operation, said.context
    """


def counted(what: str, ended: str) -> str:
    """Return the parts of a statement that count what ends with an organization in its event.

    Args:
        what: the name of the count.
        ended: the query for the organizations of what ends.
    """
    return f"""
        ended AS (SELECT {wire("org", "org_id")} AS org, count(*) AS number FROM ({ended}) AS its
            GROUP BY org_id),
        with_org AS (
            UPDATE aud SET metadata = aud.metadata || jsonb_build_object('{what}',
                (aud.metadata ->> '{what}')::bigint + ended.number)
            FROM ended WHERE aud.target_id = ended.org AND aud.action = 'tenancy.org_revoked'
            AND {OWN}
            RETURNING aud.target_id
        )
    """


def utc(column: str) -> str:
    """Return the expression for a moment, whatever timezone a session has."""
    return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


MEMBER = f"jsonb_build_object('usr_id', {wire('usr', 'usr_id')}, 'role', role)"
WAS = "jsonb_build_object('was', was)"
DELETED = "jsonb_build_object('was', status, 'deleted', true)"
INVITATION = "jsonb_build_object('role', role)"
NO_MEMBERSHIPS = (
    "(subject_type <> 'usr' OR object_type <> 'org' OR relation NOT IN "
    "('owner', 'admin', 'member', 'guest', 'viewer', 'editor'))"
)
TUPLE = f"""jsonb_build_object(
    'subject_type', subject_type, 'subject_id', {any_id("subject_type", "subject_id")},
    'relation', relation,
    'object_type', object_type, 'object_id', {any_id("object_type", "object_id")})"""


KEY = "id, subject_type, subject_id, relation, object_type, object_id"


def columns(names: str) -> str:
    """Return columns of the new rows; of all of them, an application's might bear our names."""
    return ", ".join(f"new_rows.{name}" for name in names.split())


def of_tuple(action: str, at: str, by: str = "NULL::uuid") -> str:
    """Return the columns of an event about a tuple, which belongs to the organization it is on."""
    columns = told(
        at=at, by=by, action=f"'{action}'", target="tup", id_="id", org=None, metadata=TUPLE
    )
    scope = f"CASE WHEN object_type = 'org' THEN {wire('org', 'object_id')} END"
    kind = "CASE WHEN object_type = 'org' THEN 'org' END"
    return columns.replace("NULL, NULL", f"{kind}, {scope}")


# (table, event) -> what is recorded. A row's old status is called `was`.
RECORDS = {
    ("org", "INSERT"): f"""
        {EVENT} SELECT {
        told(
            at="created_at",
            action="'tenancy.org_created'",
            target="org",
            id_="id",
            org="id",
            metadata="jsonb_build_object('status', status)",
        )
    } FROM new_rows ORDER BY id;
    """,
    # What has left and been deleted with it before, in this transaction and at the same moment,
    # has ended with it: its events are taken back, and counted.
    ("org", "UPDATE"): f"""
        WITH revoked AS (
            SELECT new_rows.id, {wire("org", "new_rows.id")} AS org, new_rows.updated_at
            FROM new_rows JOIN old_rows USING (id)
            WHERE new_rows.status = 'revoked' AND old_rows.status <> 'revoked'
        ),
        with_org AS (
            DELETE FROM aud USING revoked WHERE aud.scope_id = revoked.org AND {OWN} AND (
                aud.action = 'tenancy.member_left' AND aud.occurred_at = revoked.updated_at
                OR aud.action = 'tenancy.invitation_revoked'
                    AND aud.occurred_at = revoked.updated_at
                    AND aud.metadata -> 'terminal_by' IS NULL
                OR aud.action = 'authz.tuple_deleted'
            )
            RETURNING revoked.id, aud.action
        ),
        counts AS (
            SELECT id, jsonb_build_object(
                'memberships', count(action) FILTER (WHERE action = 'tenancy.member_left'),
                'invitations', count(action) FILTER (WHERE action = 'tenancy.invitation_revoked'),
                'tuples', count(action) FILTER (WHERE action = 'authz.tuple_deleted')) AS numbers
            FROM revoked LEFT JOIN with_org USING (id) GROUP BY id
        ),
        changed AS (
            SELECT {columns("id status updated_at")}, old_rows.status AS was, array_remove(ARRAY[
                CASE WHEN new_rows.name IS DISTINCT FROM old_rows.name THEN 'name' END,
                CASE WHEN new_rows.slug IS DISTINCT FROM old_rows.slug THEN 'slug' END
            ], NULL) AS fields
            FROM new_rows JOIN old_rows USING (id)
        ),
        events AS (
            SELECT changed.*, 1 AS place, 'tenancy.org_updated' AS action,
                jsonb_build_object('changed', fields) AS metadata
            FROM changed WHERE fields <> '{{}}'
            UNION ALL
            SELECT changed.*, 2, CASE status WHEN 'active' THEN 'tenancy.org_reinstated'
                WHEN 'suspended' THEN 'tenancy.org_suspended' ELSE 'tenancy.org_revoked' END,
                {WAS} || coalesce(numbers, '{{}}')
            FROM changed LEFT JOIN counts USING (id) WHERE status <> was
        )
        {EVENT} SELECT {
        told(
            at="updated_at", action="action", target="org", id_="id", org="id", metadata="metadata"
        )
    } FROM events ORDER BY id, place;
    """,
    ("org", "DELETE"): f"""
        {EVENT} SELECT {
        told(
            at="now()",
            action="'tenancy.org_revoked'",
            target="org",
            id_="id",
            org="id",
            metadata=DELETED,
        )
    } FROM old_rows ORDER BY id;
    """,
    # A successor makes a change of role of its predecessor's departure.
    ("mem", "INSERT"): f"""
        IF EXISTS (SELECT FROM new_rows WHERE replaces IS NOT NULL) THEN
            DELETE FROM aud USING new_rows
            WHERE aud.target_id = {wire("mem", "new_rows.replaces")}
            AND aud.action IN ('tenancy.member_left', 'tenancy.member_removed') AND {OWN};
        END IF;
        WITH joined AS (
            SELECT {columns("id usr_id org_id role status replaces invited_by created_at")},
                mem.role AS was FROM new_rows
                LEFT JOIN mem ON mem.id = new_rows.replaces
        )
        {EVENT} SELECT {
        told(
            at="created_at",
            by="CASE WHEN replaces IS NULL THEN invited_by END",
            action="CASE WHEN replaces IS NULL THEN 'tenancy.member_added' "
            "ELSE 'tenancy.member_role_changed' END",
            target="mem",
            id_="id",
            org="org_id",
            metadata=f"CASE WHEN replaces IS NULL THEN {MEMBER} "
            f"ELSE jsonb_build_object('usr_id', {wire('usr', 'usr_id')}, 'from', was, 'to', role, "
            f"'replaces', {wire('mem', 'replaces')}) END "
            "|| CASE WHEN status = 'active' THEN '{}' ELSE jsonb_build_object('status', status) "
            "END",
        )
    } FROM joined ORDER BY id;
    """,
    ("mem", "UPDATE"): f"""
        WITH changed AS (
            SELECT {columns("id usr_id org_id role status removed_by updated_at")},
                old_rows.status AS was,
                new_rows.status = 'revoked' AND new_rows.removed_by IS NULL
                    AND org.status = 'revoked' AND org.updated_at = new_rows.updated_at AS ends
            FROM new_rows JOIN old_rows USING (id) JOIN org ON org.id = new_rows.org_id
            WHERE new_rows.status <> old_rows.status AND NOT (new_rows.status = 'revoked'
                AND EXISTS (SELECT FROM mem AS successor WHERE successor.replaces = new_rows.id))
        ),
        {counted("memberships", "SELECT org_id FROM changed WHERE ends")}
        {EVENT} SELECT {
        told(
            at="updated_at",
            by="CASE WHEN status = 'revoked' THEN removed_by END",
            action="CASE status WHEN 'active' THEN 'tenancy.member_reinstated' "
            "WHEN 'suspended' THEN 'tenancy.member_suspended' "
            "ELSE CASE WHEN removed_by IS NULL THEN 'tenancy.member_left' "
            "ELSE 'tenancy.member_removed' END END",
            target="mem",
            id_="id",
            org="org_id",
            metadata=f"{MEMBER} || {WAS}",
        )
    } FROM changed
        WHERE NOT (ends AND {wire("org", "org_id")} IN (SELECT target_id FROM with_org))
        ORDER BY id;
    """,
    ("mem", "DELETE"): f"""
        {EVENT} SELECT {
        told(
            at="now()",
            action="'tenancy.member_removed'",
            target="mem",
            id_="id",
            org="org_id",
            metadata=f"{MEMBER} || {DELETED}",
        )
    } FROM old_rows ORDER BY id;
    """,
    ("inv", "INSERT"): f"""
        {EVENT} SELECT {
        told(
            at="created_at",
            by="invited_by",
            action="'tenancy.invitation_created'",
            target="inv",
            id_="id",
            org="org_id",
            metadata=f"{INVITATION} || jsonb_build_object('expires_at', {utc('expires_at')}) "
            "|| CASE WHEN status = 'pending' THEN '{}' ELSE jsonb_build_object('status', status) "
            "END",
        )
    } FROM new_rows ORDER BY id;
    """,
    ("inv", "UPDATE"): f"""
        WITH changed AS (
            SELECT {columns("id org_id role status expires_at invited_user_id")},
                {columns("terminal_at terminal_by")},
                old_rows.status AS was, old_rows.expires_at AS ended_at,
                old_rows.role AS offered, new_rows.identifier <> old_rows.identifier
                    AND new_rows.identifier
                        = 'erased:' || replace(new_rows.id::text, '-', '') AS erased,
                array_remove(ARRAY[
                    CASE WHEN new_rows.identifier <> old_rows.identifier THEN 'identifier' END,
                    CASE WHEN new_rows.role <> old_rows.role THEN 'role' END,
                    CASE WHEN new_rows.pre_tuples <> old_rows.pre_tuples THEN 'pre_tuples' END,
                    CASE WHEN new_rows.org_id <> old_rows.org_id THEN 'org_id' END,
                    CASE WHEN new_rows.invited_by <> old_rows.invited_by THEN 'invited_by' END
                ], NULL) AS fields,
                new_rows.status = 'revoked' AND old_rows.status <> 'revoked'
                    AND new_rows.terminal_by IS NULL AND org.status = 'revoked'
                    AND org.updated_at = new_rows.terminal_at AS ends
            FROM new_rows JOIN old_rows USING (id) JOIN org ON org.id = new_rows.org_id
        ),
        {counted("invitations", "SELECT org_id FROM changed WHERE ends")},
        events AS (
            SELECT changed.*, 1 AS place, now() AS at, 'tenancy.invitation_renewed' AS action,
                jsonb_build_object('expires_at', {utc("expires_at")}, 'was', {utc("ended_at")})
                    AS metadata
            FROM changed WHERE expires_at <> ended_at
            UNION ALL
            SELECT changed.*, 2, now(), 'tenancy.invitation_updated',
                jsonb_build_object('changed', fields)
                || CASE WHEN role = offered THEN '{{}}'
                    ELSE jsonb_build_object('from', offered, 'to', role) END
            FROM changed WHERE fields <> '{{}}' AND NOT (erased AND fields = '{{identifier}}')
            UNION ALL
            SELECT changed.*, 3, terminal_at, 'tenancy.invitation_' || status,
                {INVITATION} || jsonb_strip_nulls(jsonb_build_object(
                    'usr_id', {wire("usr", "invited_user_id")},
                    'terminal_by', {wire("usr", "terminal_by")}))
            FROM changed WHERE status <> was
                AND NOT (ends AND {wire("org", "org_id")} IN (SELECT target_id FROM with_org))
            UNION ALL
            SELECT changed.*, 4, now(), 'tenancy.identifier_erased', '{{}}'
            FROM changed WHERE erased
        )
        {EVENT} SELECT {
        told(
            at="at",
            by="CASE place WHEN 3 THEN terminal_by END",
            action="action",
            target="inv",
            id_="id",
            org="org_id",
            metadata="metadata",
        )
    } FROM events ORDER BY id, place;
    """,
    ("inv", "DELETE"): f"""
        {EVENT} SELECT {
        told(
            at="now()",
            action="'tenancy.invitation_revoked'",
            target="inv",
            id_="id",
            org="org_id",
            metadata=f"{INVITATION} || {DELETED}",
        )
    } FROM old_rows ORDER BY id;
    """,
    ("tup", "INSERT"): f"""
        {EVENT} SELECT {of_tuple("authz.tuple_created", "created_at", "created_by")}
        FROM new_rows WHERE {NO_MEMBERSHIPS} ORDER BY id;
    """,
    ("tup", "UPDATE"): f"""
        WITH before AS (SELECT {TUPLE} AS what, {KEY} FROM old_rows),
        after AS (SELECT {TUPLE} AS what, {KEY}, created_by FROM new_rows),
        changed AS (SELECT id FROM before JOIN after USING (id) WHERE before.what <> after.what)
        {EVENT} SELECT * FROM (
            SELECT {of_tuple("authz.tuple_deleted", "now()")}
            FROM before JOIN changed USING (id) WHERE {NO_MEMBERSHIPS} ORDER BY id
        ) AS gone
        UNION ALL SELECT * FROM (
            SELECT {of_tuple("authz.tuple_created", "now()", "created_by")}
            FROM after JOIN changed USING (id) WHERE {NO_MEMBERSHIPS} ORDER BY id
        ) AS come;
    """,
    ("tup", "DELETE"): f"""
        WITH gone AS (
            SELECT its.*, its.object_id AS org_id, org.status = 'revoked' AS ends
            FROM (SELECT {KEY} FROM old_rows WHERE {NO_MEMBERSHIPS}) AS its
                LEFT JOIN org ON its.object_type = 'org' AND org.id = its.object_id
        ),
        {counted("tuples", "SELECT org_id FROM gone WHERE ends")}
        {EVENT} SELECT {of_tuple("authz.tuple_deleted", "now()")}
        FROM gone
        WHERE NOT (ends IS TRUE AND {wire("org", "org_id")} IN (SELECT target_id FROM with_org))
        ORDER BY id;
    """,
}

TRIGGER = """
    CREATE TRIGGER {table}_log_{verb} AFTER {event} ON {table}
    REFERENCING {referencing} FOR EACH STATEMENT EXECUTE FUNCTION {function}
"""
# By its id the log knows a row. A membership's never changes anyway.
ID_IS_FINAL = """
    CREATE TRIGGER {table}_id_is_final AFTER UPDATE ON {table} FOR EACH ROW
    WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION flametrench_tenancy_refuse('an id never changes')
"""
KNOWN_BY_ID = ("org", "inv", "tup")
REFERENCING = {
    "INSERT": "NEW TABLE AS new_rows",
    "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "OLD TABLE AS old_rows",
}

SAID = "flametrench_tenancy_said()"
LOG_EVENT = "flametrench_tenancy_log_event(jsonb)"
OTHERS = {
    # Who acts: in the statement that says so, or the operation, or else in the transaction.
    SAID: """
    (OUT actor uuid, OUT auth jsonb, OUT on_behalf jsonb, OUT context jsonb, OUT operation jsonb)
    STABLE LANGUAGE plpgsql AS $$
    DECLARE
        told jsonb := '{}';
    BEGIN
        IF current_setting('tenancy.acting_during', true)
            IN ('operation', statement_timestamp()::text)
        THEN
            told := current_setting('tenancy.acting')::jsonb;
        END IF;
        IF NOT told ?| ARRAY['actor', 'auth'] THEN
            told := told || jsonb_build_object(
                'actor', nullif(current_setting('tenancy.actor', true), ''),
                'auth', nullif(current_setting('tenancy.auth', true), '')::jsonb,
                'on_behalf', nullif(current_setting('tenancy.on_behalf', true), '')::jsonb);
        END IF;
        actor := regexp_replace(told ->> 'actor', '^usr_', '')::uuid;
        auth := nullif(told -> 'auth', 'null');
        on_behalf := nullif(told -> 'on_behalf', 'null');
        context := coalesce(told -> 'context',
            nullif(current_setting('tenancy.context', true), '')::jsonb);
        operation := jsonb_strip_nulls(jsonb_build_object('operation', coalesce(
            told ->> 'operation', nullif(current_setting('tenancy.operation', true), ''))));
    END $$
    """,
    # The application's own events, and refusals. What triggers write nobody else does.
    LOG_EVENT: f"""
    (event jsonb) RETURNS SETOF aud LANGUAGE plpgsql AS $$
    BEGIN
        IF event ->> 'action' IN ({", ".join(f"'{action}'" for action in RECORDED)}) THEN
            RAISE EXCEPTION 'events of action % are recorded by triggers', event ->> 'action' USING
                ERRCODE = 'check_violation', CONSTRAINT = 'aud_action_reserved', TABLE = 'aud';
        END IF;
        RETURN QUERY
        INSERT INTO aud (occurred_at, occurred_as, actor_usr_id, auth, on_behalf, action,
            target_kind, target_id, scope_kind, scope_id, outcome, metadata, context)
        VALUES (
            (event ->> 'occurred_at')::timestamptz, event ->> 'occurred_as',
            right(event ->> 'actor_usr_id', 32)::uuid,
            nullif(event -> 'auth', 'null'), nullif(event -> 'on_behalf', 'null'),
            event ->> 'action', event -> 'target' ->> 'kind', event -> 'target' ->> 'id',
            event -> 'scope' ->> 'kind', event -> 'scope' ->> 'id',
            event ->> 'outcome', event -> 'metadata', nullif(event -> 'context', 'null'))
        RETURNING *;
    END $$
    """,
}


def recorder(table: str, event: str) -> str:
    """Return the name of the function that records what happens to a table."""
    return f"flametrench_tenancy_log_{table}_{event.lower()}()"


def upgrade() -> None:
    with one_schema():
        for name, definition in OTHERS.items():
            op.execute(f"CREATE FUNCTION {name.partition('(')[0]} {definition}".replace(":", r"\:"))
        for (table, event), statements in RECORDS.items():
            rows = "old_rows" if event == "DELETE" else "new_rows"
            body = f"""
            DECLARE
                said record;
            BEGIN
                IF EXISTS (SELECT FROM {rows}) THEN
                    SELECT * INTO said FROM {SAID};
                    {statements}
                END IF;
                RETURN NULL;
            END
            """.replace(":", r"\:")
            function = recorder(table, event)
            op.execute(f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        op.execute(SECURE_FUNCTIONS)
        for table, event in RECORDS:
            op.execute(
                TRIGGER.format(
                    table=table,
                    event=event,
                    verb=event.lower(),
                    referencing=REFERENCING[event],
                    function=recorder(table, event),
                )
            )
        for table in KNOWN_BY_ID:
            op.execute(ID_IS_FINAL.format(table=table))


def downgrade() -> None:
    with one_schema():
        for table in KNOWN_BY_ID:
            op.execute(f"DROP TRIGGER {table}_id_is_final ON {table}")
        for table, event in RECORDS:
            op.execute(f"DROP TRIGGER {table}_log_{event.lower()} ON {table}")
            op.execute(f"DROP FUNCTION {recorder(table, event)}")
        for name in OTHERS:
            op.execute(f"DROP FUNCTION {name}")
