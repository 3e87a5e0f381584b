"""Who may do what: every operation, for every relation of a user to where it is done.

The contract's table is said here once more, in sets of relations, and not taken from the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest

from flametrench_tenancy_sqlalchemy import (
    ActingTenancy,
    ForbiddenError,
    Invitation,
    InvitationRequest,
    NotFoundError,
    Organization,
    Outcome,
    Policy,
    PreconditionError,
    Role,
    RoleHierarchyError,
    SeatLimitError,
    Status,
    TenancyError,
    TenancyRepository,
    canonical_email,
    new_id,
)
from flametrench_tenancy_sqlalchemy.repository.acting import reading_log
from tests.support.counting import sent
from tests.support.stage import DAY, IDENTIFIER, NOW, TICK, Stage

ROLES: Final = {role.value: role for role in Role}
MEMBERS: Final = frozenset(ROLES)
MANAGERS: Final = frozenset({"owner", "admin"})
OWNERS: Final = frozenset({"owner"})
NOBODY: Final = frozenset[str]()
STRANGERS: Final = frozenset({"suspended", "removed", "stranger", "owner elsewhere"})
EVERYBODY: Final = sorted(MEMBERS | STRANGERS)

DONE: Final = "done"
NOT_FOUND: Final = "not_found"
FORBIDDEN: Final = "forbidden"
NOT_ACTIVE: Final = "precondition.org_not_active"
REFUSALS: Final = {NOT_FOUND, FORBIDDEN, NOT_ACTIVE}

Ids: TypeAlias = dict[str, str]
Call: TypeAlias = Callable[[ActingTenancy, Ids], Any]

OFFER: Final = InvitationRequest("new@example.com", Role.GUEST, expires_at=NOW + DAY)
TOP_OFFER: Final = InvitationRequest("new@example.com", Role.OWNER, expires_at=NOW + DAY)


@dataclass(frozen=True)
class Case:
    """An operation on what an organization has, or on the organization.

    Attributes:
        name: the operation, and on what.
        may: which of the organization's active members may do it.
        call: how it is done.
        open: whether they may while the organization is suspended, too.
        seen_by: which of them know that what it is done to is there.
    """

    name: str
    may: frozenset[str]
    call: Call
    open: bool = False
    seen_by: frozenset[str] = MEMBERS

    def __str__(self) -> str:
        return self.name

    def answer(self, relation: str, status: Status) -> str:
        """Return what a user in a relation to an organization in a status is told."""
        if status is Status.REVOKED or relation not in self.seen_by:
            return NOT_FOUND
        if status is Status.SUSPENDED and not self.open:
            return NOT_ACTIVE
        return DONE if relation in self.may else FORBIDDEN


def look_into_log(acting: ActingTenancy, org_id: str) -> None:
    """Ask whether a user may read the log, which is opt-in: here there is none to be read."""
    with reading_log(acting, org_id):
        pass


CASES: Final = [
    # The organization
    Case("get_org", MEMBERS, lambda a, ids: a.get_org(ids["org"]), open=True),
    Case("get_org_by_slug", MEMBERS, lambda a, ids: a.get_org_by_slug("acme"), open=True),
    Case("update_org", MANAGERS, lambda a, ids: a.update_org(ids["org"], name="Acme")),
    Case("suspend_org", OWNERS, lambda a, ids: a.suspend_org(ids["org"])),
    Case("reinstate_org", OWNERS, lambda a, ids: a.reinstate_org(ids["org"]), open=True),
    Case("revoke_org", OWNERS, lambda a, ids: a.revoke_org(ids["org"]), open=True),
    # Its members
    Case("list_members", MEMBERS, lambda a, ids: a.list_members(ids["org"])),
    Case("count_members", MEMBERS, lambda a, ids: a.count_members(ids["org"])),
    Case("count_seats", MEMBERS, lambda a, ids: a.count_seats(ids["org"])),
    Case("get_membership", MEMBERS, lambda a, ids: a.get_membership(ids["worker"])),
    Case(
        "find_membership",
        MEMBERS,
        lambda a, ids: a.find_membership(ids["org"], ids["usr of worker"]),
    ),
    Case(
        "find_membership of nobody",
        MEMBERS,
        lambda a, ids: a.find_membership(ids["org"], ids["usr of nobody"]),
    ),
    *(
        Case(f"{name} {role}", may, call)
        for may, role in ((MANAGERS, "admin"), (OWNERS, "owner"))
        for name, call in (
            (
                "add_member as",
                lambda a, ids, r=role: a.add_member(ids["org"], ids["usr of nobody"], r),
            ),
            (
                "add_members as",
                lambda a, ids, r=role: a.add_members(ids["org"], [(ids["usr of nobody"], r)]),
            ),
            ("change_role to", lambda a, ids, r=role: a.change_role(ids["worker"], r)),
            ("change_roles to", lambda a, ids, r=role: a.change_roles({ids["worker"]: r})),
        )
    ),
    *(
        Case(f"{name} {target}", may, call)
        for may, target, idle in (
            (MANAGERS, "worker", "idle worker"),
            (MANAGERS, "manager", "idle manager"),
            (OWNERS, "boss", "idle boss"),
        )
        for name, call in (
            ("change_role of", lambda a, ids, t=target: a.change_role(ids[t], "guest")),
            ("change_roles of", lambda a, ids, t=target: a.change_roles({ids[t]: "guest"})),
            ("suspend_membership of", lambda a, ids, t=target: a.suspend_membership(ids[t])),
            ("reinstate_membership of", lambda a, ids, t=idle: a.reinstate_membership(ids[t])),
        )
    ),
    # An owner is not removed, whoever asks: for them the operation itself has an error.
    Case("admin_remove", MANAGERS, lambda a, ids: a.admin_remove(ids["worker"])),
    Case("remove_members", MANAGERS, lambda a, ids: a.remove_members([ids["worker"]])),
    Case(
        "transfer_ownership", OWNERS, lambda a, ids: a.transfer_ownership(ids["org"], ids["worker"])
    ),
    Case("self_leave of another", NOBODY, lambda a, ids: a.self_leave(ids["worker"]), open=True),
    # Its log
    Case("list_events", MANAGERS, lambda a, ids: look_into_log(a, ids["org"])),
    # Its invitations
    Case("list_invitations", MANAGERS, lambda a, ids: a.list_invitations(ids["org"])),
    *(
        Case(f"{name} as {request.role}", may, call)
        for may, request in ((MANAGERS, OFFER), (OWNERS, TOP_OFFER))
        for name, call in (
            (
                "create_invitation",
                lambda a, ids, r=request: a.create_invitation(
                    ids["org"], r.identifier, r.role, r.expires_at
                ),
            ),
            ("create_invitations", lambda a, ids, r=request: a.create_invitations(ids["org"], [r])),
        )
    ),
    *(
        Case(name, MANAGERS, call, seen_by=MANAGERS)
        for name, call in (
            ("get_invitation", lambda a, ids: a.get_invitation(ids["offer"])),
            ("preview_invitation", lambda a, ids: a.preview_invitation(ids["offer"])),
        )
    ),
    *(
        Case(f"{name} {offer}", may, call, seen_by=MANAGERS)
        for may, offer in ((MANAGERS, "offer"), (OWNERS, "top offer"))
        for name, call in (
            ("revoke_invitation", lambda a, ids, o=offer: a.revoke_invitation(ids[o])),
            (
                "renew_invitation",
                lambda a, ids, o=offer: a.renew_invitation(ids[o], NOW + 2 * DAY),
            ),
        )
    ),
    *(
        Case(name, NOBODY, call, seen_by=NOBODY)
        for name, call in (
            ("accept_invitation", lambda a, ids: a.accept_invitation(ids["offer"])),
            ("decline_invitation", lambda a, ids: a.decline_invitation(ids["offer"])),
        )
    ),
]


def build(stage: Stage) -> Ids:
    """Return the ids of an organization, and of everybody in it and around it."""
    org = stage.org(slug="acme")
    ids = {"org": org.id, "usr of owner": stage.owner(org).usr_id}

    def join(name: str, role: Role, status: Status = Status.ACTIVE) -> None:
        membership = stage.member(org, role, status)
        ids[name], ids[f"usr of {name}"] = membership.id, membership.usr_id

    for name, role in ROLES.items():
        if name != "owner":
            join(name, role)
    ids["owner"] = stage.owner(org).id
    for name, role in (("worker", Role.MEMBER), ("manager", Role.ADMIN), ("boss", Role.OWNER)):
        join(name, role)
        join(f"idle {name}", role, Status.SUSPENDED)
    join("suspended", Role.OWNER, Status.SUSPENDED)
    join("removed", Role.OWNER, Status.REVOKED)
    ids["usr of owner elsewhere"] = stage.owner(stage.org()).usr_id
    ids["usr of stranger"], ids["usr of nobody"] = stage.user(), stage.user()
    ids["offer"] = stage.invitation(org).id
    ids["top offer"] = stage.invitation(org, role=Role.OWNER).id
    return ids


def verdict(stage: Stage, ids: Ids, relation: str, call: Call) -> str:
    """Return whether a user in a relation may do something, and undo it.

    What the operation itself refuses to everybody, the user may.
    """
    acting = stage.tenancy.acting_as(ids[f"usr of {relation}"], identifier="other@example.com")
    savepoint = stage.session.begin_nested()
    try:
        outcome = call(acting, ids)
        for each in outcome if isinstance(outcome, list) else ():
            if isinstance(each, Outcome):
                each.unwrap()
    except TenancyError as exc:
        return exc.code if exc.code in REFUSALS else DONE
    else:
        return DONE
    finally:
        savepoint.rollback()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_users_may_do_what_their_memberships_allow(case: Case, stage: Stage) -> None:
    ids = build(stage)
    answers, expected = {}, {}
    for status in Status:
        stage.set_status(stage.tenancy.get_org(ids["org"]), status)
        for relation in EVERYBODY:
            answers[relation, status] = verdict(stage, ids, relation, case.call)
            expected[relation, status] = case.answer(relation, status)
    assert answers == expected


# What concerns no organization in particular, or the user alone, whatever they are there.
FOR_NOBODY: Final[dict[str, Call]] = {
    "list_orgs": lambda a, ids: a.list_orgs(),
    "expire_invitations": lambda a, ids: a.expire_invitations(),
    "erase_identifier": lambda a, ids: a.erase_identifier("other@example.com"),
    "offboard_user of another": lambda a, ids: a.offboard_user(ids["usr of worker"]),
}
FOR_ANYBODY: Final[dict[str, Call]] = {
    "create_org": lambda a, ids: a.create_org(name="New"),
    "list_memberships": lambda a, ids: a.list_memberships(),
    "role_of": lambda a, ids: a.role_of(ids["org"]),
    "inbox": lambda a, ids: a.inbox(),
    "offboard_user": lambda a, ids: a.offboard_user(a.usr_id),
}


@pytest.mark.parametrize("relation", EVERYBODY)
def test_users_may_do_everything_for_themselves_and_nothing_for_all(
    relation: str, stage: Stage
) -> None:
    ids = build(stage)
    calls = FOR_ANYBODY | FOR_NOBODY
    answers = {name: verdict(stage, ids, relation, call) for name, call in calls.items()}
    assert answers == dict.fromkeys(FOR_ANYBODY, DONE) | dict.fromkeys(FOR_NOBODY, FORBIDDEN)


@pytest.mark.parametrize("relation", [*sorted(MEMBERS), "suspended"])
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED])
def test_members_see_and_leave_their_own_membership_even_suspended(
    relation: str, status: Status, stage: Stage, tenancy: TenancyRepository
) -> None:
    ids = build(stage)
    acting = tenancy.acting_as(ids[f"usr of {relation}"])
    stage.set_status(tenancy.get_org(ids["org"]), status)
    assert acting.get_membership(ids[relation]).usr_id == acting.usr_id
    found = acting.find_membership(ids["org"], acting.usr_id)
    assert (found is None) == (relation == "suspended")
    left = acting.self_leave(ids[relation])
    assert (left.status, left.removed_by) == (Status.REVOKED, None)


def test_a_suspended_owner_is_no_heirs_concern(stage: Stage, tenancy: TenancyRepository) -> None:
    """Whoever owns the organization besides them does not matter: they do not count."""
    suspended = stage.member(stage.org(), Role.OWNER, Status.SUSPENDED)
    acting = tenancy.acting_as(suspended.usr_id)
    assert acting.self_leave(suspended.id, transfer_to=stage.user()).status is Status.REVOKED


def test_an_owner_is_removed_by_nobody(stage: Stage, tenancy: TenancyRepository) -> None:
    org = stage.org()
    for role in (Role.ADMIN, Role.OWNER):
        acting = tenancy.acting_as(stage.member(org, role).usr_id)
        with stage.refuses(RoleHierarchyError):
            acting.admin_remove(stage.owner(org).id)
        (outcome,) = acting.remove_members([stage.owner(org).id])
        assert isinstance(outcome.error, RoleHierarchyError)


def test_what_has_ended_stays_ended(stage: Stage, tenancy: TenancyRepository) -> None:
    removed = stage.member(stage.org(), status=Status.REVOKED)
    acting = tenancy.acting_as(removed.usr_id)
    assert acting.get_membership(removed.id) is removed
    with stage.refuses(PreconditionError, "mem_not_active"):
        acting.self_leave(removed.id)


class TestAnInvitee:
    """Who has proven the identifier that was invited, and is no member."""

    @pytest.fixture
    def invitation(self, stage: Stage) -> Invitation:
        """The invitation to them."""
        return stage.invitation(stage.org())

    @pytest.fixture
    def acting(self, invitation: Invitation, stage: Stage) -> ActingTenancy:
        """Their operations."""
        return stage.tenancy.acting_as(stage.user(), identifier=IDENTIFIER)

    def test_sees_it_and_joins(self, acting: ActingTenancy, invitation: Invitation) -> None:
        assert [each.id for each in acting.inbox()] == [invitation.id]
        assert acting.get_invitation(invitation.id) is invitation
        assert acting.preview_invitation(invitation.id).role is invitation.role
        accepted = acting.accept_invitation(invitation.id)
        assert accepted.membership.usr_id == acting.usr_id
        assert acting.role_of(invitation.org_id) is invitation.role
        assert acting.get_invitation(invitation.id).terminal_by == acting.usr_id

    def test_declines_it(self, acting: ActingTenancy, invitation: Invitation) -> None:
        declined = acting.decline_invitation(invitation.id)
        assert (declined.status, declined.terminal_by) == ("declined", acting.usr_id)

    def test_may_not_withdraw_or_renew_it(
        self, acting: ActingTenancy, invitation: Invitation, stage: Stage
    ) -> None:
        with stage.refuses(NotFoundError):
            acting.revoke_invitation(invitation.id)
        with stage.refuses(NotFoundError):
            acting.renew_invitation(invitation.id, NOW + 2 * DAY)

    def test_does_not_join_a_suspended_organization(
        self, acting: ActingTenancy, invitation: Invitation, stage: Stage
    ) -> None:
        stage.set_status(invitation.organization, Status.SUSPENDED)
        with stage.refuses(PreconditionError, "org_not_active"):
            acting.accept_invitation(invitation.id)

    def test_is_nobody_without_having_proven_the_identifier(
        self, invitation: Invitation, stage: Stage
    ) -> None:
        for identifier in (None, "", IDENTIFIER.upper()):
            acting = stage.tenancy.acting_as(stage.user(), identifier=identifier)
            assert not acting.inbox()
            with stage.refuses(NotFoundError, parameter="inv_id", id=invitation.id):
                acting.accept_invitation(invitation.id)

    def test_is_known_by_the_policys_canonical_identifier(
        self, invitation: Invitation, stage: Stage
    ) -> None:
        policy = Policy(canonical_identifier=canonical_email)
        tenancy = TenancyRepository(stage.session, clock=stage.clock, policy=policy)
        acting = tenancy.acting_as(stage.user(), identifier=IDENTIFIER.upper())
        assert [each.id for each in acting.inbox()] == [invitation.id]
        acting.accept_invitation(invitation.id)


class TestWhatIsNotToBeKnown:
    """A refusal says no more than it would of what does not exist."""

    @pytest.fixture
    def org(self, stage: Stage) -> Organization:
        """Somebody else's organization, which is suspended."""
        return stage.org(Status.SUSPENDED, slug="acme")

    @pytest.fixture
    def stranger(self, org: Organization, stage: Stage) -> ActingTenancy:
        """The owner of another."""
        return stage.tenancy.acting_as(stage.owner(stage.org()).usr_id)

    def test_an_organization(
        self, org: Organization, stranger: ActingTenancy, stage: Stage
    ) -> None:
        for org_id in (org.id, new_id("org")):
            known = {"parameter": "org_id", "id": org_id}
            with stage.refuses(NotFoundError, **known):
                stranger.get_org(org_id)
            with stage.refuses(NotFoundError, **known):
                stranger.list_members(org_id)
            with stage.refuses(NotFoundError, **known):
                stranger.add_member(org_id, new_id("usr"), Role.GUEST)
            with stage.refuses(NotFoundError, **known):
                stranger.create_invitation(org_id, "\0", Role.GUEST, NOW)
            with stage.refuses(NotFoundError, **known):
                stranger.transfer_ownership(org_id, new_id("mem"))
            (outcome,) = stranger.create_invitations(org_id, [OFFER])
            assert outcome.error is not None
            assert outcome.error.details == known
        for slug in ("acme", "no-such"):
            with stage.refuses(NotFoundError, parameter="slug", id=slug):
                stranger.get_org_by_slug(slug)

    def test_a_membership(self, org: Organization, stranger: ActingTenancy, stage: Stage) -> None:
        own = stranger.list_memberships().data[0].org_id
        for mem_id in (stage.owner(org).id, new_id("mem")):
            with stage.refuses(NotFoundError, parameter="mem_id", id=mem_id):
                stranger.change_role(mem_id, Role.GUEST)
            with stage.refuses(NotFoundError, parameter="to_mem_id", id=mem_id):
                stranger.transfer_ownership(own, mem_id)

    def test_a_user(self, stage: Stage) -> None:
        member = stage.member(stage.org())
        acting = stage.tenancy.acting_as(member.usr_id)
        for usr_id in (stage.user(), new_id("usr")):
            with stage.refuses(ForbiddenError, usr_id=member.usr_id, org_id=member.org_id):
                acting.add_member(member.org_id, usr_id, Role.GUEST)


