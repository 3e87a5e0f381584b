"""Every way in which a database can be broken, each seeded behind the back of the schema.

A `Breach` is seeded on a stage and says what the doctor must find then, and nothing else: the
wire ids of the rows, or the names of the parts of the schema, by check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import InvitationStatus, Membership, Role, Status, new_id
from tests.support.sql import bare, insert
from tests.support.stage import DAY, TICK, Stage

Expected: TypeAlias = dict[str, list[str]]
Seed: TypeAlias = Callable[[Stage], Expected]

BREACHES: dict[str, Seed] = {}


def breach(check: str, course: str = "") -> Callable[[Seed], Seed]:
    """Register a way to fail a check, in one of its courses."""

    def register(seed: Seed) -> Seed:
        def behind_the_schema(stage: Stage) -> Expected:
            # A transaction that has deferred triggers waiting could not change its tables.
            sql(stage, "SET CONSTRAINTS ALL IMMEDIATE")
            sql(stage, "SET LOCAL session_replication_role = replica")
            expected = seed(stage)
            stage.session.flush()
            sql(stage, "SET LOCAL session_replication_role = origin")
            sql(stage, "SET CONSTRAINTS ALL DEFERRED")
            return expected

        BREACHES[f"{check}: {course}" if course else check] = behind_the_schema
        return seed

    return register


def sql(stage: Stage, statement: str, **parameters: object) -> None:
    """Run a statement as somebody else would; wire ids are given bare."""
    values = {
        name: bare(value) if isinstance(value, str) and value[3:4] == "_" else value
        for name, value in parameters.items()
    }
    stage.session.execute(text(statement), values)


def write_tuple(stage: Stage, usr_id: str, relation: str, org_id: str) -> str:
    """Write a tuple about an organization, and return its wire id."""
    id_ = new_id("tup")
    insert(
        stage.session,
        "tup",
        id=bare(id_),
        subject_type="usr",
        subject_id=bare(usr_id),
        relation=relation,
        object_type="org",
        object_id=bare(org_id),
    )
    return id_


def write_membership(stage: Stage, like: Membership, **other: str) -> str:
    """Write a membership of the same user and organization, and return its wire id."""
    id_ = new_id("mem")
    values = {"role": "viewer", "status": "revoked"} | other
    insert(
        stage.session,
        "mem",
        id=bare(id_),
        usr_id=bare(like.usr_id),
        org_id=bare(like.org_id),
        created_at=like.created_at + DAY,
        **values,
    )
    return id_


def successor(stage: Stage) -> Membership:
    """Return a membership that replaces another one."""
    return stage.tenancy.change_role(stage.member(stage.org()).id, Role.ADMIN)


@breach("membership_without_tuple")
def _(stage: Stage) -> Expected:
    membership = stage.member(stage.org())
    sql(stage, "DELETE FROM tup WHERE subject_id = :usr", usr=membership.usr_id)
    return {"membership_without_tuple": [membership.id]}


@breach("membership_without_tuple", "the tuple has another role")
def _(stage: Stage) -> Expected:
    membership = stage.member(stage.org())
    sql(stage, "DELETE FROM tup WHERE subject_id = :usr", usr=membership.usr_id)
    wrong = write_tuple(stage, membership.usr_id, "admin", membership.org_id)
    return {"membership_without_tuple": [membership.id], "orphan_tuple": [wrong]}


@breach("orphan_tuple", "of a suspended member")
def _(stage: Stage) -> Expected:
    membership = stage.member(stage.org(), status=Status.SUSPENDED)
    left = write_tuple(stage, membership.usr_id, membership.role, membership.org_id)
    return {"orphan_tuple": [left]}


@breach("orphan_tuple", "of a stranger, in a revoked and in an unknown organization")
def _(stage: Stage) -> Expected:
    revoked, unknown = stage.org(Status.REVOKED).id, new_id("org")
    tuples = [write_tuple(stage, stage.user(), "owner", org_id) for org_id in (revoked, unknown)]
    return {"orphan_tuple": tuples}


@breach("ownerless_organization")
def _(stage: Stage) -> Expected:
    org = stage.org()
    stage.member(org, Role.ADMIN)
    owner = stage.owner(org)
    sql(stage, "UPDATE mem SET status = 'suspended' WHERE id = :id", id=owner.id)
    sql(stage, "DELETE FROM tup WHERE subject_id = :usr", usr=owner.usr_id)
    return {"ownerless_organization": [org.id]}


@breach("duplicate_membership")
def _(stage: Stage) -> Expected:
    membership = stage.member(stage.org())
    sql(stage, "DROP INDEX mem_unique_active")
    second = write_membership(stage, membership, status="active")
    write_tuple(stage, membership.usr_id, "viewer", membership.org_id)
    return {
        "missing_index": ["index mem_unique_active of mem"],
        "duplicate_membership": [membership.id, second],
    }


@breach("membership_in_revoked_org")
def _(stage: Stage) -> Expected:
    org = stage.org()
    ids = [stage.owner(org).id, stage.member(org, status=Status.SUSPENDED).id]
    sql(stage, "UPDATE org SET status = 'revoked' WHERE id = :id", id=org.id)
    return {"membership_in_revoked_org": ids}


@breach("membership_in_revoked_org", "without its tuple")
def _(stage: Stage) -> Expected:
    org = stage.org()
    sql(stage, "DELETE FROM tup WHERE object_id = :id", id=org.id)
    sql(stage, "UPDATE org SET status = 'revoked' WHERE id = :id", id=org.id)
    return {"membership_in_revoked_org": [stage.owner(org).id]}


@breach("invitation_in_revoked_org")
def _(stage: Stage) -> Expected:
    org = stage.org()
    invitation = stage.invitation(org)
    stage.tenancy.revoke_org(org.id)
    undo = "UPDATE inv SET status = 'pending', terminal_at = NULL WHERE id = :id"
    sql(stage, undo, id=invitation.id)
    return {"invitation_in_revoked_org": [invitation.id]}


@breach("tuple_in_revoked_org")
def _(stage: Stage) -> Expected:
    left = write_tuple(stage, stage.user(), "auditor", stage.org(Status.REVOKED).id)
    return {"tuple_in_revoked_org": [left]}


@breach("broken_chain", "of another user")
def _(stage: Stage) -> Expected:
    new = successor(stage)
    sql(stage, "UPDATE mem SET usr_id = :usr WHERE id = :id", usr=stage.user(), id=new.replaces)
    return {"broken_chain": [new.id]}


@breach("broken_chain", "of another organization")
def _(stage: Stage) -> Expected:
    new = successor(stage)
    sql(stage, "UPDATE mem SET org_id = :org WHERE id = :id", org=stage.org().id, id=new.replaces)
    return {"broken_chain": [new.id]}


@breach("replaced_not_revoked")
def _(stage: Stage) -> Expected:
    new = successor(stage)
    sql(stage, "UPDATE mem SET status = 'suspended' WHERE id = :id", id=new.replaces)
    return {"replaced_not_revoked": [new.id]}


@breach("forked_chain")
def _(stage: Stage) -> Expected:
    new = successor(stage)
    sql(stage, "DROP INDEX mem_replaces_unique")
    fork = write_membership(stage, new, replaces=bare(str(new.replaces)))
    return {"missing_index": ["index mem_replaces_unique of mem"], "forked_chain": [new.id, fork]}


@breach("chain_out_of_order", "at the same time")
def _(stage: Stage) -> Expected:
    new = successor(stage)
    sql(stage, "UPDATE mem SET created_at = :then WHERE id = :id", then=stage.clock.now, id=new.id)
    return {"chain_out_of_order": [new.id]}


@breach("chain_out_of_order", "in a circle")
def _(stage: Stage) -> Expected:
    left = stage.member(stage.org(), status=Status.REVOKED)
    sql(stage, "UPDATE mem SET replaces = id WHERE id = :id", id=left.id)
    return {"chain_out_of_order": [left.id]}


@breach("chain_lost_inviter")
def _(stage: Stage) -> Expected:
    new = successor(stage)
    sql(stage, "UPDATE mem SET invited_by = usr_id WHERE id = :id", id=new.id)
    return {"chain_lost_inviter": [new.id]}


@breach("overdue_invitation")
def _(stage: Stage) -> Expected:
    invitation = stage.invitation(stage.org())
    stage.clock.now += DAY + TICK
    return {"overdue_invitation": [invitation.id]}


@breach("duplicate_invitation")
def _(stage: Stage) -> Expected:
    org = stage.org()
    stage.invitation(org, status=InvitationStatus.DECLINED)
    return {"duplicate_invitation": [stage.invitation(org).id, stage.invitation(org).id]}


def promise(stage: Stage, pre_tuples: str) -> str:
    """Return the wire id of an invitation with pre-tuples as another program wrote them."""
    invitation = stage.invitation(stage.org())
    write = "UPDATE inv SET pre_tuples = CAST(:json AS jsonb) WHERE id = :id"
    sql(stage, write, json=pre_tuples, id=invitation.id)
    return invitation.id


@breach("malformed_pre_tuple")
def _(stage: Stage) -> Expected:
    return {"malformed_pre_tuple": [promise(stage, '[{"relation": "editor"}]')]}


@breach("pre_tuple_org_role")
def _(stage: Stage) -> Expected:
    org = bare(stage.org().id)
    grant = f'{{"relation": "owner", "objectType": "org", "objectId": "{org}"}}'
    return {"pre_tuple_org_role": [promise(stage, f"[{grant}]")]}


@breach("terminal_fields", "accepted by nobody")
def _(stage: Stage) -> Expected:
    invitation = stage.invitation(stage.org(), status=InvitationStatus.ACCEPTED)
    sql(stage, "UPDATE inv SET terminal_by = NULL WHERE id = :id", id=invitation.id)
    return {"terminal_fields": [invitation.id]}


@breach("terminal_fields", "ended without a time")
def _(stage: Stage) -> Expected:
    invitation = stage.invitation(stage.org(), status=InvitationStatus.DECLINED)
    sql(stage, "ALTER TABLE inv DROP CONSTRAINT inv_check")
    sql(stage, "UPDATE inv SET terminal_at = NULL WHERE id = :id", id=invitation.id)
    return {
        "missing_constraint": ["constraint inv_check of inv"],
        "terminal_fields": [invitation.id],
    }


@breach("terminal_fields", "ended by somebody while it is pending")
def _(stage: Stage) -> Expected:
    invitation = stage.invitation(stage.org())
    sql(stage, "UPDATE inv SET terminal_by = invited_by WHERE id = :id", id=invitation.id)
    return {"terminal_fields": [invitation.id]}


@breach("terminal_fields", "removed and active")
def _(stage: Stage) -> Expected:
    membership = stage.member(stage.org())
    sql(stage, "UPDATE mem SET removed_by = usr_id WHERE id = :id", id=membership.id)
    return {"terminal_fields": [membership.id]}


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


every_breach = pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES.keys())
