"""What a policy changes, field by field and clause by clause; by statement and by flush."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, cast

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from flametrench_tenancy_sqlalchemy import (
    DuplicateInvitationError,
    DuplicateInvitationIdError,
    ForbiddenError,
    Invitation,
    InvitationNotPendingError,
    InvitationStatus,
    Membership,
    Organization,
    Policy,
    PreconditionError,
    PreTuple,
    Role,
    SeatCount,
    SeatLimitError,
    Status,
    TenancyChange,
    TenancyRepository,
    Tuple,
    User,
    canonical_email,
    new_id,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from tests.support.calls import CALLS, Arguments, call
from tests.support.isolation import in_full
from tests.support.listening import row_of
from tests.support.operations import Operation, every_operation
from tests.support.rows import load_all, rows, untruths
from tests.support.sql import Row, bare, fact, snapshot
from tests.support.stage import DAY, IDENTIFIER, NOW, TICK, Stage

LATER: Final = NOW + DAY / 2
OTHER: Final = "other@example.com"
NO_ADMINISTRATORS: Final = (Role.MEMBER, Role.GUEST, Role.VIEWER, Role.EDITOR)


@pytest.fixture(autouse=True, params=["by statement", "by flush"])
def way(request: pytest.FixtureRequest, session: Session) -> None:
    """Runs every test here twice: by flush wherever somebody listens."""
    if request.param == "by flush":
        event.listen(session, "before_flush", lambda *_: None)


def under(stage: Stage, policy: Policy | None = None, **fields: Any) -> TenancyRepository:
    """Return the repository under a policy, half a day after the scene was set."""
    policy = policy or Policy(**fields)
    return TenancyRepository(stage.session, clock=lambda: LATER, policy=policy)


def invite(
    stage: Stage,
    org: Organization,
    identifier: str = IDENTIFIER,
    *pre_tuples: PreTuple,
    role: Role = Role.MEMBER,
    by: str | None = None,
    days: float = 1,
) -> Invitation:
    """Return a pending invitation of the owner's, or somebody else's."""
    return stage.tenancy.create_invitation(
        *(org.id, identifier, role, by or stage.owner(org).usr_id, NOW + days * DAY),
        pre_tuples=pre_tuples,
    )


def overdue(stage: Stage, org: Organization, identifier: str = IDENTIFIER) -> Invitation:
    """Return a pending invitation whose time is over by the time that a policy acts."""
    return invite(stage, org, identifier, days=0.25)


def stored_as(stage: Stage, invitation: Invitation, identifier: str) -> Invitation:
    """Have another client's spelling of an identifier in the row."""
    query = text("UPDATE inv SET identifier = :to WHERE id = CAST(:id AS uuid)")
    stage.session.execute(query, {"to": identifier, "id": bare(invitation.id)})
    stage.session.expire(invitation)
    return invitation


def revoked(by: str | None) -> Row:
    """Return what changes in an invitation that is revoked."""
    row: Row = {"status": "revoked", "terminal_at": LATER}
    return row | {"terminal_by": by} if by else row


def invitations(written: dict[str, Row | None]) -> dict[str, Row | None]:
    """Return what was written of invitations."""
    return {id_: row for id_, row in written.items() if id_.startswith("inv_")}


# Identifiers


def test_an_identifier_is_stored_and_compared_in_its_canonical_form(stage: Stage) -> None:
    org, user = stage.org(), stage.user()
    tenancy = under(stage, canonical_identifier=canonical_email)
    made = tenancy.create_invitation(
        org.id, " Ann@Example.COM ", Role.MEMBER, stage.owner(org).usr_id, LATER + DAY
    )
    assert made.identifier == "ann@example.com"
    assert [i.id for i in tenancy.list_invitations_for("ANN@example.com")] == [made.id]
    tenancy.accept_invitation(made.id, as_usr_id=user, accepting_identifier="ann@EXAMPLE.com")
    assert made.invited_user_id == user


def test_what_was_stored_before_the_policy_is_still_found_and_accepted(stage: Stage) -> None:
    org, user = stage.org(), stage.user()
    old = invite(stage, org, "Ann@Example.com")
    tenancy = under(stage, canonical_identifier=canonical_email)
    assert [i.id for i in tenancy.list_invitations_for("Ann@Example.com")] == [old.id]
    tenancy.accept_invitation(old.id, as_usr_id=user, accepting_identifier="ann@example.com")
    assert old.identifier == "Ann@Example.com"