class TestASet:
    """Rows are judged one after the other, by what the user is by then."""

    def test_spans_what_is_the_users_and_what_is_not(
        self, stage: Stage, tenancy: TenancyRepository
    ) -> None:
        admin = stage.member(stage.org(), Role.ADMIN)
        targets = [
            stage.member(admin.organization),
            stage.owner(admin.organization),
            stage.member(stage.org()),
            stage.owner(stage.org(Status.SUSPENDED)),
        ]
        tenancy.reinstate_org(targets[3].org_id)
        tenancy.add_member(targets[3].org_id, admin.usr_id, Role.OWNER)
        tenancy.suspend_org(targets[3].org_id)
        acting = tenancy.acting_as(admin.usr_id)
        ids = [target.id for target in targets]
        outcomes = acting.change_roles(dict.fromkeys(ids, Role.ADMIN))
        codes = [each.error and each.error.code for each in outcomes]
        assert codes == [None, FORBIDDEN, NOT_FOUND, NOT_ACTIVE]

    def test_ends_for_who_removes_themselves(
        self, stage: Stage, tenancy: TenancyRepository
    ) -> None:
        admin = stage.member(stage.org(), Role.ADMIN)
        other = stage.member(admin.organization)
        outcomes = tenancy.acting_as(admin.usr_id).remove_members([admin.id, other.id])
        assert [each.error and each.error.code for each in outcomes] == [None, NOT_FOUND]

    def test_goes_on_with_the_role_that_users_give_themselves(
        self, stage: Stage, tenancy: TenancyRepository
    ) -> None:
        owner = stage.member(stage.org(), Role.OWNER)
        members = [stage.member(owner.organization, role) for role in (Role.MEMBER, Role.OWNER)]
        ids = [owner.id, *(member.id for member in members)]
        outcomes = tenancy.acting_as(owner.usr_id).change_roles(dict.fromkeys(ids, Role.ADMIN))
        assert [each.error and each.error.code for each in outcomes] == [None, None, FORBIDDEN]

    def test_costs_no_statement_more_for_more_rows(
        self, stage: Stage, tenancy: TenancyRepository
    ) -> None:
        def spent(number: int) -> list[int]:
            org, numbers = stage.org(), []
            acting = tenancy.acting_as(stage.owner(org).usr_id)
            roles = [(stage.user(), Role.GUEST) for _ in range(number)]
            calls: list[Callable[[], Any]] = [
                lambda: acting.add_members(org.id, roles),
                lambda: acting.create_invitations(org.id, [OFFER] * number),
                lambda: acting.change_roles(dict.fromkeys(ids, Role.MEMBER)),
                lambda: acting.remove_members(ids),
            ]
            for call in calls:
                ids = [each.id for each in tenancy.list_members(org.id, status="active").data[1:]]
                with sent(stage.session) as statements:
                    call()
                numbers.append(len(statements))
            return numbers

        assert spent(9) == spent(2)


