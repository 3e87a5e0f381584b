"""Everything that the doctor asks the rows: a name, a severity, a sentence and a query each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from ..ids import encode
from ..models import Invitation, Membership, Organization, Tuple
from ..unit_of_work import AnySession
from ..values import InvitationStatus, Status
from .conditions import ACTIVE, IN_REVOKED_ORG, LEFT_OVER, ORPHANED, WITHOUT_TUPLE
from .findings import Finding, Severity
from .queries import (
    MALFORMED,
    ORG_ROLE,
    PREDECESSOR,
    Query,
    contradictory,
    dangling,
    ownerless,
    promising,
    refused_by,
    rows,
    sharing,
    successors,
)

EXAMPLES = 5


@dataclass(frozen=True)
class Check:
    """A question to the whole database, in one statement and so on one snapshot."""

    name: str
    message: str
    query: Query
    severity: Severity = Severity.ERROR
    repairable: bool = False

    def run(self, session: AnySession) -> Finding | None:
        """Return what is wrong, if anything is."""
        found = session.execute(_counted(self.query)).all()
        if not found:
            return None
        return Finding(
            check=self.name,
            severity=self.severity,
            count=found[0].total,
            examples=tuple(encode(row.kind, row.id) for row in found),
            message=self.message,
            repairable=self.repairable,
        )


def _counted(query: Query) -> Select[Any]:
    broken = query.subquery("broken")
    kind, id_ = broken.c.kind, broken.c.id
    total = func.count().over().label("total")
    return select(kind, id_, total).order_by(kind, id_).limit(EXAMPLES)


def checks(at: datetime) -> list[Check]:
    """Return every question to the rows.

    Args:
        at: the time by which invitations are overdue, or not yet.
    """
    pending = Invitation.status == InvitationStatus.PENDING
    return [
        # Membership and tuple, in step.
        Check(
            "membership_without_tuple",
            "active memberships without their tuple",
            rows(Membership).where(WITHOUT_TUPLE),
            repairable=True,
        ),
        Check(
            "orphan_tuple",
            "tuples that grant a role in an organization without an active membership",
            rows(Tuple).where(ORPHANED),
            repairable=True,
        ),
        # Owners and members.
        Check(
            "ownerless_organization",
            "organizations with active members and no active owner",
            ownerless(),
        ),
        Check(
            "duplicate_membership",
            "active memberships beside another one of the same user and organization",
            sharing(Membership, Membership.usr_id, Membership.org_id, where=ACTIVE),
        ),
        # What outlived its organization.
        Check(
            "membership_in_revoked_org",
            "active or suspended memberships, with their tuples, in a revoked organization",
            rows(Membership).where(
                Membership.status.in_([Status.ACTIVE, Status.SUSPENDED]), IN_REVOKED_ORG
            ),
        ),
        Check(
            "invitation_in_revoked_org",
            "pending invitations into a revoked organization",
            rows(Invitation)
            .join(Organization, Organization.id == Invitation.org_id)
            .where(pending, Organization.status == Status.REVOKED),
        ),
        Check(
            "tuple_in_revoked_org",
            "tuples, other than those of roles, about a revoked organization",
            rows(Tuple).where(LEFT_OVER),
            repairable=True,
        ),
        # Role history.
        Check(
            "broken_chain",
            "memberships that replace one of another user or organization",
            successors(
                or_(
                    PREDECESSOR.usr_id != Membership.usr_id,
                    PREDECESSOR.org_id != Membership.org_id,
                )
            ),
        ),
        Check(
            "replaced_not_revoked",
            "memberships that replace one which is not revoked",
            successors(PREDECESSOR.status != Status.REVOKED),
        ),
        Check(
            "forked_chain",
            "memberships that replace the same one as another does",
            sharing(Membership, Membership.replaces, where=Membership.replaces.is_not(None)),
        ),
        Check(
            "chain_out_of_order",
            "memberships that were not created after the one they replace",
            successors(Membership.created_at <= PREDECESSOR.created_at),
        ),
        Check(
            "chain_lost_inviter",
            "memberships with another inviter than the one they replace",
            successors(Membership.invited_by.is_distinct_from(PREDECESSOR.invited_by)),
        ),
        # Invitations.
        Check(
            "overdue_invitation",
            "invitations that still say pending although their time is over",
            rows(Invitation).where(Invitation.overdue_at(at)),
            severity=Severity.WARNING,
            repairable=True,
        ),
        Check(
            "duplicate_invitation",
            "open invitations beside another one of the same identifier and organization",
            sharing(
                Invitation,
                Invitation.org_id,
                Invitation.identifier,
                where=and_(pending, ~Invitation.overdue_at(at)),
            ),
            severity=Severity.WARNING,
        ),
        Check(
            "malformed_pre_tuple",
            "pending invitations that cannot be accepted: a pre-tuple is malformed",
            promising(MALFORMED),
        ),
        Check(
            "pre_tuple_org_role",
            "pending invitations that promise a role in an organization without a membership",
            promising(ORG_ROLE),
        ),
        # What the schema refuses, unless something is missing from it or it has been bypassed.
        Check(
            "terminal_fields",
            "rows whose status does not go with when, and by whom, they were ended",
            contradictory(),
        ),
        Check(
            "unknown_status",
            "rows in a status that does not exist",
            refused_by("_status_check"),
        ),
        Check(
            "unknown_role",
            "memberships and invitations with a role that does not exist",
            refused_by("_role_check"),
        ),
        Check(
            "malformed_slug",
            "organizations whose slug has not the form of one",
            refused_by("org_slug_format"),
        ),
        Check(
            "malformed_tuple",
            "tuples whose relation or type has not the form of one",
            refused_by("_type_check", "_relation_check"),
        ),
        Check(
            "impossible_expiry",
            "invitations that expired before they were created",
            refused_by("inv_check1"),
        ),
        Check(
            "duplicate_slug",
            "organizations with the slug of another one",
            sharing(Organization, Organization.slug, where=Organization.slug.is_not(None)),
        ),
        Check(
            "duplicate_tuple",
            "tuples that say the same as another one",
            sharing(
                Tuple,
                Tuple.subject_type,
                Tuple.subject_uuid,
                Tuple.relation,
                Tuple.object_type,
                Tuple.object_uuid,
            ),
        ),
        Check(
            "dangling_reference",
            "rows that refer to a user, organization or membership that is not there",
            dangling(),
        ),
    ]