def test_an_identifier_is_judged_when_it_is_canonical(stage: Stage) -> None:
    org = stage.org()
    tenancy, inviter = under(stage, canonical_identifier=canonical_email), stage.user()
    with stage.refuses(PreconditionError, "identifier_format"):
        tenancy.create_invitation(org.id, " \t", "member", inviter, LATER + DAY)
    tenancy = under(stage, canonical_identifier=lambda given: given.replace("%00", "\0"))
    for asked in (tenancy.list_invitations_for, tenancy.erase_identifier):
        with stage.refuses(PreconditionError, "identifier_format"):
            asked("ann%00")


# The lifetime


@pytest.mark.parametrize("days, allowed", [(30, True), (31, False)])
def test_an_invitation_may_be_open_for_so_long_and_no_longer(
    days: int, allowed: bool, stage: Stage
) -> None:
    org = stage.org()
    old, inviter = invite(stage, org), stage.owner(org).usr_id
    tenancy = under(stage, invitation_lifetime=timedelta(days=30))
    until = LATER + days * DAY
    acts: list[Callable[[], Invitation]] = [
        lambda: tenancy.create_invitation(org.id, OTHER, Role.MEMBER, inviter, until),
        lambda: tenancy.renew_invitation(old.id, until),
    ]
    for act in acts:
        if allowed:
            assert act().expires_at == until
        else:
            with stage.refuses(PreconditionError, "expiration_range", parameter="expires_at"):
                act()


# One live invitation


@pytest.mark.parametrize("pending", ["keep", "replace", "refuse"])
@pytest.mark.parametrize("how", ["create", "renew"])
def test_another_pending_invitation_of_the_identifier_stays_ends_or_is_in_the_way(
    how: str, pending: Any, stage: Stage
) -> None:
    org, inviter = stage.org(), stage.user()
    late = invite(stage, org, by=inviter, days=0.25)
    live = invite(stage, org, days=0.5)  # whose last moment it is
    tenancy = under(stage, pending_invitations=pending)

    def act() -> Invitation:
        if how == "renew":
            return tenancy.renew_invitation(late.id, LATER + DAY)
        return tenancy.create_invitation(org.id, IDENTIFIER, "guest", inviter, LATER + DAY)

    if pending == "refuse":
        with stage.refuses(DuplicateInvitationError, org_id=org.id, inv_id=live.id):
            act()
        return
    with stage.writes() as written:
        new = act()
    # Nothing of the organization either, which has been written as it is.
    assert written.keys() == ({new.id, live.id} if pending == "replace" else {new.id})
    assert written.get(live.id) == (revoked(inviter) if pending == "replace" else None)


@pytest.mark.parametrize("pending", ["replace", "refuse"])
def test_what_is_overdue_answered_elsewhere_or_for_another_is_not_in_the_way(
    pending: Any, stage: Stage
) -> None:
    org = stage.org()
    overdue(stage, org)
    invite(stage, stage.org())
    invite(stage, org, OTHER)
    stage.end(invite(stage, org), InvitationStatus.DECLINED)
    tenancy = under(stage, pending_invitations=pending)
    inviter = stage.owner(org).usr_id
    with stage.writes() as written:
        new = tenancy.create_invitation(org.id, IDENTIFIER, "guest", inviter, LATER + DAY)
    assert written.keys() == {new.id}


@pytest.mark.parametrize("pending", ["replace", "refuse"])
def test_renewing_what_is_open_is_no_new_invitation(pending: Any, stage: Stage) -> None:
    org = stage.org()
    one, _ = invite(stage, org), invite(stage, org)
    tenancy = under(stage, pending_invitations=pending)
    with stage.writes() as written:
        tenancy.renew_invitation(one.id, LATER + DAY)
    assert written == {one.id: {"expires_at": LATER + DAY}}


@pytest.mark.parametrize("pending", ["keep", "replace", "refuse"])
def test_an_invitation_that_is_sent_again_is_known_by_its_id(pending: Any, stage: Stage) -> None:
    org = stage.org()
    tenancy = under(stage, pending_invitations=pending)
    given = (org.id, IDENTIFIER, Role.GUEST, stage.owner(org).usr_id, LATER + DAY)
    sent = tenancy.create_invitation(*given, inv_id=new_id("inv"))
    with stage.refuses(DuplicateInvitationIdError, inv_id=sent.id):
        tenancy.create_invitation(*given, inv_id=sent.id)
    assert sent.status is InvitationStatus.PENDING


