"""The rules of an invitation, from the offer to its end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import (
    DuplicateMembershipError,
    ForbiddenError,
    IdentifierBindingRequiredError,
    IdentifierMismatchError,
    Invitation,
    InvitationExpiredError,
    InvitationNotPendingError,
    InvitationStatus,
    NotFoundError,
    PreconditionError,
    PreTuple,
    Role,
    Status,
    new_id,
)
from tests.support.entities import (
    EXPIRY,
    LATER,
    NOW,
    TICK,
    a_member,
    a_user,
    an_invitation,
    an_org,
    refused,
)

GRANT = PreTuple("editor", "proj", "0190f2a8-1b3c-7abc-8123-456789abcdef")
ENDED = [status for status in InvitationStatus if status is not InvitationStatus.PENDING]
IDENTIFIER = "newbie@example.com"


def _offer(**given: Any) -> Invitation:
    arguments: dict[str, Any] = {
        "organization": an_org(),
        "identifier": IDENTIFIER,
        "role": Role.MEMBER,
        "invited_by": new_id("usr"),
        "expires_at": EXPIRY,
        "at": NOW,
    }
    return Invitation.offer(**arguments | given)


def _ended(status: InvitationStatus) -> Invitation:
    invitation = an_invitation()
    invitation.status, invitation.terminal_at = status, NOW
    return invitation


def test_an_offer_is_pending_and_says_what_it_offers() -> None:
    org, inviter = an_org(), new_id("usr")
    invitation = _offer(
        organization=org, role=Role.GUEST, invited_by=inviter, pre_tuples=[GRANT, GRANT]
    )
    assert invitation.id.startswith("inv_")
    assert (invitation.org_id, invitation.invited_by) == (org.id, inviter)
    assert (invitation.identifier, invitation.role) == (IDENTIFIER, Role.GUEST)
    assert invitation.status is InvitationStatus.PENDING
    assert (invitation.created_at, invitation.expires_at) == (NOW, EXPIRY)
    assert invitation.pre_tuples == [GRANT, GRANT]
    assert invitation.invited_user_id is None
    assert (invitation.terminal_at, invitation.terminal_by) == (None, None)


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.REVOKED])
def test_nobody_is_invited_into_an_organization_that_is_not_active(status: Status) -> None:
    with refused(PreconditionError, reason="org_not_active"):
        _offer(organization=an_org(status))


@pytest.mark.parametrize("identifier", ["", "a\x00b", "\ud800", None, 7, b"newbie"])
def test_an_identifier_is_text_that_can_be_stored(identifier: Any) -> None:
    with refused(PreconditionError, reason="identifier_format"):
        _offer(identifier=identifier)


@pytest.mark.parametrize("identifier", [" ", "Ä@example.com", "x" * 10_000, "a\nb"])
def test_an_identifier_is_kept_as_it_is(identifier: str) -> None:
    assert _offer(identifier=identifier).identifier == identifier


@pytest.mark.parametrize(
    "expires_at, reason",
    [
        (datetime(2027, 1, 1), "naive_expiration"),  # noqa: DTZ001 - naive is what is refused
        (date(2027, 1, 1), "naive_expiration"),
        ("2027-01-01T00:00:00Z", "naive_expiration"),
        (1_800_000_000, "naive_expiration"),
        (None, "naive_expiration"),
        (NOW, "past_expiration"),
        (NOW - TICK, "past_expiration"),
        (datetime.min.replace(tzinfo=UTC), "past_expiration"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "expiration_range"),
    ],
)
def test_an_expiry_is_an_aware_moment_in_the_future(expires_at: Any, reason: str) -> None:
    with refused(PreconditionError, reason=reason):
        _offer(expires_at=expires_at)


def test_an_expiry_reads_back_in_utc() -> None:
    invitation = _offer(expires_at=EXPIRY.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert invitation.expires_at == EXPIRY
    assert invitation.expires_at.tzinfo is UTC


OFFER_FLAWS: dict[str, dict[str, Any]] = {
    "org_not_active": {"organization": an_org(Status.SUSPENDED)},
    "identifier_format": {"identifier": ""},
    "past_expiration": {"expires_at": NOW},
    "pre_tuple_format": {"pre_tuples": [PreTuple("", "", "")]},
}


@pytest.mark.parametrize("first", range(len(OFFER_FLAWS)), ids=list(OFFER_FLAWS))
def test_the_first_of_several_flaws_of_an_offer_decides(first: int) -> None:
    given: dict[str, Any] = {}
    for flaw in list(OFFER_FLAWS)[first:]:
        given |= OFFER_FLAWS[flaw]
    with refused(PreconditionError, reason=list(OFFER_FLAWS)[first]):
        _offer(**given)


@pytest.mark.parametrize("role", Role)
def test_a_new_user_accepts_without_a_binding(role: Role) -> None:
    invitation, user = an_invitation(GRANT, role=role), a_user()
    membership, grants = invitation.accept(
        user, as_usr_id=None, accepting_identifier=None, memberships=[], at=LATER
    )
    assert (membership.usr_id, membership.org_id) == (user.id, invitation.org_id)
    assert (membership.role, membership.status) == (role, Status.ACTIVE)
    assert (membership.invited_by, membership.replaces) == (invitation.invited_by, None)
    assert membership.user is user
    assert membership.created_at == LATER
    assert grants == [GRANT]
    assert invitation.status is InvitationStatus.ACCEPTED
    assert (invitation.terminal_at, invitation.terminal_by) == (LATER, user.id)
    assert invitation.invited_user_id == user.id


def test_an_existing_user_accepts_with_the_invited_identifier() -> None:
    invitation, user = an_invitation(), a_user()
    membership, _ = invitation.accept(
        user, as_usr_id=user.id, accepting_identifier=IDENTIFIER, memberships=[], at=LATER
    )
    assert membership.usr_id == user.id


@pytest.mark.parametrize(
    "identifier", ["", "Newbie@example.com", "newbie@example.com ", "newbie@example.org"]
)
def test_the_identifier_is_compared_byte_for_byte(identifier: str) -> None:
    invitation, user = an_invitation(), a_user()
    with refused(IdentifierMismatchError, invitation, reason="identifier_mismatch"):
        invitation.accept(
            user, as_usr_id=user.id, accepting_identifier=identifier, memberships=[], at=LATER
        )


def test_an_invitation_holds_until_its_last_moment() -> None:
    invitation = an_invitation()
    assert not invitation.is_overdue(EXPIRY)
    assert invitation.is_overdue(EXPIRY + TICK)
    invitation.decline(by=None, at=EXPIRY)
    assert not invitation.is_overdue(EXPIRY + TICK)


ACCEPT_CHECKS: list[tuple[Any, str | None]] = [
    (InvitationNotPendingError, None),
    (InvitationExpiredError, None),
    (IdentifierBindingRequiredError, "identifier_binding_required"),
    (IdentifierMismatchError, "identifier_mismatch"),
    (NotFoundError, None),
    (PreconditionError, "org_not_active"),
    (DuplicateMembershipError, None),
    (PreconditionError, "mem_suspended"),
    (PreconditionError, "pre_tuple_org_role"),
]


@pytest.mark.parametrize("first", range(len(ACCEPT_CHECKS)))
def test_the_first_of_several_flaws_of_an_acceptance_decides(first: int) -> None:
    user = a_user()
    invitation = an_invitation()
    invitation.pre_tuples = [PreTuple("owner", "org", new_id("org"))]
    memberships = [
        a_member(status=status)
        for flaw, status in ((7, Status.SUSPENDED), (6, Status.ACTIVE))
        if first <= flaw
    ]
    if first <= 5:
        invitation.organization.status = Status.SUSPENDED
    if first <= 0:
        invitation.status = InvitationStatus.DECLINED
    error, reason = ACCEPT_CHECKS[first]
    with refused(error, invitation, reason=reason):
        invitation.accept(
            None if first <= 4 else user,
            as_usr_id=user.id,
            accepting_identifier={2: None, 3: "else"}.get(max(first, 2), IDENTIFIER),
            memberships=memberships,
            at=EXPIRY + TICK if first <= 1 else LATER,
        )


@pytest.mark.parametrize(
    "grant, reason",
    [
        (PreTuple("", "proj", GRANT.object_id), "pre_tuple_format"),
        (PreTuple("editor", "", GRANT.object_id), "pre_tuple_format"),
        (PreTuple("editor", "proj", "?"), "pre_tuple_format"),
        (PreTuple("admin", "org", GRANT.object_id), "pre_tuple_org_role"),
    ],
)
def test_what_other_clients_wrote_must_hold_when_it_is_accepted(
    grant: PreTuple, reason: str
) -> None:
    invitation = an_invitation()
    invitation.pre_tuples = [GRANT, grant]
    with refused(PreconditionError, invitation, reason=reason):
        invitation.accept(
            a_user(), as_usr_id=None, accepting_identifier=None, memberships=[], at=LATER
        )


@pytest.mark.parametrize("by", [None, "usr_0190f2a81b3c7abc8123456789abcdef"])
def test_declining_names_who_declined_if_anybody_did(by: str | None) -> None:
    invitation = an_invitation()
    invitation.decline(by=by, at=LATER)
    assert invitation.status is InvitationStatus.DECLINED
    assert (invitation.terminal_at, invitation.terminal_by) == (LATER, by)
    assert invitation.invited_user_id is None


@pytest.mark.parametrize("role", Role)
def test_owners_and_admins_withdraw_an_invitation(role: Role) -> None:
    invitation, admin = an_invitation(), a_member(role)
    if role not in (Role.OWNER, Role.ADMIN):
        with refused(ForbiddenError, invitation):
            invitation.revoke(admin, admin_usr_id=admin.usr_id, at=LATER)
        return
    invitation.revoke(admin, admin_usr_id=admin.usr_id, at=LATER)
    assert invitation.status is InvitationStatus.REVOKED
    assert (invitation.terminal_at, invitation.terminal_by) == (LATER, admin.usr_id)


def test_a_stranger_withdraws_nothing() -> None:
    invitation = an_invitation()
    with refused(ForbiddenError, invitation):
        invitation.revoke(None, admin_usr_id=new_id("usr"), at=LATER)


@pytest.mark.parametrize("at", [LATER, EXPIRY + TICK])
def test_an_organization_takes_its_pending_invitations_along_overdue_or_not(at: datetime) -> None:
    invitation = an_invitation()
    invitation.end(at)
    assert invitation.status is InvitationStatus.REVOKED
    assert (invitation.terminal_at, invitation.terminal_by) == (at, None)


def test_an_invitation_expires_when_its_time_is_over_and_not_before() -> None:
    invitation = an_invitation()
    with refused(PreconditionError, invitation, reason="invalid_transition"):
        invitation.expire(EXPIRY)
    invitation.expire(EXPIRY + TICK)
    assert invitation.status is InvitationStatus.EXPIRED
    assert (invitation.terminal_at, invitation.terminal_by) == (EXPIRY + TICK, None)


ANSWERS: dict[str, Callable[[Invitation, datetime], object]] = {
    "accept": lambda invitation, at: invitation.accept(
        None, as_usr_id=new_id("usr"), accepting_identifier=None, memberships=[], at=at
    ),
    "decline": lambda invitation, at: invitation.decline(by=None, at=at),
    "revoke": lambda invitation, at: invitation.revoke(None, admin_usr_id=new_id("usr"), at=at),
}
ENDS = ANSWERS | {"end": Invitation.end, "expire": Invitation.expire}


@pytest.mark.parametrize("end", list(ENDS.values()), ids=list(ENDS))
@pytest.mark.parametrize("status", ENDED)
def test_terminal_is_terminal_and_asked_before_anything_else(
    end: Callable[[Invitation, datetime], object], status: InvitationStatus
) -> None:
    invitation = _ended(status)
    with refused(InvitationNotPendingError, invitation):
        end(invitation, EXPIRY + TICK)


@pytest.mark.parametrize("end", list(ANSWERS.values()), ids=list(ANSWERS))
def test_overdue_is_over_and_asked_second(
    end: Callable[[Invitation, datetime], object],
) -> None:
    invitation = an_invitation()
    with refused(InvitationExpiredError, invitation):
        end(invitation, EXPIRY + TICK)
