"""The tables as the specification's reference SQL shapes them: constraints without names, rows."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Engine

TABLES = ("usr", "org", "mem", "inv", "tup")

_STATUS = "status text NOT NULL DEFAULT 'active' CHECK (status IN ('active','suspended','revoked'))"
_ROLE = "role text NOT NULL CHECK (role IN ('owner','admin','member','guest','viewer','editor'))"
_CREATED = "created_at timestamptz NOT NULL DEFAULT now()"
_UPDATED = "updated_at timestamptz NOT NULL DEFAULT now()"

SHAPE = {
    "usr": f"CREATE TABLE usr (id uuid PRIMARY KEY, {_STATUS}, {_CREATED}, {_UPDATED})",
    "org": f"CREATE TABLE org (id uuid PRIMARY KEY, {_STATUS}, {_CREATED}, {_UPDATED})",
    "mem": f"""
    CREATE TABLE mem (
        id uuid PRIMARY KEY,
        usr_id uuid NOT NULL REFERENCES usr, org_id uuid NOT NULL REFERENCES org,
        {_ROLE}, {_STATUS}, replaces uuid REFERENCES mem,
        invited_by uuid REFERENCES usr, removed_by uuid REFERENCES usr, {_CREATED}, {_UPDATED}
    );
    CREATE UNIQUE INDEX mem_unique_active ON mem (usr_id, org_id) WHERE status = 'active';
    CREATE INDEX mem_org_idx ON mem (org_id);
    CREATE INDEX mem_usr_idx ON mem (usr_id);
    CREATE INDEX mem_replaces_idx ON mem (replaces) WHERE replaces IS NOT NULL
    """,
    "inv": f"""
    CREATE TABLE inv (
        id uuid PRIMARY KEY, org_id uuid NOT NULL REFERENCES org, identifier text NOT NULL,
        {_ROLE}, status text NOT NULL DEFAULT 'pending'
            CHECK (status IN ('pending','accepted','declined','revoked','expired')),
        pre_tuples jsonb NOT NULL DEFAULT '[]',
        invited_by uuid NOT NULL REFERENCES usr, invited_user_id uuid REFERENCES usr,
        {_CREATED}, expires_at timestamptz NOT NULL,
        terminal_at timestamptz, terminal_by uuid REFERENCES usr,
        CHECK ((status = 'pending') = (terminal_at IS NULL)), CHECK (expires_at > created_at)
    );
    CREATE INDEX inv_org_idx ON inv (org_id);
    CREATE INDEX inv_pending_idx ON inv (identifier) WHERE status = 'pending'
    """,
    "tup": f"""
    CREATE TABLE tup (
        id uuid PRIMARY KEY,
        subject_type text NOT NULL CHECK (subject_type IN ('usr')), subject_id uuid NOT NULL,
        relation text NOT NULL CHECK (relation ~ '^[a-z_]{{2,32}}$'),
        object_type text NOT NULL CHECK (object_type ~ '^[a-z]{{2,6}}$'),
        object_id uuid NOT NULL, {_CREATED}, created_by uuid REFERENCES usr,
        UNIQUE (subject_type, subject_id, relation, object_type, object_id)
    );
    CREATE INDEX tup_object_relation_idx ON tup (object_type, object_id, relation);
    CREATE INDEX tup_subject_idx ON tup (subject_type, subject_id)
    """,
}

TOUCH = [
    """
    CREATE FUNCTION flametrench_touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.updated_at = now(); RETURN NEW; END'
    """,
    # Somebody else's table, which shares the function.
    f"CREATE TABLE cred (id uuid PRIMARY KEY, usr_id uuid REFERENCES usr, {_CREATED}, {_UPDATED})",
    *(
        f"CREATE TRIGGER {table}_touch BEFORE UPDATE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION flametrench_touch_updated_at()"
        for table in ("usr", "org", "mem", "cred")
    ),
]

# What later versions of the specification added.
NEWER = {
    "usr": "ALTER TABLE usr ADD COLUMN display_name text",
    "org": """
        ALTER TABLE org ADD COLUMN name text, ADD COLUMN slug text, ADD CONSTRAINT org_slug_format
            CHECK (slug IS NULL OR slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$');
        CREATE UNIQUE INDEX org_slug_unique ON org (slug) WHERE slug IS NOT NULL
        """,
    "tup": """
        ALTER TABLE tup DROP CONSTRAINT tup_subject_type_check,
            ADD CONSTRAINT tup_subject_type_check CHECK (subject_type ~ '^[a-z]{2,6}$')
        """,
}

# An owner who was an admin before, a pending and an accepted invitation, a grant by another app.
_USER, _OTHER, _ORG, _OLD, _NEW, _BY_INVITATION = (
    f"0190f2a8-0000-7000-8000-00000000000{n}" for n in range(1, 7)
)
ROWS = {
    "usr": f"INSERT INTO usr (id) VALUES ('{_USER}'), ('{_OTHER}')",
    "org": f"INSERT INTO org (id, created_at) VALUES ('{_ORG}', '2026-01-01Z')",
    "mem": f"""
    INSERT INTO mem (id, usr_id, org_id, role, status, replaces, created_at) VALUES
        ('{_OLD}', '{_USER}', '{_ORG}', 'admin', 'revoked', NULL, '2026-01-01Z'),
        ('{_NEW}', '{_USER}', '{_ORG}', 'owner', 'active', '{_OLD}', '2026-01-02Z'),
        ('{_BY_INVITATION}', '{_OTHER}', '{_ORG}', 'guest', 'active', NULL, '2026-01-03Z')
    """,
    "inv": f"""
    INSERT INTO inv SELECT gen_random_uuid(), '{_ORG}', 'a@example.com', 'guest', status,
        pre_tuples::jsonb, '{_USER}', NULL, '2026-01-01Z', '2099-01-01Z', ended::timestamptz
    FROM (VALUES ('accepted', '[]', '2026-01-03Z'), ('pending',
        '[{{"relation": "editor", "objectType": "proj", "objectId": "{_ORG}"}}]', NULL)
    ) AS given (status, pre_tuples, ended)
    """,
    "tup": f"""
    INSERT INTO tup SELECT gen_random_uuid(), 'usr', subject::uuid, relation, type, object::uuid
    FROM (VALUES ('{_USER}', 'owner', 'org', '{_ORG}'), ('{_OTHER}', 'guest', 'org', '{_ORG}'),
        ('{_OTHER}', 'editor', 'proj', '{_NEW}')) AS given (subject, relation, type, object)
    """,
}


def run(connection: Connection, statements: Iterable[str] | str) -> None:
    """Execute statements as they stand."""
    for statement in [statements] if isinstance(statements, str) else statements:
        connection.exec_driver_sql(statement)


def run_script(engine: Engine, script: str) -> None:
    """Run a script as it is, as psql would."""
    connection = engine.raw_connection()
    connection.cursor().execute(script)
    connection.close()


def fill(connection: Connection, schema: str = "public") -> None:
    """Insert rows into all tables, judged at once lest later changes of the tables wait."""
    run(connection, f'SET LOCAL search_path TO "{schema}"; SET CONSTRAINTS ALL DEFERRED')
    run(connection, [*ROWS.values(), "SET CONSTRAINTS ALL IMMEDIATE"])


def create_reference(
    connection: Connection, tables: Iterable[str] = TABLES, *, newest: bool = True
) -> None:
    """Create what another SDK's migrations leave behind: some tables, in an early or late form."""
    chosen = [table for table in TABLES if table in set(tables)]
    for table in chosen:
        run(connection, [SHAPE[table], *([NEWER[table]] if newest and table in NEWER else [])])
    if set(TABLES) <= set(chosen):
        run(connection, TOUCH)
    run(connection, [ROWS[table] for table in chosen])