@pytest.mark.parametrize("ends", [False, True])
def test_an_acceptance_ends_the_others_of_its_identifier(ends: bool, stage: Stage) -> None:
    org, user = stage.org(), stage.user()
    one, other, late = invite(stage, org), invite(stage, org), overdue(stage, org)
    elsewhere, anothers = invite(stage, stage.org()), invite(stage, org, OTHER)
    tenancy = under(stage, accept_ends_others=ends)
    with stage.writes() as written:
        tenancy.accept_invitation(one.id, as_usr_id=user, accepting_identifier=IDENTIFIER)
    assert invitations(written).keys() == {one.id} | ({other.id} if ends else set())
    assert written.get(other.id) == (revoked(user) if ends else None)
    assert not {org.id, late.id, elsewhere.id, anothers.id} & written.keys()


def test_an_acceptance_by_a_new_user_ends_the_others_in_their_name(stage: Stage) -> None:
    org = stage.org()
    one, other = invite(stage, org), invite(stage, org)
    accepted = under(stage, accept_ends_others=True).accept_invitation(one.id)
    assert other.status is InvitationStatus.REVOKED
    assert other.terminal_by == accepted.membership.usr_id


def test_an_acceptance_of_what_was_spelled_otherwise_ends_what_is_canonical(stage: Stage) -> None:
    org = stage.org()
    spelled, other = stored_as(stage, invite(stage, org), IDENTIFIER.upper()), invite(stage, org)
    policy = Policy(accept_ends_others=True, canonical_identifier=canonical_email)
    under(stage, policy).accept_invitation(spelled.id)
    assert other.status is InvitationStatus.REVOKED


# The inviter's authority

ENTITLED: Final = [
    *((Role.OWNER, role, True) for role in Role),
    *((Role.ADMIN, role, role is not Role.OWNER) for role in Role),
    *((by, role, False) for by in NO_ADMINISTRATORS for role in (Role.GUEST, by)),
]
ELSEWHERE: Final = "a member elsewhere"


def inviters(stage: Stage, org: Organization) -> dict[object, str]:
    """Return users who may offer nothing, whatever they were."""
    other = stage.org()
    return {
        Status.SUSPENDED: stage.member(org, Role.OWNER, Status.SUSPENDED).usr_id,
        Status.REVOKED: stage.member(org, Role.OWNER, Status.REVOKED).usr_id,
        ELSEWHERE: stage.owner(other).usr_id,
    }


@pytest.mark.parametrize(
    "by, role, may",
    [*ENTITLED, *((by, Role.GUEST, False) for by in (*list(Status)[1:], ELSEWHERE))],
)
def test_an_inviter_needs_the_rank_of_what_they_offer_when_they_invite_and_still_at_the_end(
    by: Any, role: Role, may: bool, stage: Stage
) -> None:
    org = stage.org()
    inviter = stage.member(org, by).usr_id if isinstance(by, Role) else inviters(stage, org)[by]
    old = invite(stage, org, role=role, by=inviter)
    tenancy = under(stage, inviter_authority=True)

    def create() -> Invitation:
        return tenancy.create_invitation(org.id, OTHER, role, inviter, LATER + DAY)

    if may:
        assert create().status is InvitationStatus.PENDING
        assert tenancy.accept_invitation(old.id).membership.role is role
    else:
        with stage.refuses(ForbiddenError, usr_id=inviter, org_id=org.id):
            create()
        with stage.refuses(PreconditionError, "inviter_not_entitled", usr_id=inviter):
            tenancy.accept_invitation(old.id)


@pytest.mark.parametrize("ended", ["demoted", "suspended", "removed"])
def test_an_inviter_who_has_lost_their_authority_makes_nobody_an_owner(
    ended: str, stage: Stage
) -> None:
    org = stage.org()
    inviter, founder = stage.member(org, Role.OWNER), stage.owner(org).usr_id
    offer = invite(stage, org, role=Role.OWNER, by=inviter.usr_id)
    tenancy = under(stage, inviter_authority=True)
    if ended == "suspended":
        tenancy.suspend_membership(inviter.id)
    else:
        demoted = tenancy.change_role(inviter.id, Role.ADMIN)
        if ended == "removed":
            tenancy.admin_remove(demoted.id, founder)
    with stage.refuses(PreconditionError, "inviter_not_entitled", inv_id=offer.id):
        tenancy.accept_invitation(offer.id)


# Seats

Scene: TypeAlias = Callable[[Stage, Organization], object]


def both_suspended_and_active(stage: Stage, org: Organization) -> None:
    usr_id = stage.member(org, status=Status.SUSPENDED).usr_id
    stage.member(org, usr_id=usr_id)


