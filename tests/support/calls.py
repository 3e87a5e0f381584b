"""Every operation of the repository with arguments that it accepts."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, Final, TypeAlias

from flametrench_tenancy_sqlalchemy import InvitationRequest, Role, Status, TenancyRepository
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.stage import DAY, IDENTIFIER, NOW, Stage

Arguments: TypeAlias = dict[str, Any]


def _organization(stage: Stage) -> Arguments:
    return {"org_id": stage.org().id}


def _suspended_organization(stage: Stage) -> Arguments:
    return {"org_id": stage.tenancy.suspend_org(stage.org().id).id}


def _slug(stage: Stage) -> Arguments:
    return {"slug": stage.org(slug="acme").slug}


def _member(stage: Stage) -> Arguments:
    return {"mem_id": stage.member(stage.org()).id}


def _suspended_member(stage: Stage) -> Arguments:
    return {"mem_id": stage.tenancy.suspend_membership(stage.member(stage.org()).id).id}


def _last_owner_and_heir(stage: Stage) -> Arguments:
    org = stage.org()
    return {"mem_id": stage.owner(org).id, "transfer_to": stage.member(org).usr_id}


def _member_and_admin(stage: Stage) -> Arguments:
    org = stage.org()
    return {"mem_id": stage.member(org).id, "admin_usr_id": stage.owner(org).usr_id}


def _owner_and_member(stage: Stage) -> Arguments:
    org = stage.org()
    return {
        "org_id": org.id,
        "from_mem_id": stage.owner(org).id,
        "to_mem_id": stage.member(org).id,
    }


def _role_on_organization(stage: Stage) -> Arguments:
    owner = stage.owner(stage.org())
    return {"org_id": owner.org_id, "usr_id": owner.usr_id, "roles": Role.OWNER}


def _new_member(stage: Stage) -> Arguments:
    return {
        "org_id": stage.org().id,
        "usr_id": stage.user(),
        "role": Role.MEMBER,
        "invited_by": stage.user(),
    }


def _offer(stage: Stage) -> Arguments:
    return {
        "org_id": stage.org().id,
        "identifier": IDENTIFIER,
        "role": Role.MEMBER,
        "invited_by": stage.user(),
        "expires_at": NOW + DAY,
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
    return {
        "org_id": stage.org().id,
        "members": [(stage.user(), Role.MEMBER), (stage.user(), Role.OWNER)],
        "invited_by": stage.user(),
        "all_or_nothing": True,
    }


def _offers(stage: Stage) -> Arguments:
    return {
        "org_id": stage.org().id,
        "requests": [InvitationRequest(IDENTIFIER, Role.MEMBER, expires_at=NOW + DAY)],
        "invited_by": stage.user(),
        "all_or_nothing": True,
    }


def _other_roles(stage: Stage) -> Arguments:
    org = stage.org()
    roles = {stage.member(org).id: Role.OWNER, stage.owner(org).id: Role.GUEST}
    return {"roles": roles, "all_or_nothing": True}


def _members_and_admin(stage: Stage) -> Arguments:
    org = stage.org()
    return {
        "mem_ids": [stage.member(org).id, stage.member(org, status=Status.SUSPENDED).id],
        "admin_usr_id": stage.owner(org).usr_id,
        "all_or_nothing": True,
    }


CALLS: Final[dict[str, Callable[[Stage], Arguments]]] = {
    "create_org": lambda stage: {"creator": stage.user(), "name": "Acme", "slug": "acme"},
    "get_org": _organization,
    "get_org_by_slug": _slug,
    "update_org": lambda stage: _organization(stage) | {"name": "Acme", "slug": "acme"},
    "suspend_org": _organization,
    "reinstate_org": _suspended_organization,
    "revoke_org": _organization,
    "list_orgs": lambda stage: {},
    "add_member": _new_member,
    "get_membership": _member,
    "find_membership": lambda stage: {"org_id": stage.org().id, "usr_id": stage.user()},
    "require_role": _role_on_organization,
    "list_members": _organization,
    "count_members": _organization,
    "list_memberships": lambda stage: {"usr_id": stage.user()},
    "change_role": lambda stage: _member(stage) | {"new_role": Role.ADMIN},
    "suspend_membership": _member,
    "reinstate_membership": _suspended_member,
    "self_leave": _last_owner_and_heir,
    "admin_remove": _member_and_admin,
    "transfer_ownership": _owner_and_member,
    "create_invitation": _offer,
    "get_invitation": _invitation,
    "list_invitations": _organization,
    "accept_invitation": lambda stage: (
        _invitation_and_user(stage) | {"accepting_identifier": IDENTIFIER}
    ),
    "decline_invitation": _invitation_and_user,
    "revoke_invitation": _invitation_and_admin,
    "expire_invitations": lambda stage: {},
    "add_members": _new_members,
    "create_invitations": _offers,
    "change_roles": _other_roles,
    "remove_members": _members_and_admin,
    "list_tuples_for_subject": lambda stage: {
        "subject_type": "usr",
        "subject_id": stage.user(),
    },
    "list_tuples_for_object": lambda stage: {
        "object_type": "proj",
        "object_id": str(new_uuid()),
        "relation": "editor",
    },
}


def call(tenancy: TenancyRepository, operation: str, arguments: Arguments) -> Any:
    """Call an operation with its arguments by name; the roles to require have none."""
    if operation == "require_role":
        return tenancy.require_role(*arguments.values())
    return getattr(tenancy, operation)(**arguments)


def parameters(operation: str) -> list[str]:
    """Return the names of an operation's parameters."""
    return list(signature(getattr(TenancyRepository, operation)).parameters)[1:]