# How many statements it takes to see where the user stands, besides those of the operation.
EXTRA: Final[dict[str, tuple[int, Callable[..., Any]]]] = {
    "create_org": (0, lambda t, ids, *who: t.create_org(*who)),
    "get_org": (1, lambda t, ids, *who: t.get_org(ids["org"])),
    "list_members": (1, lambda t, ids, *who: t.list_members(ids["org"])),
    "role_of": (0, lambda t, ids, *who: t.role_of(ids["org"], *who)),
    "update_org": (1, lambda t, ids, *who: t.update_org(ids["org"], name="Acme")),
    "change_role": (1, lambda t, ids, *who: t.change_role(ids["worker"], Role.GUEST)),
    "admin_remove": (0, lambda t, ids, *who: t.admin_remove(ids["worker"], *who)),
    "revoke_invitation": (0, lambda t, ids, *who: t.revoke_invitation(ids["offer"], *who)),
    "self_leave": (0, lambda t, ids, *who: t.self_leave(ids["owner"])),
    # Which is locked and written by one statement, unless somebody is to be judged in between.
    "create_invitation": (
        2,
        lambda t, ids, *who: t.create_invitation(
            *(ids["org"], "new@example.com", Role.GUEST, *who, NOW + DAY)
        ),
    ),
}


