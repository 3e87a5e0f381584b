"""Every operation that writes, as steps that several callers take at once on one scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Final, TypeAlias
from unittest.mock import MagicMock

from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    InvitationRequest,
    Policy,
    PreTuple,
    Role,
    TenancyRepository,
    TenancyStore,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.policy import LETTER
from tests.support.races import Act
from tests.support.scenes import Scene

Call: TypeAlias = Callable[[TenancyRepository | TenancyStore, Scene], object]
Clock: TypeAlias = Callable[[Scene], datetime]


def _now(scene: Scene) -> datetime:
    return datetime.now(UTC)


def _when_invitations_are_overdue(scene: Scene) -> datetime:
    return scene.expires_at + timedelta(microseconds=1)


@dataclass(frozen=True)
class Step:
    """One operation, called on members of the cast."""

    name: str
    call: Call
    clock: Clock = _now

    @property
    def operation(self) -> str:
        """The method that is called."""
        return self.name.partition(" ")[0]

    @cached_property
    def touches(self) -> set[str]:
        """What the call names, and the organization of each; nothing means everything."""
        heard = _Heard()
        self.call(MagicMock(spec=TenancyRepository), Scene(heard, datetime.now(UTC)))
        return {part for name in heard for part in name.split("@")}

    def meets(self, other: Step) -> bool:
        """Tell whether the two may get into each other's way."""
        mine, its = self.touches, other.touches
        return not (mine and its) or bool(mine & its)

    def on(self, scene: Scene, policy: Policy = LETTER) -> Act:
        """Return the step as an act in somebody's Session."""

        def act(session: Session) -> None:
            clock = partial(self.clock, scene)
            self.call(TenancyRepository(session, clock=clock, policy=policy), scene)

        return act

    def __str__(self) -> str:
        return self.name


class _Heard(dict[str, str]):
    """The names that a call asks a scene for."""

    def __missing__(self, name: str) -> str:
        self[name] = name
        return name