TAKEN: Final[dict[str, tuple[int, Scene]]] = {
    "a member": (1, lambda s, o: s.member(o)),
    "a suspended member": (1, lambda s, o: s.member(o, status=Status.SUSPENDED)),
    "who has left": (0, lambda s, o: s.member(o, status=Status.REVOKED)),
    "who is back beside a suspension": (1, both_suspended_and_active),
    "a successor": (1, lambda s, o: s.tenancy.change_role(s.member(o).id, Role.ADMIN)),
    "who is invited": (1, invite),
    "who is invited twice": (1, lambda s, o: (invite(s, o), invite(s, o))),
    "who was invited in another spelling": (
        1,
        lambda s, o: (invite(s, o), stored_as(s, invite(s, o), IDENTIFIER.upper())),
    ),
    "two who are invited": (2, lambda s, o: (invite(s, o), invite(s, o, OTHER))),
    "whose last moment it is": (1, lambda s, o: invite(s, o, days=0.5)),
    "whose time is over": (0, overdue),
    "who has declined": (0, lambda s, o: s.end(invite(s, o), InvitationStatus.DECLINED)),
    "who is elsewhere": (0, lambda s, o: (s.member(s.org()), invite(s, s.org()))),
}


@pytest.mark.parametrize("taken, scene", TAKEN.values(), ids=TAKEN.keys())
def test_a_seat_is_taken_by_every_member_and_every_invited_identifier(
    taken: int, scene: Scene, stage: Stage
) -> None:
    org = stage.org()
    scene(stage, org)
    tenancy = under(stage, seats=lambda *_: 7, canonical_identifier=canonical_email)
    assert tenancy.count_seats(org.id) == SeatCount(7, 1 + taken)
    assert under(stage).count_seats(org.id).limit is None


Join: TypeAlias = Callable[[Stage, TenancyRepository, Organization], object]


def again(stage: Stage, tenancy: TenancyRepository, org: Organization) -> Membership:
    suspended = stage.tenancy.list_members(org.id, status=Status.SUSPENDED).data[0]
    return tenancy.add_member(org.id, suspended.usr_id, Role.GUEST)


def offer(identifier: str) -> Join:
    return lambda stage, tenancy, org: tenancy.create_invitation(
        org.id, identifier, "guest", stage.owner(org).usr_id, LATER + DAY
    )


def offered(stage: Stage, org: Organization, identifier: str) -> str:
    """Return the pending invitation of an identifier."""
    found = stage.tenancy.list_invitations(org.id, limit=200)
    return next(each.id for each in found if each.identifier == identifier)


def renew(identifier: str) -> Join:
    return lambda s, t, o: t.renew_invitation(offered(s, o, identifier), LATER + DAY)


JOINS: Final[dict[str, tuple[bool, Join]]] = {
    "add_member": (True, lambda s, t, o: t.add_member(o.id, s.session.info["new"], "guest")),
    "add_member of a suspended one": (False, again),
    "create_invitation": (True, offer("new@example.com")),
    "create_invitation of an invited one": (False, offer(IDENTIFIER.upper())),
    "create_invitation of an overdue one": (True, offer(OTHER)),
    "renew_invitation": (False, renew(IDENTIFIER)),
    "renew_invitation of an overdue one": (True, renew(OTHER)),
    "renew_invitation of an overdue one in another spelling": (False, renew(IDENTIFIER.upper())),
    "accept_invitation": (False, lambda s, t, o: t.accept_invitation(offered(s, o, IDENTIFIER))),
    "reinstate_membership": (
        False,
        lambda s, t, o: t.reinstate_membership(
            s.tenancy.list_members(o.id, status=Status.SUSPENDED).data[0].id
        ),
    ),
}


def set_the_scene(stage: Stage) -> Organization:
    """Return an organization of which three seats are taken, and a user for one more."""
    org = stage.org()
    stage.member(org, status=Status.SUSPENDED)
    invite(stage, org)
    overdue(stage, org, OTHER)
    stored_as(stage, overdue(stage, org), IDENTIFIER.upper())
    stage.session.info["new"] = stage.user()
    return org


@pytest.mark.parametrize("pending", ["keep", "replace"])
@pytest.mark.parametrize("takes, join", JOINS.values(), ids=JOINS.keys())
def test_whoever_takes_a_seat_needs_a_free_one(
    takes: bool, join: Join, pending: Any, stage: Stage
) -> None:
    org = set_the_scene(stage)

    def limited(seats: int) -> TenancyRepository:
        return under(
            stage,
            seats=lambda session, org: seats,
            canonical_identifier=canonical_email,
            pending_invitations=pending,
        )

    if takes:
        with stage.refuses(SeatLimitError, org_id=org.id, limit=3, taken=3):
            join(stage, limited(3), org)
    seats = 4 if takes else 3
    join(stage, limited(seats), org)
    assert limited(seats).count_seats(org.id) == SeatCount(seats, seats)