@pytest.mark.parametrize("name", EXTRA)
def test_asking_costs_so_many_statements(name: str, stage: Stage) -> None:
    ids, (extra, call) = build(stage), EXTRA[name]
    owner = ids["usr of owner"]
    numbers = []
    for tenancy, who in ((stage.tenancy, [owner]), (stage.tenancy.acting_as(owner), [])):
        savepoint = stage.session.begin_nested()
        with sent(stage.session) as statements:
            call(tenancy, ids, *who)
        numbers.append(len(statements))
        savepoint.rollback()
    assert numbers[1] - numbers[0] == extra


def test_a_join_counts_seats_behind_one_lock(stage: Stage) -> None:
    policy = Policy.recommended(seats=lambda session, org: 3)
    tenancy = TenancyRepository(stage.session, clock=stage.clock, policy=policy)
    owner = stage.owner(stage.org())
    acting = tenancy.acting_as(owner.usr_id)
    with sent(stage.session) as statements:
        acting.add_member(owner.org_id, stage.user(), Role.GUEST)
    assert not [each for each in statements if "FROM org" in each and "FOR SHARE" in each]
    acting.create_invitation(owner.org_id, IDENTIFIER, Role.GUEST, NOW + DAY)
    with stage.refuses(SeatLimitError):
        acting.create_invitation(owner.org_id, "new@example.com", Role.GUEST, NOW + DAY)


