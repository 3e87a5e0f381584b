"""Every writing operation's checks in the contract's order: the first that fails decides."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import combinations
from typing import Any, Concatenate, ParamSpec, TypeAlias

import pytest
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import (
    AlreadyTerminalError,
    DuplicateInvitationIdError,
    DuplicateMembershipError,
    DuplicateOrganizationError,
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

P = ParamSpec("P")
Told: TypeAlias = dict[str, object] | None
Spoil: TypeAlias = Callable[[Stage, Arguments], Told]
"""Spoils an argument or the scene, and says what the error is to tell besides."""


@dataclass(frozen=True)
class Check:
    """One check of an operation, and ways to fail it; details name arguments of the call."""

    error: type[TenancyError]
    spoils: tuple[Spoil, ...]
    reason: str | None
    details: dict[str, str]


def ways(spoil: Callable[Concatenate[Stage, Arguments, P], Told]) -> Callable[P, Spoil]:
    """Let a function spoil things in as many ways as it has further arguments."""
    return lambda *args, **kwargs: lambda stage, a: spoil(stage, a, *args, **kwargs)


def check(
    error: type[TenancyError], *spoils: Spoil, reason: str | None = None, **details: str
) -> Check:
    return Check(error, spoils, reason, details)


def requires(reason: str, *spoils: Spoil, **details: str) -> Check:
    return Check(PreconditionError, spoils, reason, details)


@ways
def unknown(stage: Stage, a: Arguments, parameter: str) -> Told:
    a[parameter] = new_id(a[parameter][:3])
    return {"parameter": parameter, "id": a[parameter]}


def known(parameter: str) -> Check:
    return check(NotFoundError, unknown(parameter))


def given(**arguments: Any) -> Spoil:
    return lambda _, a: a.update(arguments)


@ways
def without(stage: Stage, a: Arguments, *parameters: str) -> None:
    for parameter in parameters:
        a.pop(parameter, None)


def each(*spoils: Spoil) -> Spoil:
    """Spoil several things; what the last one says is to be told."""
    return lambda stage, a: [spoil(stage, a) for spoil in spoils][-1]


def org_of(stage: Stage, a: Arguments) -> Organization:
    if "org_id" in a:
        return stage.tenancy.get_org(a["org_id"])
    if "inv_id" in a:
        return stage.tenancy.get_invitation(a["inv_id"]).organization
    return stage.tenancy.get_membership(a["mem_id"]).organization


@ways
def org_is(stage: Stage, a: Arguments, status: Status) -> Told:
    org = org_of(stage, a)
    stage.set_status(org, status)
    return {"org_id": org.id, "status": status}


@ways
def slug_taken_by(stage: Stage, a: Arguments, status: Status) -> Told:
    stage.org(status, slug="taken")
    a["slug"] = "taken"
    return {"slug": "taken"}


@ways
def member_is(stage: Stage, a: Arguments, status: Status, parameter: str = "mem_id") -> Told:
    """Suspend or revoke a membership, beside another owner's if need be."""
    membership = stage.tenancy.get_membership(a[parameter])
    if membership.is_active_owner:
        stage.member(stage.tenancy.get_org(membership.org_id), Role.OWNER)
    if status is Status.SUSPENDED:
        stage.tenancy.suspend_membership(membership.id)
    elif membership.status is Status.ACTIVE:
        stage.tenancy.self_leave(membership.id)
    else:
        owner = stage.owner(membership.organization)
        stage.tenancy.admin_remove(membership.id, owner.usr_id)
    return {"mem_id": membership.id, "status": status}


def member_gone_with_org(stage: Stage, a: Arguments) -> Told:
    membership = stage.tenancy.get_membership(a["mem_id"])
    stage.tenancy.revoke_org(membership.org_id)
    return {"mem_id": membership.id, "status": Status.REVOKED}


@ways
def aim(
    stage: Stage,
    a: Arguments,
    parameter: str,
    role: Role = Role.MEMBER,
    status: Status = Status.ACTIVE,
    *,
    elsewhere: bool = False,
) -> Told:
    """Let an argument name another member, of the same organization or of another one."""
    org = org_of(stage, a)
    member = stage.member(stage.org() if elsewhere else org, role, status)
    a[parameter] = member.id if parameter.endswith("mem_id") else member.usr_id
    return {} if parameter.endswith("mem_id") else {"org_id": org.id}


@ways
def last_owner(stage: Stage, a: Arguments, /, **arguments: object) -> Told:
    """Aim at an owner beside whom there are all kinds of others, but no active owner."""
    org = org_of(stage, a)
    stage.member(org, Role.OWNER, Status.SUSPENDED)
    stage.member(org, Role.OWNER, Status.REVOKED)
    stage.member(org, Role.ADMIN)
    stage.member(stage.org(), Role.OWNER)
    a |= {"mem_id": stage.owner(org).id, **arguments}
    return {"mem_id": a["mem_id"], "org_id": org.id}


