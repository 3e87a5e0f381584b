"""Invitations, and what an ended row says of its end, broken."""

from __future__ import annotations

from flametrench_tenancy_sqlalchemy import InvitationStatus
from tests.support.seeding import Breaches, Expected, sql
from tests.support.sql import bare
from tests.support.stage import DAY, TICK, Stage

breach = Breaches()


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
