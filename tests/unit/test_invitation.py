"""The rules of an invitation, from the offer to its end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    Membership,
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
EAST, WEST = (timezone(timedelta(hours=hours)) for hours in (5.5, -1))


def _offer(**given: Any) -> Invitation:
    who: dict[str, Any] = {
        "organization": an_org(),
        "identifier": IDENTIFIER,
        "invited_by": new_id("usr"),
    }
    return Invitation.offer(**who | {"role": Role.MEMBER, "expires_at": EXPIRY, "at": NOW} | given)


def _accept(
    invitation: Invitation, user: User | None, **given: Any
) -> tuple[Membership, list[PreTuple]]:
    alone: dict[str, Any] = {"as_usr_id": None, "accepting_identifier": None, "memberships": []}
    return invitation.accept(user, **alone | {"at": LATER} | given)


def test_an_offer_is_pending_and_says_what_it_offers() -> None:
    org, inviter = an_org(), new_id("usr")
    what: dict[str, Any] = {"role": Role.GUEST, "pre_tuples": [GRANT, GRANT]}
    until = EXPIRY.astimezone(EAST)
    offer = _offer(organization=org, invited_by=inviter, expires_at=until, **what)
    assert offer.id.startswith("inv_")
    assert (offer.org_id, offer.invited_by, offer.invited_user_id) == (org.id, inviter, None)
    assert (offer.identifier, offer.role) == (IDENTIFIER, Role.GUEST)
    assert (offer.created_at, offer.expires_at, offer.expires_at.tzinfo) == (NOW, EXPIRY, UTC)
    assert offer.pre_tuples == [GRANT, GRANT]
    assert (offer.status, offer.terminal_at, offer.terminal_by) == ("pending", None, None)


def test_a_renewal_ends_after_the_offer_began_whatever_the_clock_says() -> None:
    offer = _offer(at=LATER, expires_at=EXPIRY)
    for until in (NOW + TICK, LATER):
        with refused("precondition.past_expiration", offer):
            offer.renew(until, at=NOW)
    assert offer.expires_at == EXPIRY
    offer.renew(LATER + TICK, at=NOW)
    assert (offer.created_at, offer.expires_at) == (LATER, LATER + TICK)


def test_whether_it_is_overdue_is_told_as_of_the_reading() -> None:
    offer = _offer()  # long ago, by the current time
    assert offer.effective_status == "pending"
    for read_at, status in ((EXPIRY + TICK, "expired"), (EXPIRY, "pending"), (None, "expired")):
        offer.read_at = read_at
        assert (offer.effective_status, offer.status) == (status, "pending")
    offer.decline(by=None, at=NOW)
    assert offer.effective_status == "declined"


def test_an_identifier_is_kept_as_it_is() -> None:
    for identifier in ("a", "Ä@example.com", "\U0001f525" * 320, "a  b", "a\u200bb"):
        assert _offer(identifier=identifier).identifier == identifier


@pytest.mark.parametrize(
    "parameter, value, reason",
    [
        ("organization", an_org(Status.SUSPENDED), "org_not_active"),
        ("organization", an_org(Status.REVOKED), "org_not_active"),
        *(("identifier", v, "identifier_format") for v in ("", "a\0b", "\ud800", None, 7, b"a")),
        *(("identifier", v, "identifier_format") for v in (" ", " a", "a\u00a0", "\u2003a", "a\n")),
        *(("identifier", v, "identifier_format") for v in ("a\tb", "a\x7fb", "a\x85b", "a\x1bb")),
        ("identifier", "x" * 321, "identifier_length"),
        ("pre_tuples", [GRANT] * 101, "pre_tuple_count"),
        *(
            ("expires_at", value, "naive_expiration")
            for value in (EXPIRY.replace(tzinfo=None), date(2027, 1, 1), "2027-01-01Z", 18e8, None)
        ),
        ("expires_at", NOW, "past_expiration"),
        ("expires_at", NOW - TICK, "past_expiration"),
        ("expires_at", datetime.min.replace(tzinfo=UTC), "past_expiration"),
        ("expires_at", datetime.max.replace(tzinfo=WEST), "expiration_range"),
        ("pre_tuples", [PreTuple("", "", "")], "pre_tuple_format"),
    ],
)
def test_each_flaw_of_an_offer_is_refused(parameter: str, value: Any, reason: str) -> None:
    with refused(f"precondition.{reason}"):
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
        with refused(f"precondition.{reason}"):
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


def test_the_identifier_is_compared_byte_for_byte() -> None:
    invitation, user = an_invitation(), a_user()
    for other in ("", IDENTIFIER.title(), f"{IDENTIFIER} ", "newbie@example.org"):
        with refused("precondition.identifier_mismatch", invitation):
            _accept(invitation, user, as_usr_id=user.id, accepting_identifier=other)
    membership, _ = _accept(invitation, user, as_usr_id=user.id, accepting_identifier=IDENTIFIER)
    assert membership.usr_id == user.id


def test_an_invitation_holds_until_its_last_moment() -> None:
    invitation = an_invitation()
    assert not invitation.is_overdue(EXPIRY)
    assert invitation.is_overdue(EXPIRY + TICK)
    invitation.decline(by=None, at=EXPIRY)
    assert not invitation.is_overdue(EXPIRY + TICK)


def test_the_first_of_several_flaws_of_an_acceptance_decides() -> None:
    invitation, user = an_invitation(), a_user()
    invitation.pre_tuples = [PreTuple("owner", "org", new_id("org"))]
    suspended, active = a_member(status=Status.SUSPENDED), a_member()
    given: dict[str, Any] = {"user": user, "as_usr_id": user.id, "at": LATER}
    given |= {"accepting_identifier": IDENTIFIER, "memberships": []}
    # Each flaw beside those above it.
    for flaw, code in (
        ({}, "precondition.pre_tuple_org_role"),
        ({"memberships": [suspended]}, "precondition.mem_suspended"),
        ({"memberships": [suspended, active]}, "conflict.duplicate_membership"),
        ({"org": Status.SUSPENDED}, "precondition.org_not_active"),
        ({"user": None}, "not_found"),
        ({"accepting_identifier": "else"}, "precondition.identifier_mismatch"),
        ({"accepting_identifier": None}, "precondition.identifier_binding_required"),
        ({"at": EXPIRY + TICK}, "conflict.invitation_expired"),
        ({"inv": InvitationStatus.DECLINED}, "conflict.invitation_not_pending"),
    ):
        given |= flaw
        invitation.organization.status = given.pop("org", invitation.organization.status)
        invitation.status = given.pop("inv", invitation.status)
        with refused(code, invitation):
            invitation.accept(**given)


def test_what_other_clients_wrote_must_hold_when_it_is_accepted() -> None:
    invitation = an_invitation()
    for grant, reason in (
        (PreTuple("", "proj", PROJECT), "pre_tuple_format"),
        (PreTuple("editor", "", PROJECT), "pre_tuple_format"),
        (PreTuple("editor", "proj", "?"), "pre_tuple_format"),
        (PreTuple("admin", "org", PROJECT), "pre_tuple_org_role"),
    ):
        invitation.pre_tuples = [GRANT, grant]
        with refused(f"precondition.{reason}", invitation):
            _accept(invitation, a_user())


def test_declining_names_who_declined_if_anybody_did() -> None:
    for by in (None, new_id("usr")):
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
        with refused("forbidden", invitation):
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
    with refused("conflict.invitation_expired", invitation):
        end(invitation)
    for invitation.status in ENDED:
        with refused("conflict.invitation_not_pending", invitation):
            end(invitation)


@pytest.mark.parametrize("at", [LATER, EXPIRY + TICK])
def test_an_organization_takes_its_pending_invitations_along_overdue_or_not(at: datetime) -> None:
    invitation = an_invitation()
    invitation.end(at)
    assert invitation.status is InvitationStatus.REVOKED
    assert (invitation.terminal_at, invitation.terminal_by) == (at, None)


def test_an_invitation_expires_when_its_time_is_over_and_not_before() -> None:
    invitation = an_invitation()
    with refused("precondition.invalid_transition", invitation):
        invitation.expire(EXPIRY)
    invitation.expire(EXPIRY + TICK)
    assert invitation.status is InvitationStatus.EXPIRED
    assert (invitation.terminal_at, invitation.terminal_by) == (EXPIRY + TICK, None)
    for end in (invitation.expire, invitation.end):
        with refused("conflict.invitation_not_pending", invitation):
            end(EXPIRY + TICK)
