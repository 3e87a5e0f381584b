"""Accepting an invitation: a membership, its tuples and the invitation's end at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flametrench_tenancy_sqlalchemy import (
    AcceptInvitationResult,
    Invitation,
    InvitationStatus,
    PreconditionError,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.counting import sent
from tests.support.sql import bare, fact, insert
from tests.support.stage import DAY, IDENTIFIER, NOW, Stage, mem, role_of, tup
from tests.support.statements import struck

LATER = NOW + DAY
"""The last moment to accept."""

PROJECT = "0190f2a8-1b3c-7abc-8123-456789abcdef"
CAMEL: dict[str, Any] = {"relation": "editor", "objectType": "proj", "objectId": PROJECT}
SNAKE: dict[str, Any] = {"relation": "editor", "object_type": "proj", "object_id": PROJECT}
HEX = PROJECT.replace("-", "")


def accept_as(
    tenancy: TenancyRepository, invitation: Invitation, usr_id: str | None
) -> AcceptInvitationResult:
    identifier = IDENTIFIER if usr_id else None
    return tenancy.accept_invitation(
        invitation.id, as_usr_id=usr_id, accepting_identifier=identifier
    )


@pytest.mark.parametrize("time", [NOW, LATER], ids=["at once", "at the last moment"])
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("who", ["a new user", "a user", "a former member", "suspended elsewhere"])
def test_accepting_writes_membership_tuples_and_end(
    who: str, role: Role, time: datetime, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    invitation = stage.invitation(org, PreTuple("editor", "proj", PROJECT), role=role)
    inviter = invitation.invited_by
    users: dict[str, Callable[[], str | None]] = {
        "a new user": lambda: None,
        "a user": stage.user,
        "a former member": lambda: stage.member(org, Role.ADMIN, Status.REVOKED).usr_id,
        "suspended elsewhere": lambda: stage.member(stage.org(), status=Status.SUSPENDED).usr_id,
    }
    usr_id = users[who]()
    stage.clock.now = time
    with stage.writes() as written:
        accepted = accept_as(tenancy, invitation, usr_id)
    membership = accepted.membership
    new_user = {"status": "active", "display_name": None, "created_at": time, "updated_at": time}
    user = membership.usr_id
    assert written == {
        **({user: new_user} if usr_id is None else {}),
        membership.id: mem(usr_id or user, org.id, role, time, invited_by=inviter),
        role_of(membership, role): tup(inviter, time),
        fact(user, "editor", f"proj_{HEX}"): tup(inviter, time),
        invitation.id: {
            "status": "accepted",
            "invited_user_id": user,
            "terminal_at": time,
            "terminal_by": user,
        },
    }
    assert accepted.invitation is invitation
    assert (invitation.status, membership.role) == (InvitationStatus.ACCEPTED, role)
    (granted,) = accepted.materialized_tuples
    assert (granted.subject_type, granted.subject_id) == ("usr", user)
    assert (granted.relation, granted.object_type) == ("editor", "proj")
    assert (granted.object_id, granted.created_by) == (PROJECT, inviter)


def test_each_distinct_pre_tuple_becomes_one_tuple_in_its_order(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org, first, second = stage.org(), new_uuid(), new_uuid()
    invitation = stage.invitation(
        org,
        PreTuple("viewer", "proj", str(second)),
        PreTuple("editor", "proj", str(first)),
        PreTuple("viewer", "doc", str(first)),
        PreTuple("editor", "proj", first.hex),
        PreTuple("editor", "proj", f"proj_{first.hex}"),
        PreTuple("editor", "proj", str(first).upper()),
        PreTuple("billing", "org", org.id),
        PreTuple("billing", "org", bare(org.id)),
    )
    with stage.writes() as written:
        accepted = tenancy.accept_invitation(invitation.id)
    reported = [(t.relation, t.object_type, t.object_id) for t in accepted.materialized_tuples]
    assert reported == [
        ("viewer", "proj", str(second)),
        ("editor", "proj", str(first)),
        ("viewer", "doc", str(first)),
        ("billing", "org", org.id),
    ]
    objects = [f"proj_{second.hex}", f"proj_{first.hex}", f"doc_{first.hex}", org.id]
    user = accepted.membership.usr_id
    facts = {fact(user, r[0], object_) for r, object_ in zip(reported, objects, strict=True)}
    assert facts | {role_of(accepted.membership)} == {key for key in written if " " in key}


@pytest.mark.parametrize("number", [1, 99])
def test_tuples_that_exist_already_are_kept_and_still_reported(
    number: int, stage: Stage, tenancy: TenancyRepository
) -> None:
    usr_id = stage.user()
    kept = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(number)]
    new = PreTuple("editor", "proj", PROJECT)
    before = accept_as(tenancy, stage.invitation(stage.org(), *kept), usr_id).materialized_tuples
    invitation = stage.invitation(stage.org(), *kept, new)
    stage.clock.now = LATER
    with stage.writes() as written, sent(stage.session) as statements:
        accepted = accept_as(tenancy, invitation, usr_id)
    reported = accepted.materialized_tuples
    assert [t.id for t in reported[:-1]] == [t.id for t in before]
    assert (reported[-1].object_id, reported[-1].created_by) == (PROJECT, invitation.invited_by)
    added = {key for key in written if key.startswith(usr_id)}
    assert added == {role_of(accepted.membership), fact(usr_id, "editor", f"proj_{HEX}")}
    # However many there are, they are found by arrays.
    assert max(len(statement.parameters) for statement in statements) < 50


@pytest.mark.sees_all
def test_a_tuple_that_another_client_deletes_meanwhile_is_written_after_all(
    clean_engine: Engine,
) -> None:
    other = create_engine(clean_engine.url, poolclass=NullPool)

    def delete(_: Connection) -> None:
        with suppress(OperationalError), other.begin() as client:  # if locked, it will be kept
            client.execute(text("SET LOCAL lock_timeout = '100ms'"))
            client.execute(text("DELETE FROM tup WHERE object_type = 'proj'"))

    grant, at, fell, present = PreTuple("editor", "proj", PROJECT), 0, True, []
    while fell:
        with Session(clean_engine) as session:
            stage = Stage(session)
            usr_id = stage.user()
            accept_as(stage.tenancy, stage.invitation(stage.org(), grant), usr_id)
            invitation = stage.invitation(stage.org(), grant)
            session.commit()
            at += 1
            with struck(session.connection(), at, before=delete) as strike:
                (reported,) = accept_as(stage.tenancy, invitation, usr_id).materialized_tuples
            session.commit()
            if (fell := strike.fell) and " tup" in strike.statements[at - 1]:
                present = stage.tenancy.list_tuples_for_object("proj", PROJECT)
                assert [t.id for t in present] == [reported.id]
            delete(session.connection())
    assert present


def written_elsewhere(stage: Stage, pre_tuples: Any) -> Invitation:
    """Return an invitation of a viewer's that another program wrote, pre-tuples and all."""
    org, id_ = stage.org(), str(new_uuid())
    insert(
        stage.session,
        "inv",
        id=id_,
        org_id=bare(org.id),
        identifier=IDENTIFIER,
        role="viewer",
        pre_tuples=json.dumps(pre_tuples),
        invited_by=bare(stage.owner(org).usr_id),
        created_at=NOW,
        expires_at=NOW + DAY,
    )
    (invitation,) = stage.tenancy.list_invitations(org.id).data
    assert bare(invitation.id) == id_
    return invitation


