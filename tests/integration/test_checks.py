"""Every writing operation's checks in the contract's order: the first that fails decides."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any, TypeAlias

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import (
    AlreadyTerminalError,
    DuplicateMembershipError,
    ForbiddenError,
    IdentifierBindingRequiredError,
    IdentifierMismatchError,
    InvitationExpiredError,
    InvitationNotPendingError,
    InvitationStatus,
    NotFoundError,
    Organization,
    OrgSlugConflictError,
    PreconditionError,
    PreTuple,
    Role,
    RoleHierarchyError,
    SoleOwnerError,
    Status,
    TenancyError,
    new_id,
)
from tests.support.calls import CALLS, Arguments, call
from tests.support.sql import bare
from tests.support.stage import DAY, IDENTIFIER, NOW, TICK, Stage

Spoil: TypeAlias = Callable[[Stage, Arguments], Mapping[str, object] | None]
"""Spoils an argument or the scene, and says what the error is to tell besides."""


@dataclass(frozen=True)
class Check:
    """One check of an operation, and ways to fail it; details name arguments of the call."""

    error: type[TenancyError]
    spoils: tuple[Spoil, ...]
    reason: str | None
    details: dict[str, str]


def check(
    error: type[TenancyError], *spoils: Spoil, reason: str | None = None, **details: str
) -> Check:
    return Check(error, spoils, reason, details)


def requires(reason: str, *spoils: Spoil, **details: str) -> Check:
    return Check(PreconditionError, spoils, reason, details)


def known(parameter: str) -> Check:
    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        a[parameter] = new_id(a[parameter][:3])
        return {"parameter": parameter, "id": a[parameter]}

    return check(NotFoundError, spoil)


def given(**arguments: Any) -> Spoil:
    return lambda _, a: a.update(arguments)


def without(*parameters: str) -> Spoil:
    def spoil(stage: Stage, a: Arguments) -> None:
        for parameter in parameters:
            a.pop(parameter, None)

    return spoil


def each(*spoils: Spoil) -> Spoil:
    """Spoil several things; what the last one says is to be told."""
    return lambda stage, a: [spoil(stage, a) for spoil in spoils][-1]


def org_of(stage: Stage, a: Arguments) -> Organization:
    if "org_id" in a:
        return stage.tenancy.get_org(a["org_id"])
    if "inv_id" in a:
        return stage.tenancy.get_invitation(a["inv_id"]).organization
    return stage.tenancy.get_membership(a["mem_id"]).organization


def org_is(status: Status) -> Spoil:
    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        org = org_of(stage, a)
        stage.set_status(org, status)
        return {"org_id": org.id, "status": status}

    return spoil


def reinstated(stage: Stage, a: Arguments) -> Mapping[str, object]:
    org = stage.tenancy.reinstate_org(a["org_id"])
    return {"org_id": org.id, "status": Status.ACTIVE}


def slug_taken_by(status: Status) -> Spoil:
    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        stage.org(status, slug="taken")
        a["slug"] = "taken"
        return {"slug": "taken"}

    return spoil


def member_is(status: Status, parameter: str = "mem_id") -> Spoil:
    """Suspend or revoke a membership, beside another owner's if need be."""

    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        membership = stage.tenancy.get_membership(a[parameter])
        if membership.is_active_owner:
            stage.member(membership.organization, Role.OWNER)
        if status is Status.SUSPENDED:
            stage.tenancy.suspend_membership(membership.id)
        elif membership.status is Status.ACTIVE:
            stage.tenancy.self_leave(membership.id)
        else:
            owner = stage.owner(membership.organization)
            stage.tenancy.admin_remove(membership.id, owner.usr_id)
        return {"mem_id": membership.id, "status": status}

    return spoil


def member_gone_with_org(stage: Stage, a: Arguments) -> Mapping[str, object]:
    membership = stage.tenancy.get_membership(a["mem_id"])
    stage.tenancy.revoke_org(membership.org_id)
    return {"mem_id": membership.id, "status": Status.REVOKED}


def target(role: Role, status: Status = Status.ACTIVE, *, by: Role | None = None) -> Spoil:
    """Aim at another member of the same organization, with another administrator."""

    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        org = org_of(stage, a)
        a["mem_id"] = stage.member(org, role, status).id
        if by:
            a["admin_usr_id"] = stage.member(org, by).usr_id
        return {"mem_id": a["mem_id"]}

    return spoil