def test_an_organization_without_a_limit_is_open(stage: Stage) -> None:
    small, big, user = stage.org(), stage.org(), stage.user()
    tenancy = under(stage, seats=lambda _, org: 1 if org.id == small.id else None)
    tenancy.add_member(big.id, user, Role.MEMBER)
    with stage.refuses(SeatLimitError):
        tenancy.add_member(small.id, user, Role.MEMBER)


@pytest.mark.parametrize("limit", [9, None])
def test_with_a_limit_an_acceptance_ends_the_others_in_whatever_spelling(
    limit: int | None, stage: Stage
) -> None:
    org = stage.org()
    one, other = invite(stage, org), invite(stage, org)
    spelled = stored_as(stage, invite(stage, org), IDENTIFIER.upper())
    tenancy = under(stage, seats=lambda *_: limit, canonical_identifier=canonical_email)
    before = tenancy.count_seats(org.id)
    with stage.writes() as written:
        usr_id = tenancy.accept_invitation(one.id).membership.usr_id
    ended = {other.id: revoked(usr_id), spelled.id: revoked(usr_id)} if limit else {}
    assert invitations(written).keys() - {one.id} == ended.keys()
    assert ended.items() <= written.items()
    if limit:
        assert tenancy.count_seats(org.id) == before == SeatCount(limit, 2)


@pytest.mark.parametrize("join", [join for _, join in JOINS.values()], ids=JOINS.keys())
def test_the_limit_may_be_asked_of_the_database_whoever_comes_in(join: Join, stage: Stage) -> None:
    def plan(session: Session, org: Organization) -> int | None:
        query = text("SELECT 4 FROM org WHERE id = CAST(:id AS uuid)")
        return cast("int", session.scalar(query, {"id": bare(org.id)}))

    org = set_the_scene(stage)
    join(stage, under(stage, Policy.recommended(seats=plan)), org)


# Departures


@dataclass(frozen=True)
class Departure:
    """A way to lose one's membership or one's role."""

    act: Callable[[TenancyRepository, Membership, str], object]
    role: Role = Role.ADMIN
    by_founder: bool = False
    for_good: bool = False


DEPARTURES: Final = {
    "self_leave": Departure(lambda t, m, _: t.self_leave(m.id), Role.OWNER, for_good=True),
    "admin_remove": Departure(
        lambda t, m, by: t.admin_remove(m.id, by), by_founder=True, for_good=True
    ),
    "remove_members": Departure(
        lambda t, m, by: t.remove_members([m.id], by), by_founder=True, for_good=True
    ),
    "suspend_membership": Departure(lambda t, m, _: t.suspend_membership(m.id)),
    "change_role": Departure(lambda t, m, _: t.change_role(m.id, Role.MEMBER)),
    "change_roles": Departure(lambda t, m, _: t.change_roles({m.id: Role.EDITOR})),
    "transfer_ownership": Departure(
        lambda t, m, by: t.transfer_ownership(m.org_id, m.id, founders(t, m, by).id), Role.OWNER
    ),
}
by_departure = pytest.mark.parametrize("departure", DEPARTURES.values(), ids=DEPARTURES.keys())


def founders(tenancy: TenancyRepository, membership: Membership, usr_id: str) -> Membership:
    found = tenancy.find_membership(membership.org_id, usr_id)
    assert found is not None
    return found


@by_departure
@pytest.mark.parametrize("revokes", [False, True])
def test_offers_go_with_whoever_may_no_longer_make_them(
    revokes: bool, departure: Departure, stage: Stage
) -> None:
    org, elsewhere = stage.org(), stage.org()
    leaver, founder = stage.member(org, departure.role), stage.owner(org).usr_id
    stage.member(elsewhere, Role.OWNER, usr_id=leaver.usr_id)
    theirs = {
        invite(stage, org, by=leaver.usr_id).id,
        invite(stage, org, OTHER, role=Role.GUEST, by=leaver.usr_id, days=0.25).id,
    }
    invite(stage, org)
    invite(stage, elsewhere, by=leaver.usr_id)
    stage.end(invite(stage, org, by=leaver.usr_id), InvitationStatus.DECLINED)
    tenancy = under(stage, departure_revokes_offers=revokes)
    with stage.writes() as written:
        departure.act(tenancy, leaver, founder)
    ended = revoked(founder if departure.by_founder else None)
    assert invitations(written) == (dict.fromkeys(theirs, ended) if revokes else {})


