"""What must not get in: one call each, with the error that it is to meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, product
from typing import Any, Final

from flametrench_tenancy_sqlalchemy import (
    InvalidIdError,
    InvitationRequest,
    NotFoundError,
    PreconditionError,
    PreTuple,
    Role,
    TenancyError,
)
from tests.support.backends import Backend

HEX: Final = "0190f2a81b3c7abc8123456789abcdef"
CANONICAL: Final = "0190f2a8-1b3c-7abc-8123-456789abcdef"
AHEAD: Final = datetime.now(UTC) + timedelta(days=1)


class Scene:
    """An organization with an owner, a member, and an invitation: valid arguments to spoil."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.tenancy = backend.tenancy
        created = self.tenancy.create_org(backend.new_user(), name="Acme", slug="acme")
        org_id, owner = created.org.id, created.owner_membership
        member = self.tenancy.add_member(org_id, backend.new_user(), Role.MEMBER)
        invitation = self.tenancy.create_invitation(
            org_id, "newbie@example.com", Role.MEMBER, owner.usr_id, AHEAD
        )
        self.valid: dict[str, dict[str, Any]] = {
            "create_org": {"creator": owner.usr_id},
            "get_org": {"org_id": org_id},
            "get_org_by_slug": {"slug": "acme"},
            "update_org": {"org_id": org_id},
            "suspend_org": {"org_id": org_id},
            "reinstate_org": {"org_id": org_id},
            "revoke_org": {"org_id": org_id},
            "list_orgs": {},
            "add_member": {"org_id": org_id, "usr_id": backend.new_user(), "role": Role.MEMBER},
            "get_membership": {"mem_id": member.id},
            "find_membership": {"org_id": org_id, "usr_id": member.usr_id},
            "list_members": {"org_id": org_id},
            "count_members": {"org_id": org_id},
            "list_memberships": {"usr_id": member.usr_id},
            "change_role": {"mem_id": member.id, "new_role": Role.ADMIN},
            "suspend_membership": {"mem_id": member.id},
            "reinstate_membership": {"mem_id": member.id},
            "self_leave": {"mem_id": member.id},
            "admin_remove": {"mem_id": member.id, "admin_usr_id": owner.usr_id},
            "transfer_ownership": {
                "org_id": org_id,
                "from_mem_id": owner.id,
                "to_mem_id": member.id,
            },
            "require_role": {"org_id": org_id, "usr_id": member.usr_id},
            "create_invitation": {
                "org_id": org_id,
                "identifier": "other@example.com",
                "role": Role.MEMBER,
                "invited_by": owner.usr_id,
                "expires_at": AHEAD,
            },
            "get_invitation": {"inv_id": invitation.id},
            "list_invitations": {"org_id": org_id},
            "accept_invitation": {
                "inv_id": invitation.id,
                "accepting_identifier": "newbie@example.com",
            },
            "decline_invitation": {"inv_id": invitation.id},
            "revoke_invitation": {"inv_id": invitation.id, "admin_usr_id": owner.usr_id},
            "expire_invitations": {},
            "add_members": {
                "org_id": org_id,
                "members": [(backend.new_user(), Role.MEMBER)],
                "all_or_nothing": True,
            },
            "create_invitations": {
                "org_id": org_id,
                "requests": [InvitationRequest("other@example.com", Role.MEMBER, expires_at=AHEAD)],
                "invited_by": owner.usr_id,
                "all_or_nothing": True,
            },
            "change_roles": {"roles": {member.id: Role.ADMIN}, "all_or_nothing": True},
            "remove_members": {
                "mem_ids": [member.id],
                "admin_usr_id": owner.usr_id,
                "all_or_nothing": True,
            },
            "list_tuples_for_subject": {"subject_type": "usr", "subject_id": owner.usr_id},
            "list_tuples_for_object": {"object_type": "org", "object_id": org_id},
        }

    def call(self, operation: str, **spoilt: Any) -> object:
        """Run an operation with valid arguments but for those that are given."""
        result: object = getattr(self.tenancy, operation)(**self.valid[operation] | spoilt)
        return result


@dataclass(frozen=True)
class BadInput:
    """An argument that an operation refuses."""

    operation: str
    parameter: str
    value: Any
    error: type[TenancyError]
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.operation}({self.parameter}={self.value!a:.60})"