def test_a_change_is_told_with_who_acted(stage: Stage) -> None:
    told = []
    policy = Policy(on_change=lambda session, change: told.append((change.operation, change.actor)))
    tenancy = TenancyRepository(stage.session, clock=stage.clock, policy=policy)
    owner = stage.owner(stage.org())
    acting = tenancy.acting_as(owner.usr_id)
    acting.update_org(owner.org_id, name="Acme")
    acting.self_leave(owner.id, transfer_to=stage.member(owner.organization).usr_id)
    assert told == [("update_org", owner.usr_id), ("self_leave", owner.usr_id)]


ADMINS_WHO_REPLACE: Final[dict[str, Call]] = {
    "create_invitation": lambda a, ids: a.create_invitation(
        ids["org"], IDENTIFIER, Role.GUEST, NOW + 2 * DAY
    ),
    "create_invitations": lambda a, ids: a.create_invitations(
        ids["org"], [(IDENTIFIER, Role.GUEST, NOW + 2 * DAY)], all_or_nothing=True
    ),
    "renew_invitation": lambda a, ids: a.renew_invitation(ids["overdue"], NOW + 2 * DAY),
}


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OWNER])
@pytest.mark.parametrize("name", ADMINS_WHO_REPLACE)
def test_an_offer_replaces_none_that_its_maker_may_not_touch(
    name: str, role: Role, stage: Stage
) -> None:
    org = stage.org()
    overdue = stage.invitation(org)
    stage.clock.now += DAY + TICK
    standing, admin = stage.invitation(org, role=role), stage.member(org, Role.ADMIN)
    acting = stage.by(Policy.recommended()).acting_as(admin.usr_id)
    ids = {"org": org.id, "overdue": overdue.id}
    if role is Role.ADMIN:
        ADMINS_WHO_REPLACE[name](acting, ids)
        assert standing.status == "revoked"
    else:
        with stage.refuses(ForbiddenError, usr_id=admin.usr_id, org_id=org.id):
            ADMINS_WHO_REPLACE[name](acting, ids)
