"""Memberships, their tuples and their history, broken."""

from __future__ import annotations

from flametrench_tenancy_sqlalchemy import Membership, Role, Status, new_id
from tests.support.seeding import Breaches, Expected, sql, write_membership, write_tuple
from tests.support.sql import bare
from tests.support.stage import Stage

breach = Breaches()


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
