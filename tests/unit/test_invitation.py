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
    Membership,
    NotFoundError,
    PreconditionError,
    PreTuple,
    Role,
    Status,
    User,
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

PROJECT = "0190f2a8-1b3c-7abc-8123-456789abcdef"
GRANT = PreTuple("editor", "proj", PROJECT)
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


def _accept(
    invitation: Invitation, user: User | None, **given: Any
) -> tuple[Membership, list[PreTuple]]:
    binding = {"as_usr_id": None, "accepting_identifier": None, "memberships": [], "at": LATER}
    return invitation.accept(user, **binding | given)  # type: ignore[arg-type]  # as in a call


def test_an_offer_is_pending_and_says_what_it_offers() -> None:
    org, inviter = an_org(), new_id("usr")
    elsewhere = EXPIRY.astimezone(timezone(timedelta(hours=5, minutes=30)))
    offer = _offer(
        organization=org,
        role=Role.GUEST,
        invited_by=inviter,
        expires_at=elsewhere,
        pre_tuples=[GRANT, GRANT],
    )
    assert offer.id.startswith("inv_")
    assert (offer.org_id, offer.invited_by, offer.invited_user_id) == (org.id, inviter, None)
    assert (offer.identifier, offer.role) == (IDENTIFIER, Role.GUEST)
    assert (offer.created_at, offer.expires_at, offer.expires_at.tzinfo) == (NOW, EXPIRY, UTC)
    assert offer.pre_tuples == [GRANT, GRANT]
    assert (offer.status, offer.terminal_at, offer.terminal_by) == ("pending", None, None)
    assert repr(offer) == f"<Invitation {offer.id} pending>"


@pytest.mark.parametrize("identifier", [" ", "Ä@example.com", "x" * 10_000, "a\nb"])
def test_an_identifier_is_kept_as_it_is(identifier: str) -> None:
    assert _offer(identifier=identifier).identifier == identifier


@pytest.mark.parametrize(
    "parameter, value, reason",
    [
        ("organization", an_org(Status.SUSPENDED), "org_not_active"),
        ("organization", an_org(Status.REVOKED), "org_not_active"),
        *(("identifier", v, "identifier_format") for v in ("", "a\0b", "\ud800", None, 7, b"a")),
        *(
            ("expires_at", value, "naive_expiration")
            for value in (EXPIRY.replace(tzinfo=None), date(2027, 1, 1), "2027-01-01Z", 18e8, None)
        ),
        ("expires_at", NOW, "past_expiration"),
        ("expires_at", NOW - TICK, "past_expiration"),
        ("expires_at", datetime.min.replace(tzinfo=UTC), "past_expiration"),
        (
            "expires_at",
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            "expiration_range",
        ),
        ("pre_tuples", [PreTuple("", "", "")], "pre_tuple_format"),
    ],
)
def test_each_flaw_of_an_offer_is_refused(parameter: str, value: Any, reason: str) -> None:
    with refused(PreconditionError, reason=reason):
        _offer(**{parameter: value})


def test_the_first_of_several_flaws_of_an_offer_decides() -> None:
    flaws: list[tuple[dict[str, Any], str]] = [
        ({"pre_tuples": [PreTuple("", "", "")]}, "pre_tuple_format"),
        ({"expires_at": NOW}, "past_expiration"),
        ({"identifier": ""}, "identifier_format"),
        ({"organization": an_org(Status.SUSPENDED)}, "org_not_active"),
    ]
    given: dict[str, Any] = {}
    for flaw, reason in flaws:
        given |= flaw
        with refused(PreconditionError, reason=reason):
            _offer(**given)


@pytest.mark.parametrize("role", Role)
def test_a_new_user_accepts_without_a_binding(role: Role) -> None:
    invitation, user = an_invitation(GRANT, role=role), a_user()
    membership, grants = _accept(invitation, user)
    assert (membership.usr_id, membership.org_id) == (user.id, invitation.org_id)
    assert (membership.role, membership.status) == (role, Status.ACTIVE)
    assert (membership.invited_by, membership.replaces) == (invitation.invited_by, None)
    assert membership.user is user
    assert membership.created_at == LATER
    assert grants == [GRANT]
    assert invitation.status is InvitationStatus.ACCEPTED
    assert (invitation.terminal_at, invitation.terminal_by) == (LATER, user.id)
    assert invitation.invited_user_id == user.id


@pytest.mark.parametrize(
    "identifier", ["", "Newbie@example.com", "newbie@example.com ", "newbie@example.org"]
)
def test_the_identifier_is_compared_byte_for_byte(identifier: str) -> None:
    invitation, user = an_invitation(), a_user()
    with refused(IdentifierMismatchError, invitation, reason="identifier_mismatch"):
        _accept(invitation, user, as_usr_id=user.id, accepting_identifier=identifier)
    membership, _ = _accept(invitation, user, as_usr_id=user.id, accepting_identifier=IDENTIFIER)
    assert membership.usr_id == user.id


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
        (PreTuple("", "proj", PROJECT), "pre_tuple_format"),
        (PreTuple("editor", "", PROJECT), "pre_tuple_format"),
        (PreTuple("editor", "proj", "?"), "pre_tuple_format"),
        (PreTuple("admin", "org", PROJECT), "pre_tuple_org_role"),
    ],
)
def test_what_other_clients_wrote_must_hold_when_it_is_accepted(
    grant: PreTuple, reason: str
) -> None:
    invitation = an_invitation()
    invitation.pre_tuples = [GRANT, grant]
    with refused(PreconditionError, invitation, reason=reason):
        _accept(invitation, a_user())


@pytest.mark.parametrize("by", [None, "usr_0190f2a81b3c7abc8123456789abcdef"])
def test_declining_names_who_declined_if_anybody_did(by: str | None) -> None:
    invitation = an_invitation()
    invitation.decline(by=by, at=LATER)
    assert invitation.status is InvitationStatus.DECLINED
    assert (invitation.terminal_at, invitation.terminal_by) == (LATER, by)
    assert invitation.invited_user_id is None


@pytest.mark.parametrize("role", [None, *Role])
def test_owners_and_admins_withdraw_an_invitation(role: Role | None) -> None:
    invitation, admin = an_invitation(), a_member(role) if role else None
    usr_id = admin.usr_id if admin else new_id("usr")
    if role not in (Role.OWNER, Role.ADMIN):
        with refused(ForbiddenError, invitation):
            invitation.revoke(admin, admin_usr_id=usr_id, at=LATER)
        return
    invitation.revoke(admin, admin_usr_id=usr_id, at=LATER)
    assert invitation.status is InvitationStatus.REVOKED
    assert (invitation.terminal_at, invitation.terminal_by) == (LATER, usr_id)


@pytest.mark.parametrize(
    "end",
    [
        lambda inv: _accept(inv, None, as_usr_id=new_id("usr"), at=EXPIRY + TICK),
        lambda inv: inv.decline(by=None, at=EXPIRY + TICK),
        lambda inv: inv.revoke(None, admin_usr_id=new_id("usr"), at=EXPIRY + TICK),
    ],
    ids=["accept", "decline", "revoke"],
)
def test_terminal_is_terminal_and_asked_first_and_overdue_is_over_and_asked_second(
    end: Callable[[Invitation], object],
) -> None:
    invitation = an_invitation()
    with refused(InvitationExpiredError, invitation):
        end(invitation)
    for invitation.status in ENDED:
        with refused(InvitationNotPendingError, invitation):
            end(invitation)
