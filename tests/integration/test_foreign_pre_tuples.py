"""Pre-tuples that another Flametrench SDK wrote into the shared table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    PreconditionError,
    PreTuple,
    Status,
    TenancyRepository,
)
from tests.support.sql import bare, grants_of, insert
from tests.support.stage import DAY, IDENTIFIER, NOW, Stage

PROJECT = "0190f2a8-1b3c-7abc-8123-456789abcdef"
CAMEL = {"relation": "editor", "objectType": "proj", "objectId": PROJECT}
SNAKE = {"relation": "editor", "object_type": "proj", "object_id": PROJECT}
WIRE_ID = "proj_0190f2a81b3c7abc8123456789abcdef"


def _written_elsewhere(stage: Stage, pre_tuples: Any) -> Invitation:
    """Return an invitation whose pre-tuples another program wrote."""
    invitation = stage.invitation(stage.org())
    stage.session.execute(
        text("UPDATE inv SET pre_tuples = CAST(:value AS jsonb) WHERE id = CAST(:id AS uuid)"),
        {"value": json.dumps(pre_tuples), "id": bare(invitation.id)},
    )
    stage.session.expire(invitation)
    return invitation


@pytest.mark.parametrize(
    "written",
    [
        [CAMEL],
        [SNAKE],
        [CAMEL, SNAKE],
        [CAMEL | {"objectId": WIRE_ID}],
        [CAMEL | {"objectId": WIRE_ID.removeprefix("proj_")}],
        [CAMEL | {"objectId": PROJECT.upper()}],
    ],
    ids=["camelCase", "snake_case", "both", "wire id", "bare hex", "uppercase"],
)
def test_either_spelling_and_every_form_of_an_id_is_accepted(
    written: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = _written_elsewhere(stage, written)
    grant = PreTuple("editor", "proj", PROJECT)
    assert tenancy.get_invitation(invitation.id).pre_tuples == [grant] * len(written)
    accepted = tenancy.accept_invitation(invitation.id)
    (granted,) = accepted.materialized_tuples
    assert (granted.relation, granted.object_id) == ("editor", PROJECT)
    inviter = bare(invitation.invited_by)
    assert grants_of(stage.session, accepted.membership.usr_id) == {
        ("member", "org", bare(invitation.org_id), inviter),
        ("editor", "proj", PROJECT, inviter),
    }


def test_a_whole_row_of_another_program_is_an_invitation_like_any_other(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    insert(
        stage.session,
        "inv",
        id=PROJECT,
        org_id=bare(org.id),
        identifier=IDENTIFIER,
        role="viewer",
        pre_tuples=json.dumps([CAMEL]),
        invited_by=bare(stage.owner(org).usr_id),
        created_at=NOW,
        expires_at=NOW + DAY,
    )
    (invitation,) = tenancy.list_invitations(org.id).data
    assert invitation.id == "inv_" + PROJECT.replace("-", "")
    accepted = tenancy.accept_invitation(invitation.id)
    assert [t.object_id for t in accepted.materialized_tuples] == [PROJECT]


MALFORMED: list[Any] = [
    [CAMEL | {"relation": "Editor"}],
    [CAMEL | {"relation": "e"}],
    [CAMEL | {"relation": None}],
    [CAMEL | {"objectType": "project"}],
    [CAMEL | {"objectType": 7}],
    [CAMEL | {"objectId": "7"}],
    [CAMEL | {"objectId": None}],
    [CAMEL | {"objectId": WIRE_ID.replace("proj", "doc")}],
    [{"relation": "editor", "objectType": "proj"}],
    [{}],
    ["editor"],
    [None],
    [[SNAKE]],
    SNAKE | {"relation": ""},
    "nonsense",
    [SNAKE, CAMEL | {"objectId": "7"}],
]


@pytest.mark.parametrize("written", MALFORMED, ids=str)
def test_a_malformed_one_can_be_read_but_not_accepted(
    written: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = _written_elsewhere(stage, written)
    assert tenancy.get_invitation(invitation.id).pre_tuples
    assert tenancy.list_invitations(invitation.org_id).data == [invitation]
    with stage.refuses(PreconditionError, "pre_tuple_format", parameter="pre_tuples"):
        tenancy.accept_invitation(invitation.id)
    assert tenancy.decline_invitation(invitation.id) is invitation


def test_json_null_promises_nothing(stage: Stage, tenancy: TenancyRepository) -> None:
    invitation = _written_elsewhere(stage, None)
    assert tenancy.get_invitation(invitation.id).pre_tuples == []
    assert tenancy.accept_invitation(invitation.id).materialized_tuples == []


@pytest.mark.parametrize("relation", ["owner", "admin", "member", "guest", "viewer", "editor"])
def test_one_that_grants_a_role_without_a_membership_is_not_accepted(
    relation: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    other = stage.org()
    grant = {"relation": relation, "objectType": "org", "objectId": other.id}
    invitation = _written_elsewhere(stage, [grant])
    assert tenancy.get_invitation(invitation.id).pre_tuples == [PreTuple(relation, "org", other.id)]
    with stage.refuses(PreconditionError, "pre_tuple_org_role", parameter="pre_tuples"):
        tenancy.accept_invitation(invitation.id)


def test_a_suspended_member_is_refused_for_that_first(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = _written_elsewhere(stage, ["nonsense"])
    org = tenancy.get_org(invitation.org_id)
    suspended = stage.member(org, status=Status.SUSPENDED)
    with stage.refuses(PreconditionError, "mem_suspended"):
        tenancy.accept_invitation(
            invitation.id, as_usr_id=suspended.usr_id, accepting_identifier=IDENTIFIER
        )