@pytest.mark.parametrize(
    "written",
    [
        None,
        [CAMEL],
        [SNAKE],
        [CAMEL, SNAKE],
        [CAMEL | {"objectId": f"proj_{HEX}"}],
        [CAMEL | {"objectId": HEX}],
        [CAMEL | {"objectId": PROJECT.upper()}],
    ],
    ids=str,
)
def test_pre_tuples_of_other_programs_are_accepted_in_either_spelling_and_every_form_of_id(
    written: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = written_elsewhere(stage, written)
    granted = [("editor", PROJECT)] if written else []
    assert invitation.pre_tuples == [PreTuple("editor", "proj", PROJECT)] * len(written or [])
    accepted = tenancy.accept_invitation(invitation.id)
    assert [(t.relation, t.object_id) for t in accepted.materialized_tuples] == granted


MALFORMED: list[Any] = [
    *([CAMEL | {"relation": relation}] for relation in ("Editor", "e", None)),
    *([CAMEL | {"objectType": type_}] for type_ in ("project", 7)),
    *([CAMEL | {"objectId": id_}] for id_ in ("7", None, f"doc_{HEX}")),
    [{"relation": "editor", "objectType": "proj"}],
    *([{}], ["editor"], [None], [[SNAKE]]),
    SNAKE | {"relation": ""},
    "nonsense",
    [SNAKE, CAMEL | {"objectId": "7"}],
]


@pytest.mark.parametrize("written", MALFORMED, ids=str)
def test_malformed_pre_tuples_can_be_read_and_declined_but_not_accepted(
    written: Any, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = written_elsewhere(stage, written)
    assert invitation.pre_tuples
    with stage.refuses(PreconditionError, "pre_tuple_format", parameter="pre_tuples"):
        tenancy.accept_invitation(invitation.id)
    assert tenancy.decline_invitation(invitation.id) is invitation
