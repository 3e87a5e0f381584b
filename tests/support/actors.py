"""Users who may not remove members or withdraw invitations, each for a reason of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flametrench_tenancy_sqlalchemy import Organization, Role, Status, new_id
from tests.support.stage import Stage


def _nobody(stage: Stage, org: Organization) -> str:
    return new_id("usr")


def _administrator_elsewhere(stage: Stage, org: Organization) -> str:
    return stage.member(stage.org(), Role.ADMIN).usr_id


def _former_administrator(stage: Stage, org: Organization) -> str:
    return stage.member(org, Role.ADMIN, Status.REVOKED).usr_id


def _suspended_administrator(stage: Stage, org: Organization) -> str:
    return stage.member(org, Role.ADMIN, Status.SUSPENDED).usr_id


def _suspended_owner(stage: Stage, org: Organization) -> str:
    return stage.member(org, Role.OWNER, Status.SUSPENDED).usr_id


def _member_as(role: Role) -> Callable[[Stage, Organization], str]:
    return lambda stage, org: stage.member(org, role).usr_id


_UNAUTHORIZED: dict[str, Callable[[Stage, Organization], str]] = {
    "nobody": _nobody,
    "administrator elsewhere": _administrator_elsewhere,
    "former administrator": _former_administrator,
    "suspended administrator": _suspended_administrator,
    "suspended owner": _suspended_owner,
    **{role: _member_as(role) for role in Role if role not in (Role.OWNER, Role.ADMIN)},
}

every_unauthorized_actor = pytest.mark.parametrize(
    "actor", _UNAUTHORIZED.values(), ids=_UNAUTHORIZED
)
