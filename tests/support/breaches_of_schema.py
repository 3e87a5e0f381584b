"""The schema, and what only gets in where it is incomplete or bypassed."""

from __future__ import annotations

from flametrench_tenancy_sqlalchemy import InvitationStatus, Role, Status
from tests.support.seeding import Breaches, Expected, sql, write_tuple
from tests.support.stage import Stage

breach = Breaches()


@breach("unknown_status")
def _(stage: Stage) -> Expected:
    usr_id, membership = stage.user(), stage.member(stage.org(), status=Status.REVOKED)
    for table, id_ in {"usr": usr_id, "mem": membership.id}.items():
        sql(stage, f"ALTER TABLE {table} DROP CONSTRAINT {table}_status_check")
        sql(stage, f"UPDATE {table} SET status = 'asleep' WHERE id = :id", id=id_)
    return {
        "missing_constraint": [
            "constraint mem_status_check of mem",
            "constraint usr_status_check of usr",
        ],
        "unknown_status": [membership.id, usr_id],
    }


@breach("unknown_role")
def _(stage: Stage) -> Expected:
    membership = stage.member(stage.org())
    sql(stage, "ALTER TABLE mem DROP CONSTRAINT mem_role_check")
    sql(stage, "UPDATE mem SET role = 'king' WHERE id = :id", id=membership.id)
    sql(stage, "DELETE FROM tup WHERE subject_id = :usr", usr=membership.usr_id)
    return {
        "missing_constraint": ["constraint mem_role_check of mem"],
        "unknown_role": [membership.id],
    }


@breach("malformed_slug")
def _(stage: Stage) -> Expected:
    org = stage.org()
    sql(stage, "ALTER TABLE org DROP CONSTRAINT org_slug_format")
    sql(stage, "UPDATE org SET slug = 'No slug' WHERE id = :id", id=org.id)
    return {
        "missing_constraint": ["constraint org_slug_format of org"],
        "malformed_slug": [org.id],
    }


@breach("malformed_tuple")
def _(stage: Stage) -> Expected:
    sql(stage, "ALTER TABLE tup DROP CONSTRAINT tup_relation_check")
    written = write_tuple(stage, stage.user(), "can edit", stage.org().id)
    return {
        "missing_constraint": ["constraint tup_relation_check of tup"],
        "malformed_tuple": [written],
    }


@breach("impossible_expiry")
def _(stage: Stage) -> Expected:
    invitation = stage.invitation(stage.org(), status=InvitationStatus.DECLINED)
    sql(stage, "ALTER TABLE inv DROP CONSTRAINT inv_check1")
    sql(stage, "UPDATE inv SET expires_at = created_at WHERE id = :id", id=invitation.id)
    return {
        "missing_constraint": ["constraint inv_check1 of inv"],
        "impossible_expiry": [invitation.id],
    }


@breach("duplicate_slug")
def _(stage: Stage) -> Expected:
    orgs = [stage.org().id, stage.org().id]
    sql(stage, "DROP INDEX org_slug_unique")
    sql(stage, "UPDATE org SET slug = 'acme'")
    return {"missing_index": ["index org_slug_unique of org"], "duplicate_slug": orgs}


@breach("duplicate_tuple")
def _(stage: Stage) -> Expected:
    name = "tup_subject_type_subject_id_relation_object_type_object_id_key"
    sql(stage, f"ALTER TABLE tup DROP CONSTRAINT {name}")
    usr_id, org_id = stage.user(), stage.org().id
    return {
        "missing_constraint": [f"constraint {name} of tup"],
        "duplicate_tuple": [write_tuple(stage, usr_id, "auditor", org_id) for _ in range(2)],
    }


@breach("dangling_reference", "to a user")
def _(stage: Stage) -> Expected:
    membership = stage.member(stage.org())
    sql(stage, "DELETE FROM usr WHERE id = :id", id=membership.usr_id)
    return {"dangling_reference": [membership.id]}


@breach("dangling_reference", "to an organization and its members")
def _(stage: Stage) -> Expected:
    org = stage.org()
    invitation = stage.invitation(org)
    new = stage.tenancy.change_role(stage.member(org).id, Role.ADMIN)
    sql(stage, "DELETE FROM mem WHERE id = :id", id=new.replaces)
    ids = [invitation.id, stage.owner(org).id, new.id]
    sql(stage, "DELETE FROM org WHERE id = :id", id=org.id)
    return {"dangling_reference": ids}


@breach("missing_table")
def _(stage: Stage) -> Expected:
    sql(stage, "DROP TABLE tup")
    return {"missing_table": ["table tup"]}


@breach("missing_column")
def _(stage: Stage) -> Expected:
    sql(stage, "ALTER TABLE org DROP COLUMN name")
    return {"missing_column": ["column name of org"]}


@breach("missing_constraint", "a foreign key")
def _(stage: Stage) -> Expected:
    sql(stage, "ALTER TABLE mem DROP CONSTRAINT mem_usr_id_fkey")
    return {"missing_constraint": ["constraint mem_usr_id_fkey of mem"]}


@breach("missing_index")
def _(stage: Stage) -> Expected:
    sql(stage, "DROP INDEX mem_org_idx")
    return {"missing_index": ["index mem_org_idx of mem"]}


@breach("missing_trigger")
def _(stage: Stage) -> Expected:
    sql(stage, "DROP TRIGGER mem_touch ON mem")
    sql(stage, "DROP TRIGGER tup_mem_duality ON tup")
    return {
        "missing_trigger": ["trigger mem_touch of mem", "trigger tup_mem_duality of tup"],
    }


@breach("disabled_trigger")
def _(stage: Stage) -> Expected:
    sql(stage, "ALTER TABLE org DISABLE TRIGGER org_revoked_is_final")
    return {"disabled_trigger": ["trigger org_revoked_is_final of org"]}


@breach("disabled_trigger", "of foreign keys")
def _(stage: Stage) -> Expected:
    sql(stage, "ALTER TABLE tup DISABLE TRIGGER ALL")
    return {
        "disabled_trigger": [
            "constraint tup_created_by_fkey of tup",
            "trigger tup_mem_duality of tup",
            "trigger tup_mem_duality_gone of tup",
        ]
    }


@breach("schema_difference", "an index over all rows")
def _(stage: Stage) -> Expected:
    sql(stage, "DROP INDEX mem_unique_active")
    sql(stage, "CREATE UNIQUE INDEX mem_unique_active ON mem (usr_id, org_id)")
    return {
        "schema_difference": [
            "index mem_unique_active of mem: expected CREATE UNIQUE INDEX ON mem USING btree "
            "(usr_id, org_id) WHERE status = 'active'::text, found CREATE UNIQUE INDEX ON mem "
            "USING btree (usr_id, org_id)"
        ]
    }


@breach("schema_difference", "a column that may be empty")
def _(stage: Stage) -> Expected:
    sql(stage, "ALTER TABLE inv ALTER expires_at DROP NOT NULL")
    return {
        "schema_difference": [
            "column expires_at of inv: expected timestamp with time zone NOT NULL, "
            "found timestamp with time zone"
        ]
    }