def member_already(stage: Stage, a: Arguments) -> Told:
    org, usr_id = org_of(stage, a), a.get("usr_id") or a.get("as_usr_id")
    usr_id = usr_id or stage.tenancy.get_membership(a["mem_id"]).usr_id
    stage.member(org, Role.GUEST, usr_id=usr_id)
    return {"usr_id": usr_id, "org_id": org.id}


UNAUTHORIZED = check(
    ForbiddenError,
    aim("admin_usr_id", Role.ADMIN, elsewhere=True),
    aim("admin_usr_id", Role.ADMIN, Status.REVOKED),
    aim("admin_usr_id", Role.ADMIN, Status.SUSPENDED),
    aim("admin_usr_id", Role.OWNER, Status.SUSPENDED),
    *(aim("admin_usr_id", role) for role in Role if role not in (Role.OWNER, Role.ADMIN)),
    lambda _, a: a.update(admin_usr_id=new_id("usr")),
    usr_id="admin_usr_id",
)


@ways
def ended(stage: Stage, a: Arguments, status: InvitationStatus, *parameters: str) -> Told:
    stage.end(stage.tenancy.get_invitation(a["inv_id"]), status)
    without(*parameters)(stage, a)
    return {"inv_id": a["inv_id"], "status": status}


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


@ways
def identifiers(stage: Stage, a: Arguments, invited: str, accepting: str) -> Told:
    """Accept another invitation, to the one identifier with the other."""
    org, inviter = org_of(stage, a), stage.user()
    made = stage.tenancy.create_invitation(org.id, invited, "guest", inviter, NOW + DAY)
    a |= {"inv_id": made.id, "accepting_identifier": accepting}
    return {"accepting_identifier": accepting, "invitation_identifier": invited}


COMPOSED = "josé@example.com"
OTHERS = ["", COMPOSED.upper(), f" {COMPOSED}", f"{COMPOSED}\n", f"{COMPOSED}\x00", IDENTIFIER]


@ways
def promised(stage: Stage, a: Arguments, pre_tuples: str) -> Told:
    """Let another program have written the invitation's pre-tuples."""
    query = "UPDATE inv SET pre_tuples = CAST(:p AS jsonb) WHERE id = CAST(:id AS uuid)"
    stage.session.execute(text("SET LOCAL ROLE NONE"))
    stage.session.execute(text(query), {"p": pre_tuples, "id": bare(a["inv_id"])})
    stage.session.execute(text("RESET ROLE"))
    stage.session.expire(stage.tenancy.get_invitation(a["inv_id"]))
    return {"parameter": "pre_tuples"}


def promising(*grant: str) -> Spoil:
    return lambda _, a: a.update(pre_tuples=[PreTuple(*grant), *a["pre_tuples"]])


def to_themself(stage: Stage, a: Arguments) -> Told:
    owner = stage.member(org_of(stage, a), Role.OWNER)
    a |= {"from_mem_id": owner.id, "to_mem_id": owner.id}
    return {"usr_id": owner.usr_id}


@ways
def taken(stage: Stage, a: Arguments, parameter: str) -> Told:
    org = stage.org()
    a[parameter] = org.id if parameter == "org_id" else stage.invitation(org).id
    return {parameter: a[parameter]}


@ways
def heir(stage: Stage, a: Arguments, choose: Callable[[Stage, str, str], str | None]) -> Told:
    """Name another heir, or none, in each organization that needs one."""
    a["heirs"] = {
        org_id: chosen
        for org_id in a["heirs"]
        if (chosen := choose(stage, org_id, a["usr_id"])) is not None
    }
    return {}


def no_heir(stage: Stage, a: Arguments) -> Told:
    """Leave an owner of two organizations without an heir in either."""
    other = stage.org()
    stage.member(other, Role.OWNER, Status.SUSPENDED)
    stage.tenancy.transfer_ownership(
        other.id, stage.owner(other).id, stage.member(other, usr_id=a["usr_id"]).id
    )
    orphaned = sorted([other.id, *a["heirs"]])
    a["heirs"] = None
    return {"org_ids": orphaned}