@pytest.mark.parametrize(
    "was, becomes, kept",
    [
        (Role.OWNER, Role.ADMIN, {Role.ADMIN, Role.MEMBER, Role.VIEWER}),
        (Role.OWNER, Role.MEMBER, set()),
        (Role.ADMIN, Role.OWNER, {Role.OWNER, Role.ADMIN, Role.MEMBER, Role.VIEWER}),
        (Role.VIEWER, Role.MEMBER, {Role.OWNER, Role.ADMIN, Role.MEMBER, Role.VIEWER}),
        (Role.VIEWER, Role.EDITOR, {Role.OWNER, Role.ADMIN, Role.MEMBER, Role.VIEWER}),
    ],
)
def test_a_demotion_ends_what_is_beyond_the_new_role_and_a_promotion_nothing(
    was: Role, becomes: Role, kept: set[Role], stage: Stage
) -> None:
    org = stage.org()
    member = stage.member(org, was)
    offers = [
        invite(stage, org, f"{role}@example.com", role=role, by=member.usr_id)
        for role in (Role.OWNER, Role.ADMIN, Role.MEMBER, Role.VIEWER)
    ]
    under(stage, departure_revokes_offers=True).change_role(member.id, becomes)
    assert {o.role for o in offers if o.status is InvitationStatus.PENDING} == kept


GRANTS: Final = [PreTuple("editor", "proj", str(new_uuid())) for _ in range(5)]


@dataclass
class Granted:
    """Whoever came by an invitation, and what it brought them."""

    membership: Membership
    brought: set[str]
    """The tuples that go with them; all others stay."""


def accept(stage: Stage, org: Organization, usr_id: str, role: Role, *grants: PreTuple) -> Any:
    """Have a user accept an invitation, a moment after the last one."""
    stage.clock.now += TICK
    made = invite(stage, org, IDENTIFIER, *grants, role=role)
    return stage.tenancy.accept_invitation(
        made.id, as_usr_id=usr_id, accepting_identifier=IDENTIFIER
    ).membership


def granted(stage: Stage, org: Organization, role: Role) -> Granted:
    """Let a user come with grants, of which some are not this invitation's alone."""
    usr_id = stage.user()
    mine, before, shared, past, manual = GRANTS
    with in_full(stage.session):
        stage.session.execute(
            text(
                "INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id) "
                "VALUES (gen_random_uuid(), 'usr', CAST(:usr AS uuid), 'editor', 'proj', :proj)"
            ),
            {"usr": bare(usr_id), "proj": manual.object_id},
        )
    accept(stage, stage.org(), usr_id, Role.MEMBER, before)
    membership = accept(stage, org, usr_id, role, mine, before, shared, past, manual)
    accept(stage, stage.org(), usr_id, Role.MEMBER, shared)
    left = accept(stage, stage.org(), usr_id, Role.MEMBER, past)
    stage.tenancy.self_leave(left.id)
    accept(stage, org, stage.user(), Role.MEMBER, mine)
    keys = {fact(usr_id, "editor", f"proj_{g.object_id.replace('-', '')}") for g in (mine, past)}
    return Granted(membership, keys)


@by_departure
@pytest.mark.parametrize("withdraws", [False, True])
def test_grants_go_with_whoever_goes_for_good_unless_another_promise_stands(
    withdraws: bool, departure: Departure, stage: Stage
) -> None:
    org = stage.org()
    founder = stage.owner(org).usr_id
    leaver = granted(stage, org, departure.role)
    tenancy = under(stage, departure_withdraws_grants=withdraws)
    with stage.writes() as written:
        departure.act(tenancy, leaver.membership, founder)
    gone = {key for key, row in written.items() if row is None and " editor proj_" in key}
    assert gone == (leaver.brought if withdraws and departure.for_good else set())


@pytest.mark.parametrize("first", [0, 1], ids=["that brought it", "that did not bring it"])
def test_what_two_have_promised_goes_with_the_last_of_them(first: int, stage: Stage) -> None:
    usr_id, grant = stage.user(), GRANTS[0]
    joined = [accept(stage, stage.org(), usr_id, Role.MEMBER, grant) for _ in range(2)]
    key = fact(usr_id, "editor", f"proj_{grant.object_id.replace('-', '')}")
    tenancy = under(stage, departure_withdraws_grants=True)
    with stage.writes() as written:
        tenancy.self_leave(joined[first].id)
    assert key not in written
    with stage.writes() as written:
        tenancy.self_leave(joined[1 - first].id)
    assert written[key] is None