def last_owner(**arguments: object) -> Spoil:
    """Aim at an owner beside whom there are all kinds of others, but no active owner."""

    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        org = org_of(stage, a)
        stage.member(org, Role.OWNER, Status.SUSPENDED)
        stage.member(org, Role.OWNER, Status.REVOKED)
        stage.member(org, Role.ADMIN)
        stage.member(stage.org(), Role.OWNER)
        a |= {"mem_id": stage.owner(org).id, **arguments}
        return {"mem_id": a["mem_id"], "org_id": org.id}

    return spoil


def member_already(stage: Stage, a: Arguments) -> Mapping[str, object]:
    org, usr_id = org_of(stage, a), a.get("usr_id") or a.get("as_usr_id")
    usr_id = usr_id or stage.tenancy.get_membership(a["mem_id"]).usr_id
    stage.member(org, Role.GUEST, usr_id=usr_id)
    return {"usr_id": usr_id, "org_id": org.id}


def suspended_already(stage: Stage, a: Arguments) -> Mapping[str, object]:
    membership = stage.member(org_of(stage, a), status=Status.SUSPENDED, usr_id=a["as_usr_id"])
    return {"mem_id": membership.id}


def heir(status: Status, *, elsewhere: bool = False) -> Spoil:
    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        org = org_of(stage, a)
        a["transfer_to"] = stage.member(stage.org() if elsewhere else org, status=status).usr_id
        return {"parameter": "transfer_to", "id": a["transfer_to"], "org_id": org.id}

    return spoil


def heir_is_leaver(stage: Stage, a: Arguments) -> None:
    a["transfer_to"] = stage.tenancy.get_membership(a["mem_id"]).usr_id


def actor(role: Role, status: Status = Status.ACTIVE, *, elsewhere: bool = False) -> Spoil:
    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        org = org_of(stage, a)
        a["admin_usr_id"] = stage.member(stage.org() if elsewhere else org, role, status).usr_id
        return {"usr_id": a["admin_usr_id"], "org_id": org.id}

    return spoil


UNAUTHORIZED = check(
    ForbiddenError,
    actor(Role.ADMIN, elsewhere=True),
    actor(Role.ADMIN, Status.REVOKED),
    actor(Role.ADMIN, Status.SUSPENDED),
    actor(Role.OWNER, Status.SUSPENDED),
    *(actor(role) for role in Role if role not in (Role.OWNER, Role.ADMIN)),
    lambda _, a: a.update(admin_usr_id=new_id("usr")),
)


def ended(status: InvitationStatus, *parameters: str) -> Spoil:
    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        stage.end(stage.tenancy.get_invitation(a["inv_id"]), status)
        without(*parameters)(stage, a)
        return {"inv_id": a["inv_id"], "status": status}

    return spoil


def overdue(stage: Stage, a: Arguments) -> None:
    stage.clock.now = stage.tenancy.get_invitation(a["inv_id"]).expires_at + TICK


PENDING = check(
    InvitationNotPendingError,
    ended(InvitationStatus.DECLINED, "as_usr_id", "accepting_identifier"),
    *(ended(status) for status in InvitationStatus if status is not InvitationStatus.PENDING),
    inv_id="inv_id",
)
IN_TIME = check(
    InvitationExpiredError,
    overdue,
    each(overdue, without("as_usr_id", "accepting_identifier")),
    inv_id="inv_id",
)


def identifiers(invited: str, accepting: str) -> Spoil:
    """Accept another invitation, to the one identifier with the other."""

    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        org, inviter = org_of(stage, a), stage.user()
        made = stage.tenancy.create_invitation(org.id, invited, "guest", inviter, NOW + DAY)
        a |= {"inv_id": made.id, "accepting_identifier": accepting}
        return {"accepting_identifier": accepting, "invitation_identifier": invited}

    return spoil


COMPOSED = "josé@example.com"
OTHERS = ["", COMPOSED.upper(), f" {COMPOSED}", f"{COMPOSED}\n", f"{COMPOSED}\x00", IDENTIFIER]


def promised(pre_tuples: str) -> Spoil:
    """Let another program have written the invitation's pre-tuples."""

    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        query = "UPDATE inv SET pre_tuples = CAST(:p AS jsonb) WHERE id = CAST(:id AS uuid)"
        stage.session.execute(text(query), {"p": pre_tuples, "id": bare(a["inv_id"])})
        stage.session.expire(stage.tenancy.get_invitation(a["inv_id"]))
        return {"parameter": "pre_tuples"}

    return spoil