def member_of(stage: Stage, org_id: str, _usr_id: str, status: Status) -> str:
    return stage.member(stage.tenancy.get_org(org_id), Role.MEMBER, status).usr_id


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
    "create_org": [
        SLUG,
        known("creator"),
        SLUG_FREE,
        check(DuplicateOrganizationError, taken("org_id")),
    ],
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
        requires(
            "invalid_transition",
            lambda s, a: {"status": s.tenancy.reinstate_org(a["org_id"]).status},
            org_is(Status.REVOKED),
            org_id="org_id",
        ),
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
            aim("mem_id"),
            each(aim("mem_id"), org_is(Status.SUSPENDED), lambda s, a: {}),
            mem_id="mem_id",
        ),
        requires("org_not_active", org_is(Status.SUSPENDED)),
        check(DuplicateMembershipError, member_already),
    ],
    "self_leave": [
        known("mem_id"),
        MEMBER_ACTIVE,
        check(SoleOwnerError, last_owner(transfer_to=None)),
        requires(
            "self_transfer",
            lambda s, a: a.update(transfer_to=s.tenancy.get_membership(a["mem_id"]).usr_id),
        ),
        check(
            NotFoundError,
            *(aim("transfer_to", status=status) for status in NO_LONGER),
            aim("transfer_to", elsewhere=True),
            unknown("transfer_to"),
            id="transfer_to",
        ),
    ],
    "admin_remove": [
        known("mem_id"),
        requires("mem_not_active", member_is(Status.REVOKED), member_gone_with_org),
        UNAUTHORIZED,
        check(
            RoleHierarchyError,
            aim("mem_id", Role.OWNER),
            each(aim("admin_usr_id", Role.ADMIN), aim("mem_id", Role.OWNER)),
            aim("mem_id", Role.OWNER, Status.SUSPENDED),
            lambda s, a: a.update(mem_id=s.owner(org_of(s, a)).id),  # oneself
            mem_id="mem_id",
        ),
        requires(
            "scope_mismatch",
            *(
                each(aim("admin_usr_id", by), aim("mem_id", role))
                for role in (Role.VIEWER, Role.EDITOR)
                for by in (Role.OWNER, Role.ADMIN)
            ),
            mem_id="mem_id",
        ),
    ],
    "transfer_ownership": [
        # The contract does not say which of the three is missed first.
        check(NotFoundError, *map(unknown, ("org_id", "from_mem_id", "to_mem_id"))),
        requires("from_not_active", *(member_is(status, "from_mem_id") for status in NO_LONGER)),
        requires(
            "to_not_active",
            aim("to_mem_id", Role.MEMBER, Status.SUSPENDED, elsewhere=True),
            *(member_is(status, "to_mem_id") for status in NO_LONGER),
        ),
        requires(
            "org_mismatch",
            aim("to_mem_id", elsewhere=True),
            aim("from_mem_id", Role.OWNER, elsewhere=True),
            aim("from_mem_id", elsewhere=True),
            lambda s, a: a.update(org_id=s.org().id),
            org_id="org_id",
        ),
        requires(
            "from_not_owner",
            *(aim("from_mem_id", role) for role in OTHER_ROLES),
            each(aim("from_mem_id"), lambda _, a: a.update(to_mem_id=a["from_mem_id"])),
            mem_id="from_mem_id",
        ),
        requires("self_transfer", to_themself),
    ],
    "offboard_user": [
        known("usr_id"),
        check(SoleOwnerError, no_heir),
        requires("self_transfer", heir(lambda stage, org_id, usr_id: usr_id)),
        check(
            NotFoundError,
            *(heir(partial(member_of, status=status)) for status in NO_LONGER),
            heir(lambda stage, *_: stage.member(stage.org()).usr_id),
            heir(lambda *_: new_id("usr")),
        ),
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
        check(DuplicateInvitationIdError, taken("inv_id")),
    ],
    "renew_invitation": [
        known("inv_id"),
        PENDING,
        requires("org_not_active", org_is(Status.SUSPENDED)),
        requires("naive_expiration", BAD_EXPIRY[0]),
        requires("past_expiration", BAD_EXPIRY[1]),
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
        requires(
            "mem_suspended",
            lambda s, a: {
                "mem_id": s.member(org_of(s, a), status=Status.SUSPENDED, usr_id=a["as_usr_id"]).id
            },
        ),
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


def expect(stage: Stage, operation: str, first: Check, spoil: Spoil, *others: Check) -> None:
    """Expect an operation that fails several checks to tell of the first one, and of that all."""
    arguments = CALLS[operation](stage)
    for other in others:
        other.spoils[0](stage, arguments)
    told = spoil(stage, arguments) or {}
    named = {name: arguments[argument] for name, argument in first.details.items()}
    with stage.refuses(first.error, first.reason, **{**named, **told}):
        call(stage.tenancy, operation, arguments)


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
    expect(stage, operation, failing, spoil)


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
    expect(stage, operation, first, first.spoils[0], second)
