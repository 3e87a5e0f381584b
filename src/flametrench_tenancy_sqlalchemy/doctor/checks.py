"""Everything that the doctor asks the rows: a name, a severity, a sentence and a query each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from .._sql import table_of
from ..ids import encode
from ..models import Invitation, Membership, Organization, Tuple
from ..policy import LETTER, Policy
from ..transactions.sessions import AnySession, among
from ..values import InvitationStatus, Status
from .conditions import ACTIVE, LEFT_BEHIND, LEFT_OVER, ORPHANED, STILL_OFFERED, WITHOUT_TUPLE
from .findings import EXAMPLES, Finding, Severity
from .queries import (
    MALFORMED,
    NOT_GRANTABLE,
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


@dataclass(frozen=True)
class Check:
    """A question to the whole database, in one statement and so on one snapshot."""

    name: str
    message: str
    query: Query | Callable[[AnySession], Query]
    """Or what makes it, where not all can be asked of the database."""
    severity: Severity = Severity.ERROR
    repairable: bool = False
    kept_by: tuple[str, ...] = ()
    """Constraints and indexes that let no row break it, however it comes in."""

    def run(self, session: AnySession) -> Iterator[Finding]:
        """Return what is wrong, if anything is."""
        query = self.query(session) if callable(self.query) else self.query
        found = session.execute(_counted(query)).all()
        if found:
            yield Finding(
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


def _constrained(name: str, message: str, *constraints: str) -> Check:
    """Return the question for rows that only get in where a constraint of the schema is missing."""
    return Check(name, message, refused_by(*constraints), kept_by=constraints)


def _duplicates(policy: Policy, at: datetime) -> Query | Callable[[AnySession], Query]:
    """Return the question for open invitations of the same invitee and organization."""
    pending = Invitation.status == InvitationStatus.PENDING
    live = and_(pending, ~Invitation.overdue_at(at))
    if policy.canonical_identifier is None:
        return sharing(Invitation, Invitation.org_id, Invitation.identifier, where=live)

    def spelled_differently(session: AnySession) -> Query:
        same: dict[tuple[str, str], list[str]] = defaultdict(list)
        columns = Invitation.id, Invitation.org_id, Invitation.identifier
        for id_, org_id, identifier in session.execute(select(*columns).where(live)):
            same[org_id, policy.canonical(identifier)].append(id_)
        ids = [id_ for group in same.values() if len(group) > 1 for id_ in group]
        return rows(Invitation).where(among(session, table_of(Invitation).c.id, ids))

    return spelled_differently


def checks(at: datetime, policy: Policy = LETTER) -> list[Check]:
    """Return every question to the rows.

    Args:
        at: the time by which invitations are overdue, or not yet.
        policy: tells which identifiers are the same invitee's.
    """
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
            kept_by=("mem_unique_active",),
        ),
        # What outlived its organization.
        Check(
            "membership_in_revoked_org",
            "active or suspended memberships, with their tuples, in a revoked organization",
            rows(Membership).where(LEFT_BEHIND),
            repairable=True,
        ),
        Check(
            "invitation_in_revoked_org",
            "pending invitations into a revoked organization",
            rows(Invitation).where(STILL_OFFERED),
            repairable=True,
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
            kept_by=("mem_replaces_unique",),
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
            _duplicates(policy, at),
            severity=Severity.WARNING,
        ),
        Check(
            "malformed_pre_tuple",
            "pending invitations that cannot be accepted: a pre-tuple is malformed",
            promising(MALFORMED),
        ),
        Check(
            "pre_tuple_org_role",
            "pending invitations that promise a role in an organization without a membership, or "
            "anything on another organization, or on what tenancy itself keeps",
            promising(NOT_GRANTABLE),
        ),
        # What the schema refuses, unless something is missing from it or it has been bypassed.
        Check(
            "terminal_fields",
            "rows whose status does not go with when, and by whom, they were ended",
            contradictory(),
        ),
        _constrained(
            "unknown_status",
            "rows in a status that does not exist",
            "usr_status_check",
            "org_status_check",
            "mem_status_check",
            "inv_status_check",
        ),
        _constrained(
            "unknown_role",
            "memberships and invitations with a role that does not exist",
            "mem_role_check",
            "inv_role_check",
        ),
        _constrained(
            "malformed_slug",
            "organizations whose slug has not the form of one",
            "org_slug_format",
        ),
        _constrained(
            "malformed_tuple",
            "tuples whose relation or type has not the form of one",
            "tup_subject_type_check",
            "tup_relation_check",
            "tup_object_type_check",
        ),
        _constrained(
            "impossible_expiry",
            "invitations that expired before they were created",
            "inv_check1",
        ),
        Check(
            "duplicate_slug",
            "organizations with the slug of another one",
            sharing(Organization, Organization.slug, where=Organization.slug.is_not(None)),
            kept_by=("org_slug_unique",),
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
            kept_by=("tup_subject_type_subject_id_relation_object_type_object_id_key",),
        ),
        Check(
            "dangling_reference",
            "rows that refer to a user, organization or membership that is not there",
            dangling(),
        ),
    ]
