"""Every way in which a database can be broken behind the back of its schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import InvitationStatus, Membership, Role, Status, new_id
from tests.support.sql import bare, insert
from tests.support.stage import DAY, TICK, Stage

Expected: TypeAlias = dict[str, list[str]]
Seed: TypeAlias = Callable[[Stage], Expected]

BREACHES: Final[dict[str, Seed]] = {}
"""Ways to fail checks, by name.

A breach is seeded on a stage and says what the doctor must find then, and nothing else: the wire
ids of the rows, or the names of the parts of the schema, by check.
"""


def breach(check: str, course: str = "") -> Callable[[Seed], Seed]:
    """Register a way to fail a check, in one of its courses."""

    def register(seed: Seed) -> Seed:
        def behind_the_schema(stage: Stage) -> Expected:
            # With deferred triggers waiting, a table could not be altered.
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


def alter(stage: Stage, id_: str, change: str, **parameters: object) -> list[str]:
    """Change the row of a wire id, and return the id."""
    sql(stage, f"UPDATE {id_[:3]} SET {change} WHERE id = :id", id=id_, **parameters)
    return [id_]


def unconstrained(stage: Stage, table: str, constraint: str) -> Expected:
    """Drop a constraint, and return what the doctor says to that."""
    sql(stage, f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    return {"missing_constraint": [f"constraint {constraint} of {table}"]}


def write_tuple(stage: Stage, usr_id: str, relation: str, org_id: str) -> str:
    """Write a tuple about an organization, and return its wire id."""
    id_ = new_id("tup")
    ends = {"subject_type": "usr", "subject_id": bare(usr_id)}
    ends |= {"object_type": "org", "object_id": bare(org_id)}
    insert(stage.session, "tup", id=bare(id_), relation=relation, **ends)
    return id_


def write_membership(stage: Stage, like: Membership, **other: str) -> str:
    """Write a membership of the same user and organization, and return its wire id."""
    id_ = new_id("mem")
    ids = {"id": bare(id_), "usr_id": bare(like.usr_id), "org_id": bare(like.org_id)}
    values = {"role": "viewer", "status": "revoked"} | other | ids
    insert(stage.session, "mem", created_at=like.created_at + DAY, **values)
    return id_


def promise(stage: Stage, pre_tuples: str) -> str:
    """Return the wire id of an invitation with pre-tuples as another program wrote them."""
    invitation = stage.invitation(stage.org())
    [id_] = alter(stage, invitation.id, "pre_tuples = CAST(:json AS jsonb)", json=pre_tuples)
    return id_


def untupled(stage: Stage, membership: Membership) -> Membership:
    """Delete a membership's tuple."""
    sql(stage, "DELETE FROM tup WHERE subject_id = :usr", usr=membership.usr_id)
    return membership


def successor(stage: Stage) -> Membership:
    """Return a membership that replaces another one."""
    return stage.tenancy.change_role(stage.member(stage.org()).id, Role.ADMIN)


@breach("membership_without_tuple")
def _(stage: Stage) -> Expected:
    return {"membership_without_tuple": [untupled(stage, stage.member(stage.org())).id]}


@breach("membership_without_tuple", "the tuple has another role")
def _(stage: Stage) -> Expected:
    membership = untupled(stage, stage.member(stage.org()))
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
    alter(stage, untupled(stage, stage.owner(org)).id, "status = 'suspended'")
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
    alter(stage, org.id, "status = 'revoked'")
    return {"membership_in_revoked_org": ids}


@breach("membership_in_revoked_org", "without its tuple")
def _(stage: Stage) -> Expected:
    owner = untupled(stage, stage.owner(stage.org()))
    alter(stage, owner.org_id, "status = 'revoked'")
    return {"membership_in_revoked_org": [owner.id]}


@breach("tuple_in_revoked_org")
def _(stage: Stage) -> Expected:
    left = write_tuple(stage, stage.user(), "auditor", stage.org(Status.REVOKED).id)
    return {"tuple_in_revoked_org": [left]}