def test_a_suspended_member_loses_their_grants_when_they_are_removed(stage: Stage) -> None:
    org = stage.org()
    founder = stage.owner(org).usr_id
    leaver = granted(stage, org, Role.MEMBER)
    stage.tenancy.suspend_membership(leaver.membership.id)
    tenancy = under(stage, departure_withdraws_grants=True)
    with stage.writes() as written:
        tenancy.admin_remove(leaver.membership.id, founder)
    assert {key for key, row in written.items() if row is None} == leaver.brought


def test_who_is_back_beside_their_suspension_loses_nothing_with_it(stage: Stage) -> None:
    org = stage.org()
    founder, usr_id = stage.owner(org).usr_id, stage.user()
    suspended = accept(stage, org, usr_id, Role.ADMIN, GRANTS[0])
    stage.tenancy.suspend_membership(suspended.id)
    stage.tenancy.suspend_membership(stage.member(org, Role.ADMIN, usr_id=usr_id).id)  # again
    stage.member(org, Role.ADMIN, usr_id=usr_id)
    invite(stage, org, by=usr_id)
    tenancy = under(stage, departure_revokes_offers=True, departure_withdraws_grants=True)
    with stage.writes() as written:
        tenancy.admin_remove(suspended.id, founder)
    assert written.keys() == {suspended.id}


def test_who_is_left_with_a_suspended_membership_may_offer_nothing_and_still_belongs(
    stage: Stage,
) -> None:
    org = stage.org()
    founder, usr_id = stage.owner(org).usr_id, stage.user()
    suspended = accept(stage, org, usr_id, Role.ADMIN, GRANTS[0])
    stage.tenancy.suspend_membership(suspended.id)
    active = stage.member(org, Role.ADMIN, usr_id=usr_id)
    offer = invite(stage, org, OTHER, by=usr_id)
    tenancy = under(stage, departure_revokes_offers=True, departure_withdraws_grants=True)
    with stage.writes() as written:
        tenancy.admin_remove(active.id, founder)
    assert written.keys() == {active.id, fact(usr_id, "admin", org.id), offer.id}


def test_an_offboarded_user_takes_along_all_offers_and_tuples_whatever_the_policy(
    stage: Stage,
) -> None:
    org = stage.org()
    leaver = granted(stage, org, Role.ADMIN).membership
    offers = {invite(stage, o, by=leaver.usr_id).id for o in (org, stage.org())}
    stage.end(invite(stage, org, by=leaver.usr_id), InvitationStatus.DECLINED)
    tenancy = under(stage)
    held = {m.id for m in tenancy.list_memberships(leaver.usr_id) if m.status is Status.ACTIVE}
    with stage.writes() as written:
        left = tenancy.offboard_user(leaver.usr_id)
    assert invitations(written) == dict.fromkeys(offers, revoked(None))
    assert {m.id for m in left} == held
    assert tenancy.list_tuples_for_subject("usr", leaver.usr_id) == []


# Erasure of what is open; answered invitations are beyond this file.


def test_erasing_an_identifier_ends_what_is_open_for_it_in_every_spelling_it_came_in(
    stage: Stage,
) -> None:
    canonical, given = invite(stage, stage.org()), invite(stage, stage.org(), IDENTIFIER.upper())
    tenancy = under(stage, canonical_identifier=canonical_email)
    with stage.writes() as written:
        assert tenancy.erase_identifier(IDENTIFIER.upper()) == 2
    assert written == {
        each.id: revoked(None) | {"identifier": f"erased:{each.id[4:]}"}
        for each in (canonical, given)
    }
    assert tenancy.erase_identifier(IDENTIFIER) == 0


def test_an_ended_invitation_cannot_be_renewed(stage: Stage) -> None:
    made = invite(stage, stage.org())
    stage.end(made, InvitationStatus.EXPIRED)
    with stage.refuses(InvitationNotPendingError):
        under(stage).renew_invitation(made.id, LATER + DAY)


# What is told of a change

ACTORS: Final = ("creator", "invited_by", "admin_usr_id", "as_usr_id")
GRANT: Final = " proj_"


def staged(stage: Stage, operation: Operation) -> tuple[Arguments, dict[str, Row]]:
    """Return an operation's arguments, and all rows before it is called."""
    stage.clock.now = datetime.now(UTC)
    arguments = (operation.arrangement or CALLS[operation.name])(stage)
    stage.session.flush()
    stage.clock.now += DAY / 2
    return arguments, snapshot(stage.session)