STEPS: Final = [
    Step("create_org", lambda t, s: t.create_org(s["ann"], slug=s["slug"])),
    Step("update_org", lambda t, s: t.update_org(s["acme"], name="Acme", slug=s["slug"])),
    Step("update_org bolt", lambda t, s: t.update_org(s["bolt"], slug=s["slug"])),
    Step("suspend_org", lambda t, s: t.suspend_org(s["acme"])),
    Step("reinstate_org", lambda t, s: t.reinstate_org(s["acme"])),
    Step("revoke_org", lambda t, s: t.revoke_org(s["acme"])),
    Step(
        "add_member max",
        lambda t, s: t.add_member(s["acme"], s["max"], Role.MEMBER, invited_by=s["ann"]),
    ),
    Step("add_member liz", lambda t, s: t.add_member(s["acme"], s["liz"], Role.OWNER)),
    Step("add_member sam", lambda t, s: t.add_member(s["acme"], s["sam"], Role.GUEST)),
    Step("change_role ann", lambda t, s: t.change_role(s["ann@acme"], Role.MEMBER)),
    Step("change_role bob", lambda t, s: t.change_role(s["bob@acme"], Role.ADMIN)),
    Step("change_role cyd", lambda t, s: t.change_role(s["cyd@acme"], Role.MEMBER)),
    Step("change_role eve", lambda t, s: t.change_role(s["eve@acme"], Role.ADMIN)),
    Step("suspend_membership ann", lambda t, s: t.suspend_membership(s["ann@acme"])),
    Step("suspend_membership bob", lambda t, s: t.suspend_membership(s["bob@acme"])),
    Step("suspend_membership eve", lambda t, s: t.suspend_membership(s["eve@acme"])),
    Step("reinstate_membership sam", lambda t, s: t.reinstate_membership(s["sam@acme"])),
    Step("self_leave ann", lambda t, s: t.self_leave(s["ann@acme"])),
    Step(
        "self_leave ann for bob",
        lambda t, s: t.self_leave(s["ann@acme"], transfer_to=s["bob"]),
    ),
    Step("self_leave bob", lambda t, s: t.self_leave(s["bob@acme"])),
    Step("self_leave eve", lambda t, s: t.self_leave(s["eve@acme"])),
    Step("admin_remove eve by cyd", lambda t, s: t.admin_remove(s["eve@acme"], s["cyd"])),
    Step("admin_remove sam by bob", lambda t, s: t.admin_remove(s["sam@acme"], s["bob"])),
    Step("admin_remove cyd by dan", lambda t, s: t.admin_remove(s["cyd@acme"], s["dan"])),
    Step("admin_remove dan by cyd", lambda t, s: t.admin_remove(s["dan@acme"], s["cyd"])),
    Step(
        "transfer_ownership ann to bob",
        lambda t, s: t.transfer_ownership(s["acme"], s["ann@acme"], s["bob@acme"]),
    ),
    Step(
        "transfer_ownership bob to ann",
        lambda t, s: t.transfer_ownership(s["acme"], s["bob@acme"], s["ann@acme"]),
    ),
    Step(
        "transfer_ownership ann to eve",
        lambda t, s: t.transfer_ownership(s["acme"], s["ann@acme"], s["eve@acme"]),
    ),
    Step(
        "offboard_user ann for bob and eve",
        lambda t, s: t.offboard_user(s["ann"], heirs={s["acme"]: s["bob"], s["bolt"]: s["eve"]}),
    ),
    Step(
        "offboard_user eve",
        lambda t, s: t.offboard_user(s["eve"], heirs={s["acme"]: s["ann"], s["bolt"]: s["ann"]}),
    ),
    Step("offboard_user max", lambda t, s: t.offboard_user(s["max"])),
    Step(
        "create_invitation",
        lambda t, s: t.create_invitation(
            s["acme"],
            "new@example.com",
            Role.MEMBER,
            s["ann"],
            s.expires_at,
            pre_tuples=[PreTuple("viewer", "note", str(new_uuid()))],
        ),
    ),
    Step("accept_invitation by a new user", lambda t, s: t.accept_invitation(s["first@acme"])),
    Step(
        "accept_invitation by max",
        lambda t, s: t.accept_invitation(
            s["first@acme"], as_usr_id=s["max"], accepting_identifier=s.address
        ),
    ),
    Step(
        "accept_invitation by sam",
        lambda t, s: t.accept_invitation(
            s["first@acme"], as_usr_id=s["sam"], accepting_identifier=s.address
        ),
    ),
    Step(
        "accept_invitation second by max",
        lambda t, s: t.accept_invitation(
            s["second@acme"], as_usr_id=s["max"], accepting_identifier=s.address
        ),
    ),
    Step(
        "accept_invitation to bolt by max",
        lambda t, s: t.accept_invitation(
            s["other@bolt"], as_usr_id=s["max"], accepting_identifier=s.address
        ),
    ),
    Step(
        "decline_invitation",
        lambda t, s: t.decline_invitation(s["first@acme"], as_usr_id=s["max"]),
    ),
    Step(
        "renew_invitation",
        lambda t, s: t.renew_invitation(s["first@acme"], s.expires_at + timedelta(days=1)),
    ),
    Step("erase_identifier", lambda t, s: t.erase_identifier(s.address)),
    Step("revoke_invitation by cyd", lambda t, s: t.revoke_invitation(s["first@acme"], s["cyd"])),
    Step(
        "add_members max, liz, sam",
        lambda t, s: t.add_members(
            s["acme"], [(s[name], Role.MEMBER) for name in ("max", "liz", "sam")]
        ),
    ),
    Step(
        "add_members sam, liz, max or none",
        lambda t, s: t.add_members(
            s["acme"],
            [(s[name], Role.GUEST) for name in ("sam", "liz", "max")],
            invited_by=s["ann"],
            all_or_nothing=True,
        ),
    ),
    Step(
        "change_roles ann, eve, bob",
        lambda t, s: t.change_roles(
            {s["ann@acme"]: Role.MEMBER, s["eve@acme"]: Role.ADMIN, s["bob@acme"]: Role.GUEST}
        ),
    ),
    Step(
        "change_roles bob, cyd or none",
        lambda t, s: t.change_roles(
            {s["ann@bolt"]: Role.OWNER, s["bob@acme"]: Role.ADMIN, s["cyd@acme"]: Role.OWNER},
            all_or_nothing=True,
        ),
    ),
    Step(
        "remove_members eve, dan, sam by cyd",
        lambda t, s: t.remove_members(
            [s[f"{name}@acme"] for name in ("eve", "dan", "sam")], s["cyd"]
        ),
    ),
    Step(
        "remove_members sam, eve by ann or none",
        lambda t, s: t.remove_members(
            [s["eve@bolt"], s["sam@acme"], s["eve@acme"]], s["ann"], all_or_nothing=True
        ),
    ),
    Step(
        "create_invitations",
        lambda t, s: t.create_invitations(
            s["acme"],
            [
                InvitationRequest(f"{name}@example.com", Role.GUEST, expires_at=s.expires_at)
                for name in ("new", "newer")
            ],
            s["ann"],
        ),
    ),
    Step(
        "expire_invitations",
        lambda t, s: t.expire_invitations(limit=1_000_000),
        clock=_when_invitations_are_overdue,
    ),
]
"""All courses of all operations; what two of them name in common, they may fight about."""

RETRIED: Final = [
    Step(
        "create_org by its id",
        lambda t, s: t.create_org(s["ann"], slug=s["slug"], org_id=s["nova"]),
    ),
    Step(
        "create_invitation by its id",
        lambda t, s: t.create_invitation(
            *(s["acme"], "new@example.com", Role.MEMBER, s["ann"], s.expires_at),
            inv_id=s["fresh@acme"],
        ),
    ),
]
"""What a caller sends again who does not know whether the first one is still under way."""

BY_NAME: Final = {step.name: step for step in (*STEPS, *RETRIED)}
