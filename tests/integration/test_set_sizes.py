"""A set sends as many statements for ten thousand rows as for one, and nothing is lost in it."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, text

from flametrench_tenancy_sqlalchemy import InvitationRequest, PreTuple, Role, User, new_id
from tests.support.counting import sent
from tests.support.sql import bare
from tests.support.stage import DAY, NOW, Stage

SIZES = [1, 1_000, 10_000]


def users(stage: Stage, number: int) -> list[str]:
    """Register users."""
    ids = [new_id("usr") for _ in range(number)]
    stage.session.execute(insert(User), [{"id": id_} for id_ in ids])
    return ids


@pytest.mark.parametrize("size", SIZES)
def test_memberships_come_change_and_go_at_the_price_of_one(size: int, stage: Stage) -> None:
    org, tenancy = stage.org(), stage.tenancy
    owner = stage.owner(org).usr_id
    joining = [*users(stage, size), new_id("usr")]
    roles = [Role.MEMBER, Role.GUEST]

    with sent(stage.session) as seen:
        added = tenancy.add_members(
            org.id, [(usr_id, roles[at % 2]) for at, usr_id in enumerate(joining)], invited_by=owner
        )
        assert len(seen) == 4
        changed = tenancy.change_roles({o.unwrap().id: Role.ADMIN for o in added[:-1]})
        assert len(seen) == 4 + 6
        removed = tenancy.remove_members([o.unwrap().id for o in changed], owner)
        assert len(seen) == 4 + 6 + 5

    assert [o.ok for o in added] == [True] * size + [False]
    assert [o.unwrap().usr_id for o in added[:-1]] == joining[:-1]
    assert [o.unwrap().replaces for o in changed] == [o.unwrap().id for o in added[:-1]]
    assert [o.unwrap().replaces for o in removed] == [o.unwrap().id for o in added[:-1]]
    ended = text("SELECT count(*) FROM mem WHERE status = 'revoked' AND org_id = :org_id")
    assert stage.session.scalar(ended, {"org_id": bare(org.id)}) == 2 * size


@pytest.mark.parametrize("size", SIZES)
def test_invitations_are_created_at_the_price_of_one(size: int, stage: Stage) -> None:
    org = stage.org()
    grants = [PreTuple("editor", "proj", "0190f2a8-1b3c-7abc-8123-456789abcdef")]
    requests = [
        InvitationRequest(
            f"{at}@example.com", Role.MEMBER, expires_at=NOW + DAY, pre_tuples=grants[: at % 2]
        )
        for at in range(size)
    ]

    with sent(stage.session) as seen:
        created = stage.tenancy.create_invitations(org.id, requests, stage.owner(org).usr_id)
        assert len(seen) == 3 + 1  # the owner was looked up

    assert [o.unwrap().identifier for o in created] == [r.identifier for r in requests]
    accepted = stage.tenancy.accept_invitation(created[-1].unwrap().id)
    assert accepted.invitation.pre_tuples == list(requests[-1].pre_tuples)