def promising(*grant: str) -> Spoil:
    return lambda _, a: a.update(pre_tuples=[PreTuple(*grant), *a["pre_tuples"]])


def donor(role: Role, *, elsewhere: bool = False, and_target: bool = False) -> Spoil:
    def spoil(stage: Stage, a: Arguments) -> Mapping[str, object]:
        org = stage.org() if elsewhere else org_of(stage, a)
        a["from_mem_id"] = stage.member(org, role).id
        if and_target:
            a["to_mem_id"] = a["from_mem_id"]
        return {} if elsewhere else {"mem_id": a["from_mem_id"]}

    return spoil


def target_elsewhere(status: Status = Status.ACTIVE) -> Spoil:
    def spoil(stage: Stage, a: Arguments) -> None:
        a["to_mem_id"] = stage.member(stage.org(), status=status).id

    return spoil


def both_elsewhere(stage: Stage, a: Arguments) -> None:
    a["org_id"] = stage.org().id


def to_themself(stage: Stage, a: Arguments) -> Mapping[str, object]:
    owner = stage.member(org_of(stage, a), Role.OWNER)
    a |= {"from_mem_id": owner.id, "to_mem_id": owner.id}
    return {"usr_id": owner.usr_id}


NO_LONGER = (Status.SUSPENDED, Status.REVOKED)
OTHER_ROLES = [role for role in Role if role is not Role.OWNER]
ORG_ACTIVE = requires("org_not_active", *(org_is(status) for status in NO_LONGER))
MEMBER_ACTIVE = requires(
    "mem_not_active", member_gone_with_org, *(member_is(status) for status in NO_LONGER)
)
SLUG = requires("org_slug_format", given(slug="Not A Slug"))
SLUG_FREE = check(OrgSlugConflictError, *(slug_taken_by(status) for status in Status))
MEMBERSHIP = '[{"relation": "%s", "objectType": "org", "objectId": "%s"}]'
BAD_EXPIRY = (given(expires_at=datetime(2020, 1, 1)), given(expires_at=NOW))  # noqa: DTZ001 - the fault