def key_of(tuple_: Tuple) -> str:
    """Return the name of a tuple of a user's in a snapshot."""
    object_id = tuple_.object_id.replace("-", "")
    of = object_id if "_" in object_id else f"{tuple_.object_type}_{object_id}"
    return fact(tuple_.subject_id, tuple_.relation, of)


@every_operation
def test_a_change_is_told_once_with_what_is_new_and_what_everything_was(
    operation: Operation, stage: Stage
) -> None:
    arguments, before = staged(stage, operation)
    told: list[TenancyChange] = []
    policy = Policy(on_change=lambda session, change: told.append(change))
    tenancy = TenancyRepository(stage.session, clock=stage.clock, policy=policy)
    call(tenancy, operation.name, arguments)
    after = snapshot(stage.session)

    (change,) = told
    assert (change.operation, change.at) == (operation.name, stage.clock.now)
    if not operation.name.endswith(("members", "invitations", "roles")):
        actor = next((arguments[name] for name in ACTORS if name in arguments), None)
        assert change.actor == actor
    rows = {id_ for id_ in after if " " not in id_}
    assert {row_of(each)[1] for each in change.added} == rows - before.keys()
    changed = {id_ for id_ in rows & before.keys() if before[id_] != after[id_]}
    if operation.name == "revoke_org":
        kinds = [id_[:3] for id_ in changed | (before.keys() - after.keys())]
        assert change.counts == {
            "mem": kinds.count("mem"),
            "inv": kinds.count("inv"),
            "tup": kinds.count("usr"),
        }
        changed = {arguments["org_id"]}
    assert {each.entity.id for each in change.changed} == changed
    for entity, was in change.changed:
        old, new = before[entity.id], after[entity.id]
        assert was == {name: old[name] for name in new if old[name] != new[name]}
    gone = {key for key in before.keys() - after.keys() if GRANT in key}
    assert {key_of(tuple_) for tuple_ in change.withdrawn} == gone
    promised = {key for key in after if GRANT in key and arguments.get("as_usr_id", "") in key}
    if operation.name == "accept_invitation":
        assert {key_of(tuple_) for tuple_ in change.granted} == promised
    else:
        assert list(change.granted) == []


@every_operation
def test_what_the_application_raises_undoes_the_operation_and_no_more(
    operation: Operation, stage: Stage
) -> None:
    def refuse(session: Session, change: TenancyChange) -> None:
        session.add(User(id=new_id("usr")))
        session.flush()
        raise LookupError

    arguments, before = staged(stage, operation)
    held = load_all(stage.session)
    tenancy = TenancyRepository(stage.session, clock=stage.clock, policy=Policy(on_change=refuse))
    with stage.writes() as written, pytest.raises(LookupError):
        call(tenancy, operation.name, arguments)
    assert written == {}
    call(stage.tenancy, operation.name, arguments)
    assert snapshot(stage.session) != before
    assert untruths(stage.session, rows(stage.session.connection())) == []
    del held


@pytest.mark.parametrize("operation", ["expire_invitations", "erase_identifier", "add_members"])
def test_where_nothing_is_written_nothing_is_told(operation: str, stage: Stage) -> None:
    arguments: dict[str, Arguments] = {
        "expire_invitations": {},
        "erase_identifier": {"identifier": IDENTIFIER},
        "add_members": {"org_id": stage.org().id, "members": [(new_id("usr"), Role.GUEST)]},
    }
    told: list[TenancyChange] = []
    tenancy = under(stage, on_change=lambda session, change: told.append(change))
    call(tenancy, operation, arguments[operation])
    assert told == []


def test_what_follows_from_a_policy_is_told_with_the_operation(stage: Stage) -> None:
    org = stage.org()
    leaver = granted(stage, org, Role.ADMIN)
    offer = invite(stage, org, OTHER, by=leaver.membership.usr_id)
    told: list[TenancyChange] = []
    policy = Policy.recommended(on_change=lambda session, change: told.append(change))
    under(stage, policy).self_leave(leaver.membership.id)
    (change,) = told
    assert {each.entity.id for each in change.changed} == {leaver.membership.id, offer.id}
    assert {key_of(tuple_) for tuple_ in change.withdrawn} == leaver.brought


def test_what_the_application_writes_about_a_change_goes_with_it(stage: Stage) -> None:
    org, user, note = stage.org(), stage.user(), new_id("usr")
    tenancy = under(stage, on_change=lambda session, change: session.add(User(id=note)))
    with stage.writes() as written:
        member = tenancy.add_member(org.id, user, Role.GUEST)
    assert written.keys() == {member.id, fact(user, "guest", org.id), note}
