"""Every operation that writes, each with a stage to run it on.

An `Operation` is staged on a Session, and so becomes a call that can be made on any repository or
store of the same database, once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import pytest
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationRequest,
    Organization,
    PreTuple,
    Role,
    TenancyRepository,
    TenancyStore,
    Tuple,
)
from flametrench_tenancy_sqlalchemy.ids import new_id, new_uuid
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user

Tenancy: TypeAlias = TenancyRepository | TenancyStore
Call: TypeAlias = Callable[[Tenancy], object]
Staging: TypeAlias = Callable[[Session], Call]


@dataclass(frozen=True)
class Operation:
    """One operation in one of its courses."""

    name: str
    stage: Staging
    course: str = ""

    def __str__(self) -> str:
        return f"{self.name}({self.course})"


OPERATIONS: list[Operation] = []


def _operation(name: str, course: str = "") -> Callable[[Staging], Staging]:
    def register(stage: Staging) -> Staging:
        OPERATIONS.append(Operation(name, stage, course))
        return stage

    return register


def owner_of(session: Session, org: Organization) -> str:
    """Return the wire id of the user who owns an organization."""
    (owner,) = TenancyRepository(session).list_members(org.id, limit=1).data
    return owner.usr_id


def make_invitation(
    session: Session, org: Organization, *, grants: int = 0, ago: timedelta = timedelta(0)
) -> Invitation:
    """Make an invitation that is good for a day, counted from some time ago."""
    then = datetime.now(UTC) - ago
    return TenancyRepository(session, clock=lambda: then).create_invitation(
        org.id,
        "newbie@example.com",
        Role.MEMBER,
        owner_of(session, org),
        then + timedelta(days=1),
        pre_tuples=[PreTuple("editor", "proj", str(new_uuid())) for _ in range(grants)],
    )


@_operation("create_org")
def _create_org(session: Session) -> Call:
    creator, slug = make_user(session).id, f"acme-{secrets.token_hex(4)}"
    return lambda tenancy: tenancy.create_org(creator, name="Acme", slug=slug)


@_operation("update_org")
def _update_org(session: Session) -> Call:
    org_id, slug = make_org(session, name="Old").id, f"new-{secrets.token_hex(4)}"
    return lambda tenancy: tenancy.update_org(org_id, name="New", slug=slug)


@_operation("suspend_org")
def _suspend_org(session: Session) -> Call:
    org_id = make_org(session).id
    return lambda tenancy: tenancy.suspend_org(org_id)


@_operation("reinstate_org")
def _reinstate_org(session: Session) -> Call:
    org_id = TenancyRepository(session).suspend_org(make_org(session).id).id
    return lambda tenancy: tenancy.reinstate_org(org_id)


@_operation("revoke_org")
def _revoke_org(session: Session) -> Call:
    org = make_org(session)
    make_member(session, org)
    TenancyRepository(session).suspend_membership(make_member(session, org).id)
    make_invitation(session, org)
    org_id = org.id
    return lambda tenancy: tenancy.revoke_org(org_id)


@_operation("add_member")
def _add_member(session: Session) -> Call:
    org = make_org(session)
    org_id, usr_id, invited_by = org.id, make_user(session).id, owner_of(session, org)
    return lambda tenancy: tenancy.add_member(org_id, usr_id, Role.ADMIN, invited_by=invited_by)


@_operation("change_role")
def _change_role(session: Session) -> Call:
    mem_id = make_member(session, make_org(session)).id
    return lambda tenancy: tenancy.change_role(mem_id, Role.ADMIN)


@_operation("change_role", "of an owner")
def _change_role_of_owner(session: Session) -> Call:
    mem_id = make_member(session, make_org(session), role=Role.OWNER).id
    return lambda tenancy: tenancy.change_role(mem_id, Role.GUEST)


@_operation("suspend_membership")
def _suspend_membership(session: Session) -> Call:
    mem_id = make_member(session, make_org(session)).id
    return lambda tenancy: tenancy.suspend_membership(mem_id)


@_operation("reinstate_membership")
def _reinstate_membership(session: Session) -> Call:
    mem_id = make_member(session, make_org(session)).id
    TenancyRepository(session).suspend_membership(mem_id)
    return lambda tenancy: tenancy.reinstate_membership(mem_id)


@_operation("self_leave")
def _self_leave(session: Session) -> Call:
    mem_id = make_member(session, make_org(session)).id
    return lambda tenancy: tenancy.self_leave(mem_id)


@_operation("self_leave", "of the last owner")
def _self_leave_of_last_owner(session: Session) -> Call:
    org = make_org(session)
    (owner,) = TenancyRepository(session).list_members(org.id).data
    mem_id, heir = owner.id, make_member(session, org).usr_id
    return lambda tenancy: tenancy.self_leave(mem_id, transfer_to=heir)


@_operation("admin_remove")
def _admin_remove(session: Session) -> Call:
    org = make_org(session)
    mem_id, admin = make_member(session, org).id, owner_of(session, org)
    return lambda tenancy: tenancy.admin_remove(mem_id, admin)


@_operation("transfer_ownership")
def _transfer_ownership(session: Session) -> Call:
    org = make_org(session)
    (owner,) = TenancyRepository(session).list_members(org.id).data
    org_id, from_id, to_id = org.id, owner.id, make_member(session, org).id
    return lambda tenancy: tenancy.transfer_ownership(org_id, from_id, to_id)


@_operation("create_invitation")
def _create_invitation(session: Session) -> Call:
    org = make_org(session)
    org_id, inviter, expiry = org.id, owner_of(session, org), datetime.now(UTC) + timedelta(days=1)
    grants = [PreTuple("editor", "proj", str(new_uuid()))]
    return lambda tenancy: tenancy.create_invitation(
        org_id, "newbie@example.com", Role.GUEST, inviter, expiry, pre_tuples=grants
    )


@_operation("accept_invitation", "by a new user")
def _accept_invitation(session: Session) -> Call:
    inv_id = make_invitation(session, make_org(session), grants=2).id
    return lambda tenancy: tenancy.accept_invitation(inv_id)


@_operation("accept_invitation", "by a user")
def _accept_invitation_as(session: Session) -> Call:
    invitation = make_invitation(session, make_org(session), grants=2)
    inv_id, identifier, usr_id = invitation.id, invitation.identifier, make_user(session).id
    return lambda tenancy: tenancy.accept_invitation(
        inv_id, as_usr_id=usr_id, accepting_identifier=identifier
    )


@_operation("accept_invitation", "by a user who has some of its grants")
def _accept_invitation_with_kept(session: Session) -> Call:
    org, usr_id = make_org(session), make_user(session).id
    invitation = make_invitation(session, org, grants=3)
    inv_id, identifier = invitation.id, invitation.identifier
    for grant in invitation.grants[:2]:
        session.add(
            Tuple(
                id=new_id("tup"),
                subject_type="usr",
                subject_id=usr_id,
                relation=grant.relation,
                object_type=grant.object_type,
                object_id=grant.object_id,
                created_at=datetime.now(UTC),
            )
        )
    return lambda tenancy: tenancy.accept_invitation(
        inv_id, as_usr_id=usr_id, accepting_identifier=identifier
    )


@_operation("decline_invitation")
def _decline_invitation(session: Session) -> Call:
    inv_id, usr_id = make_invitation(session, make_org(session)).id, make_user(session).id
    return lambda tenancy: tenancy.decline_invitation(inv_id, as_usr_id=usr_id)


@_operation("revoke_invitation")
def _revoke_invitation(session: Session) -> Call:
    org = make_org(session)
    inv_id, admin = make_invitation(session, org).id, owner_of(session, org)
    return lambda tenancy: tenancy.revoke_invitation(inv_id, admin)


@_operation("expire_invitations")
def _expire_invitations(session: Session) -> Call:
    make_invitation(session, make_org(session), ago=timedelta(days=2))
    make_invitation(session, make_org(session), ago=timedelta(days=3))
    return lambda tenancy: tenancy.expire_invitations()


@_operation("add_members")
def _add_members(session: Session) -> Call:
    org = make_org(session)
    org_id, invited_by = org.id, owner_of(session, org)
    members = [(make_user(session).id, role) for role in (Role.OWNER, Role.VIEWER)]
    return lambda tenancy: tenancy.add_members(
        org_id, members, invited_by=invited_by, all_or_nothing=True
    )


@_operation("create_invitations")
def _create_invitations(session: Session) -> Call:
    org = make_org(session)
    org_id, inviter, expiry = org.id, owner_of(session, org), datetime.now(UTC) + timedelta(days=1)
    grants = [PreTuple("editor", "proj", str(new_uuid()))]
    requests = [
        InvitationRequest("newbie@example.com", Role.GUEST, expires_at=expiry, pre_tuples=grants),
        InvitationRequest("other@example.com", Role.MEMBER, expires_at=expiry),
    ]
    return lambda tenancy: tenancy.create_invitations(
        org_id, requests, inviter, all_or_nothing=True
    )


@_operation("change_roles")
def _change_roles(session: Session) -> Call:
    org = make_org(session)
    roles = {
        make_member(session, org, role=Role.OWNER).id: Role.GUEST,
        make_member(session, make_org(session)).id: Role.ADMIN,
    }
    return lambda tenancy: tenancy.change_roles(roles, all_or_nothing=True)


@_operation("remove_members")
def _remove_members(session: Session) -> Call:
    org = make_org(session)
    admin, members = owner_of(session, org), [make_member(session, org).id for _ in range(3)]
    TenancyRepository(session).suspend_membership(members[1])
    return lambda tenancy: tenancy.remove_members(members, admin, all_or_nothing=True)


every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)

# Of each shape one: an addition, a rotation, grants that are there, rows without number, a set.
_SHAPES = (
    *("create_org()", "change_role(of an owner)", "revoke_org()", "add_members()"),
    "accept_invitation(by a user who has some of its grants)",
)
representative = pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if str(each) in _SHAPES], ids=str
)
