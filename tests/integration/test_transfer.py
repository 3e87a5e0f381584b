"""transfer_ownership on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flametrench_tenancy_sqlalchemy import (
    NotFoundError,
    PreconditionError,
    Role,
    Status,
    TenancyRepository,
    new_id,
)
from tests.support.sql import bare, grants_on, stored
from tests.support.stage import DAY, NOW, TICK, Stage

LATER = NOW + DAY
INACTIVE = [Status.SUSPENDED, Status.REVOKED]


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_the_donor_becomes_member_and_the_target_owner(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org, inviter = stage.org(), stage.user()
    donor = stage.owner(org)
    target = tenancy.add_member(org.id, stage.user(), role, invited_by=inviter)
    rows = {m.id: stored(stage.session, "mem", m.id) for m in (donor, target)}
    stage.clock.now = LATER
    result = tenancy.transfer_ownership(org.id, donor.id, target.id)
    revoked = {"status": "revoked", "removed_by": None, "updated_at": LATER}
    for old, new, new_role in (
        (donor, result.from_membership, "member"),
        (target, result.to_membership, "owner"),
    ):
        assert stored(stage.session, "mem", old.id) == rows[old.id] | revoked
        assert stored(stage.session, "mem", new.id) == rows[old.id] | {
            "id": bare(new.id),
            "role": new_role,
            "replaces": bare(old.id),
            "created_at": LATER,
            "updated_at": LATER,
        }
    assert result.to_membership.invited_by == inviter
    assert grants_on(stage.session, org.id) == {
        (bare(donor.usr_id), "member", None),
        (bare(target.usr_id), "owner", None),
    }


def test_a_target_who_is_owner_already_stays_as_they_are(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    donor, target = stage.owner(org), stage.member(org, Role.OWNER)
    row = stored(stage.session, "mem", target.id)
    stage.clock.now = LATER
    result = tenancy.transfer_ownership(org.id, donor.id, target.id)
    assert result.to_membership is target
    assert stored(stage.session, "mem", target.id) == row
    assert grants_on(stage.session, org.id) == {
        (bare(donor.usr_id), "member", None),
        (bare(target.usr_id), "owner", None),
    }


def test_history_reads_in_order_even_when_the_clock_stands_still(
    stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    donor, target = stage.owner(org), stage.member(org)
    result = tenancy.transfer_ownership(org.id, donor.id, target.id)
    for old, new in ((donor, result.from_membership), (target, result.to_membership)):
        assert stored(stage.session, "mem", old.id)["updated_at"] == NOW
        assert stored(stage.session, "mem", new.id)["created_at"] == NOW + TICK


@pytest.mark.parametrize("parameter", ["org_id", "from_mem_id", "to_mem_id"])
@pytest.mark.parametrize("status", Status)
def test_what_is_not_there_is_not_found(
    status: Status, parameter: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    arguments = {
        "org_id": org.id,
        "from_mem_id": stage.member(org, Role.OWNER, status).id,
        "to_mem_id": stage.member(org, status=status).id,
    }
    unknown = new_id(arguments[parameter][:3])
    with stage.refuses(NotFoundError, parameter=parameter, id=unknown):
        tenancy.transfer_ownership(**arguments | {parameter: unknown})


Arguments = tuple[str, str, str]


@pytest.mark.parametrize("status", INACTIVE)
def test_a_donor_who_is_not_active_is_refused_before_such_a_target(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    donor = stage.member(org, Role.OWNER, status)
    for target in (stage.member(org), stage.member(org, status=status)):
        with stage.refuses(PreconditionError, "from_not_active", mem_id=donor.id, status=status):
            tenancy.transfer_ownership(org.id, donor.id, target.id)


@pytest.mark.parametrize("status", INACTIVE)
def test_a_target_who_is_not_active_is_refused_before_one_from_elsewhere(
    status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    donor = stage.owner(org)
    for place in (org, stage.org()):
        target = stage.member(place, status=status)
        with stage.refuses(PreconditionError, "to_not_active", mem_id=target.id, status=status):
            tenancy.transfer_ownership(org.id, donor.id, target.id)


def _target_elsewhere(stage: Stage) -> Arguments:
    org = stage.org()
    return org.id, stage.owner(org).id, stage.member(stage.org()).id


def _donor_elsewhere(stage: Stage) -> Arguments:
    org = stage.org()
    return org.id, stage.owner(stage.org()).id, stage.member(org).id


def _both_elsewhere(stage: Stage) -> Arguments:
    org = stage.org()
    return stage.org().id, stage.owner(org).id, stage.member(org).id


def _donor_no_owner_and_elsewhere(stage: Stage) -> Arguments:
    org = stage.org()
    return org.id, stage.member(stage.org()).id, stage.member(org).id


@pytest.mark.parametrize(
    "arrange",
    [_target_elsewhere, _donor_elsewhere, _both_elsewhere, _donor_no_owner_and_elsewhere],
)
def test_both_must_be_in_the_organization_before_the_donors_role_matters(
    arrange: Callable[[Stage], Arguments], stage: Stage, tenancy: TenancyRepository
) -> None:
    arguments = arrange(stage)
    with stage.refuses(PreconditionError, "org_mismatch", org_id=arguments[0]):
        tenancy.transfer_ownership(*arguments)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_a_donor_who_is_no_owner_is_refused_even_as_their_own_target(
    role: Role, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    donor = stage.member(org, role)
    for target in (stage.member(org), donor):
        with stage.refuses(PreconditionError, "from_not_owner", mem_id=donor.id):
            tenancy.transfer_ownership(org.id, donor.id, target.id)


def test_an_owner_does_not_transfer_to_themselves(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    stage.member(org, Role.OWNER)
    owner = stage.owner(org)
    with stage.refuses(PreconditionError, "self_transfer", usr_id=owner.usr_id):
        tenancy.transfer_ownership(org.id, owner.id, owner.id)
