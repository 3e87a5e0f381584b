"""Every operation that writes, each with a stage to run it on.

An `Operation` is staged on a Session, and so becomes a call that can be made on any repository or
store of the same database, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias, cast

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    Organization,
    PreTuple,
    Role,
    TenancyRepository,
    TenancyStore,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.calls import CALLS, Arguments, call
from tests.support.stage import DAY, IDENTIFIER, Stage

Tenancy: TypeAlias = TenancyRepository | TenancyStore
Call: TypeAlias = Callable[[Tenancy], object]
Arrangement: TypeAlias = Callable[[Stage], Arguments]


@dataclass(frozen=True)
class Operation:
    """One operation in one of its courses."""

    name: str
    course: str = ""
    arrangement: Arrangement | None = None

    def __str__(self) -> str:
        return f"{self.name}({self.course})"

    def stage(self, session: Session) -> Call:
        """Arrange what the operation needs, and return the call."""
        stage = Stage(session, datetime.now(UTC))
        arguments = (self.arrangement or CALLS[self.name])(stage)
        return lambda tenancy: call(cast("TenancyRepository", tenancy), self.name, arguments)


def owner_of(session: Session, org: Organization) -> str:
    """Return the wire id of the user who owns an organization."""
    return Stage(session).owner(org).usr_id


def make_invitation(
    session: Session, org: Organization, *, grants: int = 0, ago: timedelta = timedelta(0)
) -> Invitation:
    """Make an invitation that is good for a day, counted from some time ago."""
    return Stage(session, datetime.now(UTC) - ago).invitation(org, *_grants(grants))


def _grants(number: int) -> list[PreTuple]:
    return [PreTuple("editor", "proj", str(new_uuid())) for _ in range(number)]


def _full_organization(stage: Stage) -> Arguments:
    org = stage.org()
    stage.member(org)
    stage.tenancy.suspend_membership(stage.member(org).id)
    stage.invitation(org)
    return {"org_id": org.id}


def _owner_beside_another(stage: Stage) -> Arguments:
    return {"mem_id": stage.member(stage.org(), Role.OWNER).id, "new_role": Role.GUEST}


def _invitation(stage: Stage) -> Arguments:
    return {"inv_id": stage.invitation(stage.org(), *_grants(2)).id}


def _invitation_and_user(stage: Stage) -> Arguments:
    return _invitation(stage) | {"as_usr_id": stage.user(), "accepting_identifier": IDENTIFIER}


def _invitation_of_what_the_user_has(stage: Stage) -> Arguments:
    who = {"as_usr_id": stage.user(), "accepting_identifier": IDENTIFIER}
    grants = _grants(3)
    stage.tenancy.accept_invitation(stage.invitation(stage.org(), *grants[:2]).id, **who)
    return who | {"inv_id": stage.invitation(stage.org(), *grants).id}


def _overdue(stage: Stage) -> Arguments:
    for days in (2, 3):
        make_invitation(stage.session, stage.org(), ago=days * DAY)
    return {}


OPERATIONS: Final = [
    *map(Operation, ("create_org", "update_org", "suspend_org", "reinstate_org")),
    Operation("revoke_org", arrangement=_full_organization),
    *map(Operation, ("add_member", "change_role")),
    Operation("change_role", "of an owner", _owner_beside_another),
    *map(Operation, ("suspend_membership", "reinstate_membership")),
    Operation("self_leave", arrangement=CALLS["get_membership"]),
    Operation("self_leave", "of the last owner"),
    *map(Operation, ("admin_remove", "transfer_ownership")),
    Operation(
        "create_invitation",
        arrangement=lambda stage: CALLS["create_invitation"](stage) | {"pre_tuples": _grants(1)},
    ),
    Operation("accept_invitation", "by a new user", _invitation),
    Operation("accept_invitation", "by a user", _invitation_and_user),
    Operation(
        *("accept_invitation", "by a user who has some of its grants"),
        _invitation_of_what_the_user_has,
    ),
    *map(Operation, ("decline_invitation", "revoke_invitation", "renew_invitation")),
    *map(Operation, ("erase_identifier", "offboard_user")),
    Operation("expire_invitations", arrangement=_overdue),
    *map(Operation, ("add_members", "create_invitations", "change_roles", "remove_members")),
]

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)

# One of each shape: an addition, a rotation, two of them, grants, all that there is, a set.
_SHAPES = (
    *("create_org()", "change_role(of an owner)", "transfer_ownership()"),
    *("revoke_org()", "add_members()"),
    "accept_invitation(by a user who has some of its grants)",
)
representative = pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if str(each) in _SHAPES], ids=str
)