@breach("forked_chain")
def _(stage: Stage) -> Expected:
    new = successor(stage)
    sql(stage, "DROP INDEX mem_replaces_unique")
    fork = write_membership(stage, new, replaces=bare(str(new.replaces)))
    return {"missing_index": ["index mem_replaces_unique of mem"], "forked_chain": [new.id, fork]}


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


@breach("malformed_pre_tuple")
def _(stage: Stage) -> Expected:
    return {"malformed_pre_tuple": [promise(stage, '[{"relation": "editor"}]')]}


@breach("pre_tuple_org_role")
def _(stage: Stage) -> Expected:
    org = bare(stage.org().id)
    grant = f'{{"relation": "owner", "objectType": "org", "objectId": "{org}"}}'
    return {"pre_tuple_org_role": [promise(stage, f"[{grant}]")]}


@breach("unknown_status")
def _(stage: Stage) -> Expected:
    usr_id, membership = stage.user(), stage.member(stage.org(), status=Status.REVOKED)
    lax = [unconstrained(stage, table, f"{table}_status_check") for table in ("mem", "usr")]
    for id_ in (usr_id, membership.id):
        alter(stage, id_, "status = 'asleep'")
    missing = [part for one in lax for part in one["missing_constraint"]]
    return {"missing_constraint": missing, "unknown_status": [membership.id, usr_id]}


@breach("malformed_tuple")
def _(stage: Stage) -> Expected:
    lax = unconstrained(stage, "tup", "tup_relation_check")
    written = write_tuple(stage, stage.user(), "can edit", stage.org().id)
    return lax | {"malformed_tuple": [written]}


@breach("duplicate_slug")
def _(stage: Stage) -> Expected:
    orgs = [stage.org().id, stage.org().id]
    sql(stage, "DROP INDEX org_slug_unique")
    sql(stage, "UPDATE org SET slug = 'acme'")
    return {"missing_index": ["index org_slug_unique of org"], "duplicate_slug": orgs}


