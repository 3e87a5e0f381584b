"""Users who lose what entitles them while their request waits are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    ActingTenancy,
    InvitationRequest,
    Role,
    TenancyRepository,
)
from tests.support.races import (
    DONE,
    LEVELS,
    READ_COMMITTED,
    SERIALIZATION_FAILURE,
    Act,
    Ending,
    Races,
    heard,
)
from tests.support.scenes import Scene

FORBIDDEN: Final = "forbidden"
NOT_FOUND: Final = "not_found"
NOT_ACTIVE: Final = "precondition.org_not_active"


class Request(NamedTuple):
    """What an acting user asks for.

    Attributes:
        name: the operation.
        who: the acting user, who may.
        call: the operation with its arguments.
        demoted: what they are told if they are a plain member by then.
    """

    name: str
    who: str
    call: Callable[[ActingTenancy, Scene], Any]
    demoted: str = FORBIDDEN

    def __str__(self) -> str:
        return self.name

    def on(self, scene: Scene) -> Act:
        """Return the request as an act in somebody's Session."""

        def act(session: Session) -> None:
            outcome = self.call(TenancyRepository(session).acting_as(scene[self.who]), scene)
            for each in outcome if isinstance(outcome, list) else ():
                each.unwrap()

        return act


REQUESTS: Final = [
    Request("update_org", "cyd", lambda a, s: a.update_org(s["acme"], name="Acme")),
    Request("add_member", "cyd", lambda a, s: a.add_member(s["acme"], s["liz"], Role.GUEST)),
    Request("add_members", "cyd", lambda a, s: a.add_members(s["acme"], [(s["liz"], Role.GUEST)])),
    Request("change_role", "cyd", lambda a, s: a.change_role(s["eve@acme"], Role.ADMIN)),
    Request("change_roles", "cyd", lambda a, s: a.change_roles({s["eve@acme"]: Role.ADMIN})),
    Request("suspend_membership", "cyd", lambda a, s: a.suspend_membership(s["eve@acme"])),
    Request("reinstate_membership", "cyd", lambda a, s: a.reinstate_membership(s["sam@acme"])),
    Request("admin_remove", "cyd", lambda a, s: a.admin_remove(s["eve@acme"])),
    Request("remove_members", "cyd", lambda a, s: a.remove_members([s["eve@acme"]])),
    Request(
        "create_invitation",
        "cyd",
        lambda a, s: a.create_invitation(s["acme"], "new@example.com", Role.GUEST, s.expires_at),
    ),
    Request(
        "create_invitations",
        "cyd",
        lambda a, s: a.create_invitations(
            s["acme"],
            [InvitationRequest("new@example.com", Role.GUEST, expires_at=s.expires_at)],
        ),
    ),
    Request(
        *("renew_invitation", "cyd"),
        lambda a, s: a.renew_invitation(s["first@acme"], s.expires_at),
        demoted=NOT_FOUND,
    ),
    Request(
        *("revoke_invitation", "cyd"),
        lambda a, s: a.revoke_invitation(s["first@acme"]),
        demoted=NOT_FOUND,
    ),
    Request("suspend_org", "bob", lambda a, s: a.suspend_org(s["acme"])),
    Request("revoke_org", "bob", lambda a, s: a.revoke_org(s["acme"])),
    Request(
        "transfer_ownership", "bob", lambda a, s: a.transfer_ownership(s["acme"], s["eve@acme"])
    ),
]


def _change(call: Callable[[TenancyRepository, Scene, str], object]) -> Callable[..., Act]:
    return lambda scene, mem_id: lambda session: call(TenancyRepository(session), scene, mem_id)


# What happens meanwhile, and how the request ends; nothing is told of how it would if demoted.
CHANGES: Final = {
    "demoted": (_change(lambda t, s, mem_id: t.change_role(mem_id, Role.MEMBER)), None),
    "suspended": (_change(lambda t, s, mem_id: t.suspend_membership(mem_id)), NOT_FOUND),
    "left": (_change(lambda t, s, mem_id: t.self_leave(mem_id)), NOT_FOUND),
    "in a suspended organization": (
        _change(lambda t, s, mem_id: t.suspend_org(s["acme"])),
        NOT_ACTIVE,
    ),
    "in an ended organization": (_change(lambda t, s, mem_id: t.revoke_org(s["acme"])), NOT_FOUND),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
@pytest.mark.parametrize("by_flush", [False, True], ids=["by statement", "by flush"])
def test_who_may_not_any_more_when_it_is_their_turn_is_refused(
    request_: Request,
    change: str,
    level: str,
    *,
    by_flush: bool,
    races: Callable[[str], Races],
    scene: Scene,
) -> None:
    happens, told = CHANGES[change]
    first = happens(scene, scene[f"{request_.who}@acme"])
    second = heard(request_.on(scene), by_flush)
    if change == "in a suspended organization" and request_.name == "revoke_org":
        told = DONE  # by an owner
    if level != READ_COMMITTED:
        told = SERIALIZATION_FAILURE
    ending = races(level).against(first, second)
    assert ending == Ending(DONE, told or request_.demoted, waited=True)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_who_is_none_the_less_for_what_was_abandoned_may(
    request_: Request, level: str, races: Callable[[str], Races], scene: Scene
) -> None:
    happens, _ = CHANGES["demoted"]
    first = happens(scene, scene[f"{request_.who}@acme"])
    ending = races(level).against(first, request_.on(scene), commit=False)
    assert ending == Ending(DONE, DONE, waited=True)


@pytest.mark.parametrize("name", ["add_member", "create_invitation", "renew_invitation"])
def test_users_who_let_others_join_do_not_wait_for_each_other(
    name: str, races: Callable[[str], Races], scene: Scene
) -> None:
    (request_,) = (each for each in REQUESTS if each.name == name)
    other = REQUESTS[1]._replace(call=lambda a, s: a.add_member(s["acme"], s["max"], Role.GUEST))
    ending = races(READ_COMMITTED).against(request_.on(scene), other.on(scene))
    assert ending == Ending(DONE, DONE, waited=False)
