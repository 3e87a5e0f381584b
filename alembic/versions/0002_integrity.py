"""The schema upholds the rules of tenancy itself, for raw SQL and for other clients.

Our own operations never meet these triggers: locks and domain methods come first. What breaks a
rule is refused with the name of a constraint, which the package knows (`_integrity`); rules that
an operation may break in passing are checked when the transaction commits.

Restores and bulk loads go around them with ``SET session_replication_role = replica``.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flametrench_tenancy_sqlalchemy.migrations import SECURE_FUNCTIONS
from flametrench_tenancy_sqlalchemy.migrations.errors import SchemaMismatchError
from flametrench_tenancy_sqlalchemy.migrations.search_path import one_schema

revision = "ft0002"
down_revision = "ft0001"
branch_labels = None
depends_on = None

ROLES = "('owner', 'admin', 'member', 'guest', 'viewer', 'editor')"

# A key between itself and itself, in the order of its index: no other index has that order,
# whatever the statistics say or do not say yet. Of two equal chances the planner would look for one
# tuple among all members of an organization, and remember that plan for a connection's life.
MEMBERSHIP = """
    FROM mem
    WHERE (usr_id, org_id) >= (usr, organization) AND (usr_id, org_id) <= (usr, organization)
    AND role = held AND status = 'active'
    ORDER BY usr_id, org_id LIMIT 1
"""
TUPLE = """
    FROM tup
    WHERE (subject_type, subject_id, relation, object_type, object_id)
        >= ('usr', usr, held, 'org', organization)
    AND (subject_type, subject_id, relation, object_type, object_id)
        <= ('usr', usr, held, 'org', organization)
    ORDER BY subject_type, subject_id, relation, object_type, object_id LIMIT 1