# Every argument that is an id of one certain type, and whether an unknown one is an error.
_IDS: Final[list[tuple[str, str, str, bool]]] = [
    ("create_org", "creator", "usr", True),
    *((f"{verb}_org", "org_id", "org", True) for verb in ("get", "update", "suspend")),
    *((f"{verb}_org", "org_id", "org", True) for verb in ("reinstate", "revoke")),
    ("list_orgs", "cursor", "org", False),
    ("add_member", "org_id", "org", True),
    ("add_member", "usr_id", "usr", True),
    ("add_member", "invited_by", "usr", True),
    ("get_membership", "mem_id", "mem", True),
    ("find_membership", "org_id", "org", False),
    ("find_membership", "usr_id", "usr", False),
    ("list_members", "org_id", "org", True),
    ("list_members", "cursor", "mem", False),
    ("count_members", "org_id", "org", True),
    ("list_memberships", "usr_id", "usr", True),
    ("list_memberships", "cursor", "mem", False),
    ("change_role", "mem_id", "mem", True),
    ("suspend_membership", "mem_id", "mem", True),
    ("reinstate_membership", "mem_id", "mem", True),
    ("self_leave", "mem_id", "mem", True),
    ("self_leave", "transfer_to", "usr", False),
    ("admin_remove", "mem_id", "mem", True),
    ("admin_remove", "admin_usr_id", "usr", False),
    ("transfer_ownership", "org_id", "org", True),
    ("transfer_ownership", "from_mem_id", "mem", True),
    ("transfer_ownership", "to_mem_id", "mem", True),
    ("require_role", "org_id", "org", False),
    ("require_role", "usr_id", "usr", False),
    ("create_invitation", "org_id", "org", True),
    ("create_invitation", "invited_by", "usr", True),
    ("add_members", "org_id", "org", True),
    ("add_members", "invited_by", "usr", True),
    ("create_invitations", "org_id", "org", True),
    ("create_invitations", "invited_by", "usr", True),
    ("remove_members", "admin_usr_id", "usr", False),
    ("get_invitation", "inv_id", "inv", True),
    ("list_invitations", "org_id", "org", True),
    ("list_invitations", "cursor", "inv", False),
    ("accept_invitation", "inv_id", "inv", True),
    ("accept_invitation", "as_usr_id", "usr", True),
    ("decline_invitation", "inv_id", "inv", True),
    ("decline_invitation", "as_usr_id", "usr", True),
    ("revoke_invitation", "inv_id", "inv", True),
    ("revoke_invitation", "admin_usr_id", "usr", False),
]
_MAY_BE_OMITTED: Final = {"cursor", "invited_by", "transfer_to", "as_usr_id"}
# Where there is no identity layer to ask, users register themselves.
REGISTERING: Final = {
    ("create_org", "creator"),
    ("add_member", "usr_id"),
    ("add_member", "invited_by"),
    ("add_members", "invited_by"),
    ("create_invitation", "invited_by"),
    ("create_invitations", "invited_by"),
    ("accept_invitation", "as_usr_id"),
    ("decline_invitation", "as_usr_id"),
}


def bad_ids() -> Iterator[BadInput]:
    """Ids that are malformed, of another type, or missing."""
    for operation, parameter, type_, _ in _IDS:
        other = "org" if type_ == "usr" else "usr"
        values = [
            "",
            "nonsense",
            HEX,
            CANONICAL,
            f"{other}_{HEX}",
            f"proj_{HEX}",
            f"{type_}_{HEX}\n",
            f"{type_}_{HEX.upper()}",
            f"{type_}_{CANONICAL}",
            f"{type_}_{'0' * 32}",
            f"{type_}_{HEX[:-1]}\x00",
            "\ud800",
            7,
            HEX.encode(),
        ]
        if parameter not in _MAY_BE_OMITTED:
            values.append(None)
        for value in values:
            yield BadInput(operation, parameter, value, InvalidIdError)
    for operation, subject in product(
        ("list_tuples_for_subject", "list_tuples_for_object"), ("nonsense", None, f"mem_{HEX}")
    ):
        yield BadInput(operation, f"{operation.rpartition('_')[2]}_id", subject, InvalidIdError)


def unknown_ids() -> Iterator[BadInput]:
    """Well-formed ids of nobody and nothing."""
    for operation, parameter, type_, is_error in _IDS:
        if is_error and (operation, parameter) not in REGISTERING:
            yield BadInput(operation, parameter, f"{type_}_{HEX}", NotFoundError)
    for slug in ("other", "", "ACME", "acme\n", "a\x00", "\ud800", None, 7):
        yield BadInput("get_org_by_slug", "slug", slug, NotFoundError)


