"""What has one right answer, put right."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Uuid,
    any_,
    delete,
    func,
    literal,
    select,
    type_coerce,
    union,
    update,
)

from ..errors import PreconditionError, Reason
from ..ids import encode, encode_object
from ..models import Invitation, Membership, Organization, Tuple
from ..models.tuple import TupleKey
from ..repository.frame import Repository
from ..repository.operation import Operation
from ..transactions.isolation import NOWHERE
from ..transactions.sessions import connection_of
from ..transactions.settings import telling
from ..values import InvitationStatus, PreTuple, Status
from ..writing import Change, write, write_expiry
from .conditions import LEFT_BEHIND, LEFT_OVER, ORPHANED, STILL_OFFERED, WITHOUT_TUPLE
from .findings import Repair
from .schema import unseen


class Repairs(Repository):
    """The repairs, under the same locks and in the same manners as the operations."""

    def repair(self) -> list[Repair]:
        """Put right what can be, as one unit, and tell what was done."""
        self._require_read_committed()
        self._require_all_rows()
        with (
            self._operation("repair", view=NOWHERE) as operation,
            telling(self.session, operation.saying),
        ):
            now = operation.at
            orgs = self._lock_organizations()
            return [
                *self._delete("orphan_tuple", ORPHANED, orgs),
                *self._finish_revocations(orgs, now),
                *self._delete("tuple_in_revoked_org", LEFT_OVER, orgs),
                *self._grant_missing(orgs, operation),
                *(
                    Repair("overdue_invitation", id_, message="invitation expired")
                    for id_ in write_expiry(self.session, at=now, saying=operation.saying)
                ),
            ]

    def _require_all_rows(self) -> None:
        if hidden := [part for _, part in unseen(connection_of(self.session))]:
            raise PreconditionError(
                f"a repair must see all rows, and this role may not: {', '.join(hidden)}",
                Reason.HIDDEN_ROWS,
            )

    def _require_read_committed(self) -> None:
        level = self.session.scalar(select(func.current_setting("transaction_isolation")))
        if level != "read committed":
            raise PreconditionError(
                f"a repair sees what is true behind its locks at READ COMMITTED only, not at "
                f"{str(level).upper()}",
                Reason.ISOLATION_LEVEL,
                isolation_level=level,
            )

    def _lock_organizations(self) -> ColumnElement[Any]:
        """Lock the organizations concerned, in the one order, and return them as an array."""
        concerned = union(
            select(type_coerce(Membership.org_id, Uuid)).where(WITHOUT_TUPLE),
            select(Tuple.object_uuid).where(ORPHANED),
            select(Tuple.object_uuid).where(LEFT_OVER),
            select(type_coerce(Membership.org_id, Uuid)).where(LEFT_BEHIND),
            select(type_coerce(Invitation.org_id, Uuid)).where(STILL_OFFERED),
        )
        ids: list[UUID] = list(self.session.scalars(concerned))
        orgs = any_(literal(ids, ARRAY(Uuid)))
        self.session.execute(
            select(Organization.id)
            .where(type_coerce(Organization.id, Uuid) == orgs)
            .order_by(Organization.id)
            .with_for_update(key_share=True)
        )
        return orgs

    def _finish_revocations(self, orgs: ColumnElement[Any], at: datetime) -> list[Repair]:
        """Revoke what should have been revoked with its organization, tuples included."""
        memberships = self.session.scalars(
            update(Membership)
            .where(LEFT_BEHIND, type_coerce(Membership.org_id, Uuid) == orgs)
            .values(status=Status.REVOKED, removed_by=None, updated_at=at)
            .returning(Membership.id)
        ).all()
        self._delete("orphan_tuple", ORPHANED, orgs)
        invitations = self.session.scalars(
            update(Invitation)
            .where(STILL_OFFERED, type_coerce(Invitation.org_id, Uuid) == orgs)
            .values(status=InvitationStatus.REVOKED, terminal_at=at, terminal_by=None)
            .returning(Invitation.id)
        ).all()
        return [
            *(
                Repair("membership_in_revoked_org", id_, message="membership revoked")
                for id_ in memberships
            ),
            *(
                Repair("invitation_in_revoked_org", id_, message="invitation revoked")
                for id_ in invitations
            ),
        ]

    def _delete(
        self, check: str, wrong: ColumnElement[bool], orgs: ColumnElement[Any]
    ) -> list[Repair]:
        deleted = self.session.execute(
            delete(Tuple)
            .where(wrong, Tuple.object_uuid == orgs)
            .returning(
                Tuple.id, Tuple.subject_type, Tuple.subject_uuid, Tuple.relation, Tuple.object_uuid
            )
        )
        return [
            Repair(
                check,
                id_,
                message=f"tuple deleted: {encode_object(type_, subject)} {relation} "
                f"{encode('org', org)}",
            )
            for id_, type_, subject, relation, org in deleted
        ]

    def _grant_missing(self, orgs: ColumnElement[Any], operation: Operation) -> list[Repair]:
        statement = (
            select(Membership.id, Membership.usr_id, Membership.role, Membership.org_id)
            .where(WITHOUT_TUPLE, type_coerce(Membership.org_id, Uuid) == orgs)
            .order_by(Membership.id)
            .with_for_update(key_share=True)
        )
        bare = {
            mem_id: TupleKey.of(usr_id, PreTuple(role, "org", org_id))
            for mem_id, usr_id, role, org_id in self.session.execute(statement)
        }
        if not bare:
            return []
        # Nobody remembers who granted it.
        change = Change(grants=set(bare.values()), at=operation.at, saying=operation.saying)
        added = write(self.session, change).grants
        return [
            Repair(
                "membership_without_tuple",
                mem_id,
                message=f"tuple added: {added[key].subject_id} {key.relation} "
                f"{added[key].object_id}",
            )
            for mem_id, key in bare.items()
            if key in added
        ]