"""

INDEXES = {
    # An owner is found without reading an organization's members, however many there are.
    "mem_owner_idx": """
        CREATE INDEX mem_owner_idx ON mem (org_id, id)
        WHERE role = 'owner' AND status = 'active'
    """,
    # A membership has one successor at the most: history is a chain, not a tree.
    "mem_replaces_unique": """
        CREATE UNIQUE INDEX mem_replaces_unique ON mem (replaces) WHERE replaces IS NOT NULL
    """,
}

FUNCTIONS = {
    "flametrench_tenancy_refuse()": """
    BEGIN
        RAISE EXCEPTION '% %: %', TG_TABLE_NAME, OLD.id, TG_ARGV[0] USING
            ERRCODE = 'check_violation', CONSTRAINT = TG_NAME,
            TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END
    """,
    # Locks the organization as our own operations do: shared to enter it, for oneself to hand a
    # role on, which may take an owner away later in the transaction.
    #
    # Under REPEATABLE READ a revocation does not see who entered after its snapshot, and would
    # leave them behind. So whoever enters under that level also updates the organization's row,
    # changing nothing, and the revocation fails to serialize.
    "flametrench_tenancy_enter()": """
    DECLARE
        org_status text;
    BEGIN
        IF TG_ARGV[0] = 'succeed' THEN
            SELECT status INTO org_status FROM org WHERE id = NEW.org_id FOR NO KEY UPDATE;
        ELSE
            SELECT status INTO org_status FROM org WHERE id = NEW.org_id FOR SHARE;
        END IF;
        IF org_status = 'revoked' THEN
            RAISE EXCEPTION 'organization % is revoked', NEW.org_id USING
                ERRCODE = 'check_violation', CONSTRAINT = TG_ARGV[1],
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
        END IF;
        IF TG_ARGV[0] = 'join'
            AND current_setting('transaction_isolation') = 'repeatable read'
        THEN
            BEGIN
                -- Two who hold the shared lock would wait for each other.
                PERFORM FROM org WHERE id = NEW.org_id FOR NO KEY UPDATE NOWAIT;
            EXCEPTION WHEN lock_not_available THEN
                RAISE EXCEPTION 'could not serialize access: others enter organization %',
                    NEW.org_id USING ERRCODE = 'serialization_failure';
            END;
            UPDATE org SET status = status WHERE id = NEW.org_id;
        END IF;
        RETURN NEW;
    END
    """,
    # Another client's clock may be behind the one that its predecessor's time is from.
    "flametrench_tenancy_follow()": """
    BEGIN
        NEW.created_at := greatest(
            NEW.created_at,
            (SELECT created_at + interval '1 microsecond' FROM mem WHERE id = NEW.replaces)
        );
        NEW.updated_at := greatest(NEW.updated_at, NEW.created_at);
        RETURN NEW;
    END
    """,
    # Asked when the statement has ended: it may write the predecessor after the successor.
    "flametrench_tenancy_same_chain()": """
    BEGIN
        IF EXISTS (
            SELECT FROM mem
            WHERE id = NEW.replaces AND (
                (usr_id, org_id) <> (NEW.usr_id, NEW.org_id) OR created_at >= NEW.created_at
            )
        ) THEN
            RAISE EXCEPTION 'mem % replaces a membership that is not an earlier one of the same '
                'user and organization', NEW.id USING
                ERRCODE = 'check_violation', CONSTRAINT = TG_NAME,
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
        END IF;
        RETURN NULL;
    END
    """,
    "flametrench_tenancy_keep_rows()": """
    BEGIN
        RAISE EXCEPTION 'TRUNCATE of % would go around the rules', TG_TABLE_NAME USING
            ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME,
            TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA,
            HINT = 'In a test, SET LOCAL tenancy.allow_truncate = on.';
    END
    """,
    # With the organization locked, a statement under READ COMMITTED sees every owner there is.
    # Above it the snapshot may be older than the lock: locking the owner's row tells (a key share
    # lock would not).
    "flametrench_tenancy_keep_owner()": """
    DECLARE
        organization uuid;
        org_status text;
    BEGIN
        organization := CASE TG_OP WHEN 'DELETE' THEN OLD.org_id ELSE NEW.org_id END;
        IF TG_ARGV[0] = 'owner left' THEN
            SELECT status INTO org_status FROM org WHERE id = organization
            FOR NO KEY UPDATE;
        END IF;
        IF current_setting('transaction_isolation') = 'read committed' THEN
            PERFORM FROM mem
            WHERE org_id = organization AND role = 'owner' AND status = 'active' LIMIT 1;
        ELSE
            PERFORM FROM mem
            WHERE org_id = organization AND role = 'owner' AND status = 'active'
            ORDER BY id LIMIT 1 FOR SHARE;
        END IF;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        IF org_status <> 'revoked'
            OR EXISTS (SELECT FROM mem WHERE org_id = organization AND status = 'active')
        THEN
            RAISE EXCEPTION 'organization % would be left without an active owner', organization
                USING ERRCODE = 'check_violation', CONSTRAINT = 'mem_keeps_owner',
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
        END IF;
        RETURN NULL;
    END
    """,
    "flametrench_tenancy_keep_duality()": f"""
    DECLARE
        usr uuid;
        organization uuid;
        held text;
    BEGIN
        CASE TG_ARGV[0]
            WHEN 'new mem' THEN
                usr := NEW.usr_id; organization := NEW.org_id; held := NEW.role;
            WHEN 'old mem' THEN
                usr := OLD.usr_id; organization := OLD.org_id; held := OLD.role;
            WHEN 'new tup' THEN
                usr := NEW.subject_id; organization := NEW.object_id; held := NEW.relation;
            WHEN 'old tup' THEN
                usr := OLD.subject_id; organization := OLD.object_id; held := OLD.relation;
        END CASE;
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            -- The snapshot may be old; what has changed since fails to serialize.
            PERFORM {MEMBERSHIP} FOR SHARE;
            PERFORM {TUPLE} FOR SHARE;
        END IF;
        IF (SELECT true {MEMBERSHIP}) IS DISTINCT FROM (SELECT true {TUPLE}) THEN
            RAISE EXCEPTION 'usr % as % of org %: membership and tuple do not agree',
                usr, held, organization USING
                ERRCODE = 'check_violation', CONSTRAINT = 'mem_tup_duality',
                TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
        END IF;
        RETURN NULL;
    END
    """,
}

NOW = "CREATE TRIGGER {name} {event} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {call}"
AT_COMMIT = (
    "CREATE CONSTRAINT TRIGGER {name} {event} ON {table} DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {call}"
)
AS_A_WHOLE = NOW.replace("EACH ROW", "EACH STATEMENT")
REFUSE = "flametrench_tenancy_refuse"
ENTER = "flametrench_tenancy_enter"
KEEP_OWNER = "flametrench_tenancy_keep_owner"
KEEP_DUALITY = "flametrench_tenancy_keep_duality"
IDENTITY = ("id", "usr_id", "org_id", "role", "replaces", "created_at")


def row(alias: str) -> str:
    """Return the fields of a membership that never change, of its old or its new row."""
    return "(" + ", ".join(f"{alias}.{column}" for column in IDENTITY) + ")"


def holds_role(alias: str) -> str:
    """Return the condition that a tuple is one that a membership stands for."""
    return (
        f"{alias}.subject_type = 'usr' AND {alias}.object_type = 'org' "
        f"AND {alias}.relation IN {ROLES}"
    )


# (when it is checked, name, table, event, condition, function with its argument)
TRIGGERS = (
    # Terminal is terminal, and of a membership only the status changes.
    (
        *(NOW, "org_revoked_is_final", "org", "AFTER UPDATE"),
        "OLD.status = 'revoked' AND OLD.* IS DISTINCT FROM NEW.*",
        f"{REFUSE}('a revoked organization never changes')",
    ),
    (
        *(NOW, "inv_terminal_is_final", "inv", "AFTER UPDATE"),
        "OLD.status <> 'pending' AND OLD.* IS DISTINCT FROM NEW.*",
        f"{REFUSE}('an invitation that is not pending never changes')",
    ),
    (
        *(NOW, "mem_revoked_is_final", "mem", "AFTER UPDATE"),
        "OLD.status = 'revoked' AND OLD.* IS DISTINCT FROM NEW.*",
        f"{REFUSE}('a revoked membership never changes')",
    ),
    (
        *(NOW, "mem_identity_is_final", "mem", "AFTER UPDATE"),
        f"{row('OLD')} IS DISTINCT FROM {row('NEW')}",
        f"{REFUSE}('whose membership it is, and as what, never changes')",
    ),
    # Nobody enters a revoked organization.
    (
        *(NOW, "mem_org_not_revoked", "mem", "BEFORE INSERT"),
        "NEW.status = 'active' AND NEW.replaces IS NULL",
        f"{ENTER}('join', 'mem_org_not_revoked')",
    ),
    (
        *(NOW, "mem_org_not_revoked_successor", "mem", "BEFORE INSERT"),
        "NEW.status = 'active' AND NEW.replaces IS NOT NULL",
        f"{ENTER}('succeed', 'mem_org_not_revoked')",
    ),
    (
        *(NOW, "mem_org_not_revoked_again", "mem", "BEFORE UPDATE OF status"),
        "NEW.status = 'active' AND OLD.status <> 'active'",
        f"{ENTER}('return', 'mem_org_not_revoked')",
    ),
    (
        *(NOW, "inv_org_not_revoked", "inv", "BEFORE INSERT"),
        "NEW.status = 'pending'",
        f"{ENTER}('join', 'inv_org_not_revoked')",
    ),
    # Role history stays within one user and organization, and goes on in time.
    (
        *(NOW, "mem_follows_replaced", "mem", "BEFORE INSERT"),
        "NEW.replaces IS NOT NULL",
        "flametrench_tenancy_follow()",
    ),
    (
        *(NOW, "mem_replaces_same_chain", "mem", "AFTER INSERT"),
        "NEW.replaces IS NOT NULL",
        "flametrench_tenancy_same_chain()",
    ),
    # An organization keeps an owner.
    (
        *(AT_COMMIT, "mem_keeps_owner", "mem", "AFTER UPDATE OF status"),
        "OLD.role = 'owner' AND OLD.status = 'active' AND NEW.status <> 'active'",
        f"{KEEP_OWNER}('owner left')",
    ),
    (
        *(AT_COMMIT, "mem_keeps_owner_deleted", "mem", "AFTER DELETE"),
        "OLD.role = 'owner' AND OLD.status = 'active'",
        f"{KEEP_OWNER}('owner left')",
    ),
    (
        *(AT_COMMIT, "mem_keeps_owner_joined", "mem", "AFTER INSERT"),
        "NEW.role <> 'owner' AND NEW.status = 'active'",
        f"{KEEP_OWNER}('member came')",
    ),
    (
        *(AT_COMMIT, "mem_keeps_owner_returned", "mem", "AFTER UPDATE OF status"),
        "NEW.role <> 'owner' AND NEW.status = 'active' AND OLD.status <> 'active'",
        f"{KEEP_OWNER}('member came')",
    ),
    # A membership is active exactly when its tuple exists.
    (
        *(AT_COMMIT, "mem_tup_duality", "mem", "AFTER INSERT"),
        "NEW.status = 'active'",
        f"{KEEP_DUALITY}('new mem')",
    ),
    (
        *(AT_COMMIT, "mem_tup_duality_changed", "mem", "AFTER UPDATE OF status"),
        "OLD.status <> NEW.status AND 'active' IN (OLD.status, NEW.status)",
        f"{KEEP_DUALITY}('new mem')",
    ),
    (
        *(AT_COMMIT, "mem_tup_duality_deleted", "mem", "AFTER DELETE"),
        "OLD.status = 'active'",
        f"{KEEP_DUALITY}('old mem')",
    ),
    (
        *(AT_COMMIT, "tup_mem_duality", "tup", "AFTER INSERT OR UPDATE"),
        holds_role("NEW"),
        f"{KEEP_DUALITY}('new tup')",
    ),
    (
        *(AT_COMMIT, "tup_mem_duality_gone", "tup", "AFTER UPDATE OR DELETE"),
        holds_role("OLD"),
        f"{KEEP_DUALITY}('old tup')",
    ),
    # Nobody empties a table by mistake. Who truncates users or organizations truncates what refers
    # to them as well.
    *(
        (
            *(AS_A_WHOLE, f"{table}_keeps_rows", table, "BEFORE TRUNCATE"),
            "current_setting('tenancy.allow_truncate', true) IS DISTINCT FROM 'on'",
            "flametrench_tenancy_keep_rows()",
        )
        for table in ("mem", "inv", "tup")
    ),
)


def require_chains(schema: str | None) -> None:
    """Refuse to begin where history has forked already; the doctor lists the places."""
    forks = op.get_bind().scalar(
        sa.text(
            "SELECT count(*) FROM (SELECT replaces FROM mem WHERE replaces IS NOT NULL "
            "GROUP BY replaces HAVING count(*) > 1) AS forked"
        )
    )
    if forks:
        raise SchemaMismatchError(
            schema or "", [f"mem: {forks} memberships are replaced by more than one other"]
        )


def upgrade() -> None:
    with one_schema() as schema:
        if not op.get_context().as_sql:
            require_chains(schema)
        for statement in INDEXES.values():
            op.execute(statement)
        for name, body in FUNCTIONS.items():
            op.execute(f"CREATE FUNCTION {name} RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        op.execute(SECURE_FUNCTIONS)
        for form, name, table, event, when, call in TRIGGERS:
            op.execute(form.format(name=name, table=table, event=event, when=when, call=call))


def downgrade() -> None:
    with one_schema():
        for _, name, table, *_ in TRIGGERS:
            op.execute(f"DROP TRIGGER {name} ON {table}")
        for name in FUNCTIONS:
            op.execute(f"DROP FUNCTION {name}")
        for name in INDEXES:
            op.execute(f"DROP INDEX {name}")
