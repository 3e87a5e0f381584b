"""Every operation of the repository with arguments that it accepts."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from inspect import signature
from typing import Any, Final, TypeAlias

from flametrench_tenancy_sqlalchemy import (
    ActingTenancy,
    InvitationRequest,
    InvitationStatus,
    NewMember,
    PreTuple,
    Role,
    Status,
    TenancyRepository,
    TenancyStore,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.stage import DAY, IDENTIFIER, Stage

Arguments: TypeAlias = dict[str, Any]


def _named(**others: object) -> Arguments:
    return {"name": "Acme", "slug": f"acme-{secrets.token_hex(4)}", **others}


def _leaver(stage: Stage) -> Arguments:
    org, other = stage.org(), stage.org()
    usr_id, heir = stage.owner(org).usr_id, stage.member(org).usr_id
    stage.member(other, usr_id=usr_id)
    return {"usr_id": usr_id, "heirs": {org.id: heir}}


def _identifier(stage: Stage) -> Arguments:
    identifier = f"{secrets.token_hex(4)}@example.com"  # of nobody else on the same stage
    for status in (InvitationStatus.PENDING, InvitationStatus.PENDING, InvitationStatus.DECLINED):
        stage.invitation(stage.org(), status=status, identifier=identifier)
    return {"identifier": identifier}


def _organization(stage: Stage) -> Arguments:
    return {"org_id": stage.org().id}


def _member(stage: Stage) -> Arguments:
    return {"mem_id": stage.member(stage.org()).id}


def _last_owner_and_heir(stage: Stage) -> Arguments:
    org = stage.org()
    return {"mem_id": stage.owner(org).id, "transfer_to": stage.member(org).usr_id}


def _member_and_admin(stage: Stage) -> Arguments:
    org = stage.org()
    return {"mem_id": stage.member(org).id, "admin_usr_id": stage.owner(org).usr_id}


def _owner_and_member(stage: Stage) -> Arguments:
    owner = stage.owner(stage.org())
    member = stage.member(owner.organization)
    return {"org_id": owner.org_id, "from_mem_id": owner.id, "to_mem_id": member.id}


def _role_on_organization(stage: Stage) -> Arguments:
    owner = stage.owner(stage.org())
    return {"org_id": owner.org_id, "usr_id": owner.usr_id, "roles": Role.OWNER}


def _new_member(stage: Stage) -> Arguments:
    users = {"usr_id": stage.user(), "invited_by": stage.user()}
    return _organization(stage) | users | {"role": Role.ADMIN}


def _offer(stage: Stage) -> Arguments:
    return {
        **_organization(stage),
        "identifier": IDENTIFIER,
        "role": Role.MEMBER,
        "invited_by": stage.user(),
        "expires_at": stage.clock.now + DAY,
        "pre_tuples": [],
    }


def _invitation(stage: Stage) -> Arguments:
    return {"inv_id": stage.invitation(stage.org()).id}


def _invitation_and_user(stage: Stage) -> Arguments:
    return _invitation(stage) | {"as_usr_id": stage.user()}


def _invitation_and_admin(stage: Stage) -> Arguments:
    invitation = stage.invitation(stage.org())
    return {"inv_id": invitation.id, "admin_usr_id": invitation.invited_by}


def _new_members(stage: Stage) -> Arguments:
    elsewhere = {"org_id": stage.org().id, "invited_by": stage.user()}
    members = [(stage.user(), Role.MEMBER), NewMember(stage.user(), Role.OWNER, **elsewhere)]
    return _organization(stage) | {"members": members, "invited_by": stage.user()}


def _offers(stage: Stage) -> Arguments:
    grants, expiry = [PreTuple("editor", "proj", str(new_uuid()))], stage.clock.now + DAY
    requests = [
        InvitationRequest(IDENTIFIER, Role.MEMBER, expires_at=expiry),
        InvitationRequest("other@example.com", Role.GUEST, expires_at=expiry, pre_tuples=grants),
        {"identifier": IDENTIFIER, "role": "guest", "expires_at": expiry, "org_id": stage.org().id},
    ]
    return _organization(stage) | {"requests": requests, "invited_by": stage.user()}


def _other_roles(stage: Stage) -> Arguments:
    org = stage.org()
    roles = {stage.member(org).id: Role.OWNER, stage.owner(org).id: Role.GUEST}
    return {"roles": roles | {stage.member(stage.org()).id: Role.ADMIN}}


def _members_and_admin(stage: Stage) -> Arguments:
    org = stage.org()
    members = [stage.member(org, status=status) for status in (Status.ACTIVE, Status.SUSPENDED)]
    admin = stage.owner(org).usr_id
    return {"mem_ids": [membership.id for membership in members], "admin_usr_id": admin}


def _all_or_nothing(arrange: Callable[[Stage], Arguments]) -> Callable[[Stage], Arguments]:
    return lambda stage: arrange(stage) | {"all_or_nothing": True}


CALLS: Final[dict[str, Callable[[Stage], Arguments]]] = {
    "create_org": lambda stage: _named(creator=stage.user()),
    "get_org": _organization,
    "get_org_by_slug": lambda stage: {"slug": stage.org(slug="acme").slug},
    "update_org": lambda stage: _named(**_organization(stage)),
    "suspend_org": _organization,
    "reinstate_org": lambda stage: {"org_id": stage.org(Status.SUSPENDED).id},
    "revoke_org": _organization,
    "list_orgs": lambda stage: {},
    "add_member": _new_member,
    "get_membership": _member,
    "find_membership": lambda stage: {"org_id": stage.org().id, "usr_id": stage.user()},
    "require_role": _role_on_organization,
    "list_members": _organization,
    "count_members": _organization,
    "count_seats": _organization,
    "role_of": lambda stage: {"org_id": stage.org().id, "usr_id": stage.user()},
    "list_memberships": lambda stage: {"usr_id": stage.user()},
    "change_role": lambda stage: _member(stage) | {"new_role": Role.ADMIN},
    "suspend_membership": _member,
    "reinstate_membership": lambda stage: {
        "mem_id": stage.member(stage.org(), status=Status.SUSPENDED).id
    },
    "self_leave": _last_owner_and_heir,
    "admin_remove": _member_and_admin,
    "transfer_ownership": _owner_and_member,
    "offboard_user": _leaver,
    "create_invitation": _offer,
    "get_invitation": _invitation,
    "list_invitations": _organization,
    "accept_invitation": lambda stage: (
        _invitation_and_user(stage) | {"accepting_identifier": IDENTIFIER}
    ),
    "decline_invitation": _invitation_and_user,
    "revoke_invitation": _invitation_and_admin,
    "renew_invitation": lambda stage: (
        _invitation(stage) | {"expires_at": stage.clock.now + 2 * DAY}
    ),
    "expire_invitations": lambda stage: {},
    "preview_invitation": _invitation,
    "list_invitations_for": _identifier,
    "erase_identifier": _identifier,
    "add_members": _all_or_nothing(_new_members),
    "create_invitations": _all_or_nothing(_offers),
    "change_roles": _all_or_nothing(_other_roles),
    "remove_members": _all_or_nothing(_members_and_admin),
    "list_tuples_for_subject": lambda stage: {"subject_type": "usr", "subject_id": stage.user()},
    "list_tuples_for_object": lambda stage: {
        "object_type": "proj",
        "object_id": str(new_uuid()),
        "relation": "editor",
    },
}


def call(
    tenancy: TenancyRepository | ActingTenancy | TenancyStore, operation: str, arguments: Arguments
) -> Any:
    """Call an operation with its arguments by name; the roles to require have none."""
    if operation == "require_role":
        options = {name: arguments[name] for name in arguments if name == "options"}
        positional = [arguments[name] for name in arguments if name not in options]
        return tenancy.require_role(*positional, **options)
    return getattr(tenancy, operation)(**arguments)


def parameters(operation: str) -> list[str]:
    """Return the names of an operation's parameters."""
    return list(signature(getattr(TenancyRepository, operation)).parameters)[1:]