@breach("duplicate_tuple")
def _(stage: Stage) -> Expected:
    name = "tup_subject_type_subject_id_relation_object_type_object_id_key"
    lax, usr_id, org_id = unconstrained(stage, "tup", name), stage.user(), stage.org().id
    return lax | {
        "duplicate_tuple": [write_tuple(stage, usr_id, "auditor", org_id) for _ in range(2)]
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
    ids = [invitation.id, stage.owner(org).id, new.id]
    sql(stage, "DELETE FROM mem WHERE id = :id", id=new.replaces)
    sql(stage, "DELETE FROM org WHERE id = :id", id=org.id)
    return {"dangling_reference": ids}


def _of_row(check: str, course: str, find: Callable[[Stage], str], change: str, *lax: str) -> None:
    def seed(stage: Stage) -> Expected:
        id_ = find(stage)
        return {**(unconstrained(stage, *lax) if lax else {}), check: alter(stage, id_, change)}

    breach(check, course)(seed)


def _of_predecessor(check: str, course: str, change: str, other: Callable[[Stage], str]) -> None:
    def seed(stage: Stage) -> Expected:
        new = successor(stage)
        alter(stage, str(new.replaces), change, other=other(stage))
        return {check: [new.id]}

    breach(check, course)(seed)


def _invited(status: InvitationStatus) -> Callable[[Stage], str]:
    return lambda stage: stage.invitation(stage.org(), status=status).id


def _invited_and_revoked(stage: Stage) -> str:
    invitation = stage.invitation(stage.org())
    stage.tenancy.revoke_org(invitation.org_id)
    return invitation.id


def _member(stage: Stage, status: Status = Status.ACTIVE) -> str:
    return stage.member(stage.org(), status=status).id


_of_predecessor("broken_chain", "of another user", "usr_id = :other", Stage.user)
_of_predecessor("broken_chain", "of another organization", "org_id = :other", lambda s: s.org().id)
_of_predecessor("replaced_not_revoked", "", "status = :other", lambda _: "suspended")
_of_row(
    *("chain_out_of_order", "at the same time", lambda stage: successor(stage).id),
    "created_at = (SELECT p.created_at FROM mem AS p WHERE p.id = mem.replaces)",
)
_of_row(
    *("chain_out_of_order", "in a circle", lambda stage: _member(stage, Status.REVOKED)),
    "replaces = id",
)
_of_row("chain_lost_inviter", "", lambda stage: successor(stage).id, "invited_by = usr_id")
_of_row(
    *("invitation_in_revoked_org", "", _invited_and_revoked),
    "status = 'pending', terminal_at = NULL",
)
_of_row(
    *("terminal_fields", "accepted by nobody", _invited(InvitationStatus.ACCEPTED)),
    "terminal_by = NULL",
)
_of_row(
    *("terminal_fields", "ended without a time", _invited(InvitationStatus.DECLINED)),
    *("terminal_at = NULL", "inv", "inv_check"),
)
_of_row(
    *("terminal_fields", "ended and pending", _invited(InvitationStatus.PENDING)),
    "terminal_by = invited_by",
)
_of_row("terminal_fields", "removed and active", _member, "removed_by = usr_id")
_of_row(
    *("impossible_expiry", "", _invited(InvitationStatus.DECLINED)),
    *("expires_at = created_at", "inv", "inv_check1"),
)
_of_row(
    *("unknown_role", "", lambda stage: untupled(stage, stage.member(stage.org())).id),
    *("role = 'king'", "mem", "mem_role_check"),
)
_of_row(
    *("malformed_slug", "", lambda stage: stage.org().id),
    *("slug = 'No slug'", "org", "org_slug_format"),
)


def _of_schema(check: str, course: str, *parts: str, by: str) -> None:
    def seed(stage: Stage) -> Expected:
        for statement in by.split(";"):
            sql(stage, statement)
        return {check: list(parts)}

    breach(check, course)(seed)


_of_schema("missing_table", "", "table tup", by="DROP TABLE tup")
_of_schema("missing_column", "", "column name of org", by="ALTER TABLE org DROP COLUMN name")
_of_schema(
    *("missing_constraint", "a foreign key", "constraint mem_usr_id_fkey of mem"),
    by="ALTER TABLE mem DROP CONSTRAINT mem_usr_id_fkey",
)
_of_schema("missing_index", "", "index mem_org_idx of mem", by="DROP INDEX mem_org_idx")
_of_schema(
    *("missing_trigger", "", "trigger mem_touch of mem", "trigger tup_mem_duality of tup"),
    by="DROP TRIGGER mem_touch ON mem; DROP TRIGGER tup_mem_duality ON tup",
)
_of_schema(
    *("disabled_trigger", "", "trigger org_revoked_is_final of org"),
    by="ALTER TABLE org DISABLE TRIGGER org_revoked_is_final",
)
_of_schema(
    *("disabled_trigger", "but on a replica", "trigger org_touch of org"),
    by="ALTER TABLE org ENABLE REPLICA TRIGGER org_touch",
)
_of_schema(
    *("disabled_trigger", "of foreign keys", "constraint tup_created_by_fkey of tup"),
    *("trigger tup_keeps_rows of tup", "trigger tup_mem_duality of tup"),
    "trigger tup_mem_duality_gone of tup",
    by="ALTER TABLE tup DISABLE TRIGGER ALL",
)
for _course, _change in {
    "with the caller's rights": "ALTER FUNCTION {} SECURITY INVOKER",
    "on the caller's path": "ALTER FUNCTION {} RESET search_path",
    "anybody's": "GRANT EXECUTE ON FUNCTION {} TO PUBLIC",
}.items():
    _function = "flametrench_tenancy_enter()"
    _of_schema("insecure_function", _course, _function, by=_change.format(_function))
_of_schema(
    *("schema_difference", "an index over all rows"),
    "index mem_unique_active of mem: expected CREATE UNIQUE INDEX ON mem USING btree "
    "(usr_id, org_id) WHERE status = 'active'::text, found CREATE UNIQUE INDEX ON mem "
    "USING btree (usr_id, org_id)",
    by="DROP INDEX mem_unique_active;CREATE UNIQUE INDEX mem_unique_active ON mem (usr_id, org_id)",
)
_of_schema(
    *("schema_difference", "a column that may be empty"),
    "column expires_at of inv: expected timestamp with time zone NOT NULL, "
    "found timestamp with time zone",
    by="ALTER TABLE inv ALTER expires_at DROP NOT NULL",
)
