"""Pre-tuples: what an invitation grants besides the membership, and how it is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import JSON, Dialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

from ..errors import InvalidIdError, PreconditionError, Reason, shown
from ..ids import decode_object, encode_object
from ..policy import Policy, require_at_most
from ..values import PreTuple, Role
from .tuple import require_object_type, require_relation

ROLES: Final = frozenset(Role)
NOT_TO_GRANT: Final = frozenset({"usr", "mem", "inv", "tup"})
"""Types of objects that tenancy itself keeps."""
NO_OBJECTS: Final = (UUID(int=0), UUID(int=2**128 - 1))
"""The Nil and the Max UUID, which stand for none and for all."""


class PreTuples(TypeDecorator[list[PreTuple]]):
    """A ``jsonb`` array of pre-tuples; rows of other SDKs may spell its keys in camelCase."""

    impl = JSON().with_variant(JSONB(), "postgresql")
    cache_ok = True

    @property
    def python_type(self) -> type[list[PreTuple]]:
        """A list."""
        return list

    def process_bind_param(
        self, value: Iterable[PreTuple] | None, dialect: Dialect
    ) -> list[dict[str, str]] | None:
        """Store each pre-tuple with its object's id as a canonical UUID."""
        if value is None:
            return None
        return [
            {
                "relation": grant.relation,
                "object_type": grant.object_type,
                "object_id": str(decode_object(grant.object_id, grant.object_type, "object_id")),
            }
            for grant in value
        ]

    def process_result_value(self, value: Any, dialect: Dialect) -> list[PreTuple]:
        """Read what is there, well-formed or not: `Invitation.accept` is where it must hold."""
        if value is None:  # another client's JSON null; the column itself is never null
            return []
        return [_as_stored(item) for item in (value if isinstance(value, list) else [value])]


def well_formed(grant: PreTuple | Mapping[str, str], org_id: str) -> PreTuple:
    """Return a pre-tuple as it is read back, if an invitation to an organization may carry it.

    It may not grant a membership's role on an organization: that would be a role without a
    membership. What an organization has no say in is not its invitation's to grant either: other
    organizations, and what tenancy itself keeps.

    Raises:
        PreconditionError: ``pre_tuple_format``; it is not three well-formed words, or its object
            is the Nil or the Max UUID. ``pre_tuple_org_role``; it grants one of the six roles on
            an organization, or anything on another one, or on a user, membership, invitation or
            tuple.
    """
    if isinstance(grant, Mapping):
        if set(grant) != {"relation", "object_type", "object_id"}:
            raise _malformed(grant)
        grant = PreTuple(**grant)
    try:
        relation = require_relation(grant.relation, "relation")
        type_ = require_object_type(grant.object_type, "object_type")
        uuid = decode_object(grant.object_id, type_, "object_id")
    except (AttributeError, InvalidIdError, PreconditionError) as exc:
        raise _malformed(grant) from exc
    if uuid in NO_OBJECTS:
        raise _malformed(grant)
    object_id = encode_object(type_, uuid)
    if type_ in NOT_TO_GRANT or (type_ == "org" and (relation in ROLES or object_id != org_id)):
        raise PreconditionError(
            f"pre_tuples: {relation!r} on {type_} {object_id} is not an invitation's to grant",
            Reason.PRE_TUPLE_ORG_ROLE,
            parameter="pre_tuples",
        )
    return PreTuple(relation=relation, object_type=type_, object_id=object_id)


def well_formed_all(grants: object, org_id: str, policy: Policy) -> list[PreTuple]:
    """Return a collection of pre-tuples, each as `well_formed` does.

    Raises:
        PreconditionError: ``pre_tuple_count``, ``pre_tuple_format`` or ``pre_tuple_org_role``.
    """
    if not isinstance(grants, Collection):  # an iterator would be empty when it is tried again
        raise _malformed(grants)
    limit, parameter = policy.limits.pre_tuples, "pre_tuples"
    require_at_most(limit, len(grants), "of them", parameter, Reason.PRE_TUPLE_COUNT)
    return [well_formed(grant, org_id) for grant in grants]


def _malformed(grant: object) -> PreconditionError:
    return PreconditionError(
        f"pre_tuples: {shown(grant)} is not a relation, an object's type and an id of that type",
        Reason.PRE_TUPLE_FORMAT,
        parameter="pre_tuples",
    )


def _as_stored(item: Any) -> PreTuple:
    if not isinstance(item, Mapping):
        return PreTuple(relation="", object_type="", object_id=str(item))
    type_ = str(item.get("object_type", item.get("objectType", "")))
    object_id = str(item.get("object_id", item.get("objectId", "")))
    try:
        require_object_type(type_, "object_type")
        object_id = encode_object(type_, decode_object(object_id, type_, "object_id"))
    except (InvalidIdError, PreconditionError):
        pass  # shown as it is; accepting it is what fails
    return PreTuple(relation=str(item.get("relation", "")), object_type=type_, object_id=object_id)