CHECKS: dict[str, list[Check]] = {
    "create_org": [SLUG, known("creator"), SLUG_FREE],
    "update_org": [
        known("org_id"),
        check(AlreadyTerminalError, org_is(Status.REVOKED)),
        SLUG,
        SLUG_FREE,
    ],
    "suspend_org": [
        known("org_id"),
        check(AlreadyTerminalError, *(org_is(status) for status in NO_LONGER)),
    ],
    "reinstate_org": [
        known("org_id"),
        requires("invalid_transition", reinstated, org_is(Status.REVOKED)),
    ],
    "revoke_org": [known("org_id"), check(AlreadyTerminalError, org_is(Status.REVOKED))],
    "add_member": [
        known("org_id"),
        ORG_ACTIVE,
        known("usr_id"),
        known("invited_by"),
        check(DuplicateMembershipError, member_already),
    ],
    "change_role": [
        known("mem_id"),
        requires(
            "mem_not_active",
            *MEMBER_ACTIVE.spoils,
            each(member_is(Status.REVOKED), given(new_role=Role.MEMBER)),
        ),
        check(SoleOwnerError, *(last_owner(new_role=role) for role in OTHER_ROLES)),
    ],
    "suspend_membership": [known("mem_id"), MEMBER_ACTIVE, check(SoleOwnerError, last_owner())],
    "reinstate_membership": [
        known("mem_id"),
        requires(
            "invalid_transition",
            member_is(Status.REVOKED),
            member_gone_with_org,
            target(Role.MEMBER),
            each(
                target(Role.MEMBER), org_is(Status.SUSPENDED), lambda s, a: {"mem_id": a["mem_id"]}
            ),
        ),
        requires("org_not_active", org_is(Status.SUSPENDED)),
        check(DuplicateMembershipError, member_already),
    ],
    "self_leave": [
        known("mem_id"),
        MEMBER_ACTIVE,
        check(SoleOwnerError, last_owner(transfer_to=None)),
        requires("self_transfer", heir_is_leaver),
        check(
            NotFoundError,
            *(heir(status) for status in NO_LONGER),
            heir(Status.ACTIVE, elsewhere=True),
            *known("transfer_to").spoils,
        ),
    ],
    "admin_remove": [
        known("mem_id"),
        requires("mem_not_active", member_is(Status.REVOKED), member_gone_with_org),
        UNAUTHORIZED,
        check(
            RoleHierarchyError,
            target(Role.OWNER),
            target(Role.OWNER, by=Role.ADMIN),
            target(Role.OWNER, Status.SUSPENDED),
            lambda s, a: a.update(mem_id=s.owner(org_of(s, a)).id),  # oneself
        ),
        requires(
            "scope_mismatch",
            *(
                target(role, by=by)
                for role in (Role.VIEWER, Role.EDITOR)
                for by in (Role.OWNER, Role.ADMIN)
            ),
        ),
    ],
    "transfer_ownership": [
        known("org_id"),
        known("from_mem_id"),
        known("to_mem_id"),
        requires("from_not_active", *(member_is(status, "from_mem_id") for status in NO_LONGER)),
        requires(
            "to_not_active",
            target_elsewhere(Status.SUSPENDED),
            *(member_is(status, "to_mem_id") for status in NO_LONGER),
        ),
        requires(
            "org_mismatch",
            target_elsewhere(),
            donor(Role.OWNER, elsewhere=True),
            donor(Role.MEMBER, elsewhere=True),
            both_elsewhere,
            org_id="org_id",
        ),
        requires(
            "from_not_owner",
            *(donor(role) for role in OTHER_ROLES),
            donor(Role.ADMIN, and_target=True),
        ),
        requires("self_transfer", to_themself),
    ],
    "create_invitation": [
        known("org_id"),
        ORG_ACTIVE,
        requires("identifier_format", given(identifier="")),
        requires("naive_expiration", BAD_EXPIRY[0]),
        requires("past_expiration", BAD_EXPIRY[1]),
        requires("pre_tuple_format", promising("editor", "proj", "7")),
        requires("pre_tuple_org_role", promising("owner", "org", new_id("org"))),
        known("invited_by"),
    ],
    "accept_invitation": [
        known("inv_id"),
        PENDING,
        IN_TIME,
        check(
            IdentifierBindingRequiredError,
            without("accepting_identifier"),
            reason="identifier_binding_required",
        ),
        check(
            IdentifierMismatchError,
            given(accepting_identifier="somebody.else@example.com"),
            *(identifiers(COMPOSED, other) for other in OTHERS),
            identifiers(COMPOSED, unicodedata.normalize("NFD", COMPOSED)),
            reason="identifier_mismatch",
            accepting_identifier="accepting_identifier",
        ),
        known("as_usr_id"),
        requires(
            "org_not_active",
            org_is(Status.SUSPENDED),
            each(without("as_usr_id", "accepting_identifier"), org_is(Status.SUSPENDED)),
        ),
        check(DuplicateMembershipError, member_already),
        requires("mem_suspended", suspended_already),
        requires(
            "pre_tuple_format",
            promised('["nonsense"]'),
            promised('[{"relation": "editor", "objectType": "proj"}]'),
        ),
        requires(
            "pre_tuple_org_role",
            *(promised(MEMBERSHIP % (role, new_id("org"))) for role in Role),
        ),
    ],
    "decline_invitation": [known("inv_id"), PENDING, IN_TIME, known("as_usr_id")],
    "revoke_invitation": [known("inv_id"), PENDING, IN_TIME, UNAUTHORIZED],
}


@pytest.mark.parametrize(
    "operation, failing, spoil",
    [
        pytest.param(name, one, spoil, id=f"{name}-{one.reason or one.error.__name__}")
        for name, checks in CHECKS.items()
        for one in checks
        for spoil in one.spoils
    ],
)
def test_what_is_not_allowed_is_refused_with_its_reason_and_leaves_no_trace(
    operation: str, failing: Check, spoil: Spoil, stage: Stage
) -> None:
    arguments = CALLS[operation](stage)
    told = spoil(stage, arguments) or {}
    named = {name: arguments[argument] for name, argument in failing.details.items()}
    with stage.refuses(failing.error, failing.reason, **{**named, **told}):
        call(stage.tenancy, operation, arguments)


@pytest.mark.parametrize(
    "operation, first, second",
    [
        pytest.param(
            name, *pair, id="-".join([name, *(c.reason or c.error.__name__ for c in pair)])
        )
        for name, checks in CHECKS.items()
        for pair in combinations(checks, 2)
    ],
)
def test_of_two_checks_that_fail_the_earlier_one_decides(
    operation: str, first: Check, second: Check, stage: Stage
) -> None:
    arguments = CALLS[operation](stage)
    for failing in (second, first):
        failing.spoils[0](stage, arguments)
    with stage.refuses(first.error, first.reason):
        call(stage.tenancy, operation, arguments)