def bad_values() -> Iterator[BadInput]:
    """Texts, times, words and numbers that are out of bounds."""
    for operation, slug in product(
        ("create_org", "update_org"),
        ("", "-", "acme\n", "Acme", "a" * 64, "a_b", "a\x00", "\ud800", 7),
    ):
        yield BadInput(operation, "slug", slug, PreconditionError, "org_slug_format")
    for operation, name in product(("create_org", "update_org"), ("a\x00b", "\ud800", "\udfff", 7)):
        yield BadInput(operation, "name", name, PreconditionError, "name_format")
    for operation, parameter in (
        ("add_member", "role"),
        ("change_role", "new_role"),
        ("create_invitation", "role"),
    ):
        for role in ("", "root", "Owner", "owner\n", None, 7, "\x00"):
            yield BadInput(operation, parameter, role, PreconditionError, "role_format")
    for identifier in ("", "a\x00b", "\ud800", None, 7):
        yield BadInput(
            "create_invitation", "identifier", identifier, PreconditionError, "identifier_format"
        )
    naive = datetime(2100, 1, 1)  # noqa: DTZ001 - what is refused
    for expiry, reason in (
        (naive, "naive_expiration"),
        (None, "naive_expiration"),
        ("2100-01-01", "naive_expiration"),
        (datetime.now(UTC), "past_expiration"),
        (datetime(1970, 1, 1, tzinfo=UTC), "past_expiration"),
    ):
        yield BadInput("create_invitation", "expires_at", expiry, PreconditionError, reason)
    lists = ("list_orgs", "list_members", "list_memberships", "list_invitations")
    for operation, status in product(
        (*lists, "count_members"), ("", "asleep", "ACTIVE", 7, "\x00")
    ):
        yield BadInput(operation, "status", status, PreconditionError, "status_format")
    for operation, limit in product((*lists, "expire_invitations"), ("10", None, 1.5)):
        yield BadInput(operation, "limit", limit, PreconditionError, "limit_format")
    for operation, parameter in (
        ("add_members", "members"),
        ("create_invitations", "requests"),
        ("change_roles", "roles"),
        ("remove_members", "mem_ids"),
    ):
        for rows in (None, 7, "text", iter(())):
            yield BadInput(operation, parameter, rows, PreconditionError, "row_format")
    for type_ in ("", "u", "toolong", "USR", "usr\n", "\x00", None, 7):
        yield BadInput(
            "list_tuples_for_subject", "subject_type", type_, PreconditionError, "type_format"
        )
        yield BadInput(
            "list_tuples_for_object", "object_type", type_, PreconditionError, "type_format"
        )
    for relation in ("", "a", "Owner", "owner\n", "\x00", 7):
        yield BadInput(
            "list_tuples_for_object", "relation", relation, PreconditionError, "relation_format"
        )


def bad_pre_tuples() -> Iterator[BadInput]:
    """Pre-tuples that no invitation may carry."""
    good = {"relation": "editor", "object_type": "proj", "object_id": CANONICAL}
    malformed: list[Any] = [
        {**good, "relation": ""},
        {**good, "relation": "Editor"},
        {**good, "relation": "a\x00"},
        {**good, "object_type": "p"},
        {**good, "object_type": "PROJ"},
        {**good, "object_id": "nonsense"},
        {**good, "object_id": f"{CANONICAL}\n"},
        {**good, "object_id": f"usr_{HEX}"},
        {**good, "object_id": None},
        {**good, "fourth": "key"},
        {"relation": "editor"},
        PreTuple("editor", "org", f"usr_{HEX}"),
        "editor",
        None,
    ]
    for grant in malformed:
        yield BadInput(
            "create_invitation", "pre_tuples", [good, grant], PreconditionError, "pre_tuple_format"
        )
    for grants in (7, object, iter([good])):
        yield BadInput(
            "create_invitation", "pre_tuples", grants, PreconditionError, "pre_tuple_format"
        )
    for role, id_ in product(Role, (CANONICAL, HEX, f"org_{HEX}")):
        yield BadInput(
            "create_invitation",
            "pre_tuples",
            [good, PreTuple(role.value, "org", id_)],
            PreconditionError,
            "pre_tuple_org_role",
        )


def bad_inputs(operation: str) -> list[BadInput]:
    """Return what an operation refuses in memory."""
    return [
        bad
        for bad in chain(bad_ids(), unknown_ids(), bad_values(), bad_pre_tuples())
        if bad.operation == operation
    ]
