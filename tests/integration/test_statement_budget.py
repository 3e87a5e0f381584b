"""How many statements each operation sends inside the caller's transaction, savepoints left out.

All that an operation writes is one statement, however many rows and tables it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, joinedload

from flametrench_tenancy_sqlalchemy import (
    Membership,
    Organization,
    PreTuple,
    Role,
    TenancyRepository,
)
from flametrench_tenancy_sqlalchemy.ids import new_uuid
from flametrench_tenancy_sqlalchemy.testing.factories import make_user
from flametrench_tenancy_sqlalchemy.transactions.tenant import is_isolated
from tests.support.calls import CALLS, Arguments, call
from tests.support.counting import sent
from tests.support.isolation import in_full
from tests.support.sql import bare
from tests.support.stage import IDENTIFIER, Stage

Scene = Callable[[Stage], Arguments]


def _owner_among_two(stage: Stage) -> Arguments:
    return {"mem_id": stage.member(stage.org(), Role.OWNER).id}


def _owner_who_steps_down(stage: Stage) -> Arguments:
    return _owner_among_two(stage) | {"new_role": Role.GUEST}


def _owner_who_names_an_heir_for_nothing(stage: Stage) -> Arguments:
    return _owner_among_two(stage) | {"transfer_to": stage.user()}


def _two_owners(stage: Stage) -> Arguments:
    org = stage.org()
    target = stage.member(org, Role.OWNER)
    return {"org_id": org.id, "from_mem_id": stage.owner(org).id, "to_mem_id": target.id}


def _grants(number: int) -> list[PreTuple]:
    return [PreTuple("editor", "proj", str(new_uuid())) for _ in range(number)]


def _offer_of(number: int) -> Scene:
    return lambda stage: CALLS["create_invitation"](stage) | {"pre_tuples": _grants(number)}


def _invitation_of(number: int, *, existing_user: bool = False) -> Scene:
    def scene(stage: Stage) -> Arguments:
        arguments: Arguments = {"inv_id": stage.invitation(stage.org(), *_grants(number)).id}
        if existing_user:
            arguments |= {"as_usr_id": stage.user(), "accepting_identifier": IDENTIFIER}
        return arguments

    return scene


def _invitation_of_what_the_user_has(number: int) -> Scene:
    def scene(stage: Stage) -> Arguments:
        grants, usr_id = _grants(number), stage.user()
        arguments = {"as_usr_id": usr_id, "accepting_identifier": IDENTIFIER}
        elsewhere = stage.invitation(stage.org(), *grants[: -(-number // 2)])
        stage.tenancy.accept_invitation(elsewhere.id, **arguments)
        return arguments | {"inv_id": stage.invitation(stage.org(), *grants).id}

    return scene


def _pages_of_something(stage: Stage) -> Arguments:
    return {"usr_id": stage.member(stage.org()).usr_id}


def _admins_and_users(stage: Stage) -> Arguments:
    org = stage.org()
    stage.tenancy.add_member(org.id, make_user(stage.session, display_name="Ann").id, Role.ADMIN)
    narrowed = {"roles": [Role.ADMIN], "query": "ann", "newest_first": True}
    return {"org_id": org.id, **narrowed, "options": [joinedload(Membership.user)]}


def _two_roles_and_users(stage: Stage) -> Arguments:
    return _admins_and_users(stage) | {"roles": [Role.ADMIN, Role.OWNER]}


def _invitations(stage: Stage) -> Arguments:
    return {"org_id": stage.invitation(stage.org()).org_id}


def _nothing_about(type_: str, parameter: str) -> Scene:
    def scene(stage: Stage) -> Arguments:
        return {parameter: stage.user() if type_ == "usr" else stage.org().id}

    return scene


def _nobody(stage: Stage) -> Arguments:
    return {"org_id": stage.org().id, "status": "suspended"}


@dataclass(frozen=True)
class Budget:
    """The number of statements that an operation sends in one of its courses."""

    operation: str
    statements: int
    course: str = ""
    scene: Scene | None = None

    def __str__(self) -> str:
        return f"{self.operation}({self.course})"

    def spent(self, stage: Stage, prepare: Callable[[Session], object] = Session.flush) -> int:
        """Return how many statements the operation sends on a Session that is prepared so."""
        arguments = (self.scene or CALLS[self.operation])(stage)
        stage.session.flush()
        prepare(stage.session)
        is_isolated(stage.session)  # which each connection is asked once
        with sent(stage.session) as seen:
            call(stage.tenancy, self.operation, arguments)
            stage.session.flush()
        return len(seen)


BUDGETS = [
    # The foreign key answers whether the creator exists.
    Budget("create_org", 1),
    # Locked; the slug's holder looked for, without a lock; written.
    Budget("update_org", 3),
    Budget("suspend_org", 2),
    Budget("reinstate_org", 2),
    # Organization locked; revoked with its memberships, tuples and invitations at one blow.
    Budget("revoke_org", 2),
    # Written behind the lock on the organization.
    Budget("add_member", 1),
    # Membership locked behind its organization; written.
    Budget("change_role", 2),
    # One more: another owner's row is read and locked once the organization is. Read before the
    # lock, or together with it, it could be an owner who is just leaving.
    Budget("change_role", 3, "of an owner", _owner_who_steps_down),
    Budget("suspend_membership", 2),
    Budget("reinstate_membership", 2),
    Budget("self_leave", 2, "of a member", CALLS["suspend_membership"]),
    # One more, as above: the owner on whom the organization may depend from now on.
    Budget("suspend_membership", 3, "of an owner", _owner_among_two),
    Budget("self_leave", 3, "of an owner", _owner_among_two),
    Budget("self_leave", 3, "heir ignored", _owner_who_names_an_heir_for_nothing),
    # The heir is read and locked with the other owners, in the statement that finds there are
    # none.
    Budget("self_leave", 3, "of the last owner"),
    # Target and administrator locked behind their organization; written.
    Budget("admin_remove", 2),
    # Both memberships locked behind the organization; written.
    Budget("transfer_ownership", 2),
    Budget("transfer_ownership", 2, "to an owner", _two_owners),
    Budget("create_invitation", 1),
    # Invitation locked behind its organization, user read beside it; the user's memberships there,
    # once it is locked; written.
    Budget("accept_invitation", 3),
    Budget("accept_invitation", 2, "by a new user", _invitation_of(0)),
    # One more: tuples that exist already are kept, and must be read to be reported.
    Budget("accept_invitation", 4, "a tuple exists", _invitation_of_what_the_user_has(1)),
    # Invitation locked behind its organization, and written; the administrator is locked between.
    Budget("decline_invitation", 2),
    Budget("revoke_invitation", 2),
    Budget("renew_invitation", 2),
    Budget("expire_invitations", 1),
    # Organizations, invitations locked; written.
    Budget("erase_identifier", 3),
    # Organizations, memberships, other owners, heirs, offers and tuples locked; written.
    Budget("offboard_user", 7),
    # The organization; members and identifiers counted.
    Budget("count_seats", 3),
    # Organization locked, users locked; written.
    Budget("add_members", 3),
    # Organization locked, inviter locked; invitations.
    Budget("create_invitations", 3),
    # Organizations, memberships, other owners locked; written.
    Budget("change_roles", 4),
    # Organizations, memberships, administrators locked; written.
    Budget("remove_members", 4),
    *(Budget(name, 1) for name in ("get_org", "get_org_by_slug", "get_membership")),
    *(Budget(name, 1) for name in ("find_membership", "require_role", "get_invitation")),
    *(Budget(name, 1) for name in ("list_tuples_for_subject", "list_tuples_for_object")),
    *(Budget(name, 1) for name in ("role_of", "preview_invitation", "list_invitations_for")),
    Budget("list_orgs", 1),
    Budget("list_members", 1),
    Budget("list_members", 1, "narrowed, with users", _admins_and_users),
    # What several stretches were merged for is read once more, for the options.
    Budget("list_members", 2, "of two roles, with users", _two_roles_and_users),
    Budget("count_members", 1),
    Budget("list_memberships", 1, "of a member", _pages_of_something),
    Budget("list_invitations", 1, "of some", _invitations),
    # One more where there is nothing to show: an empty list is told from an unknown parent.
    Budget("list_memberships", 2, "of nothing", _nothing_about("usr", "usr_id")),
    Budget("list_invitations", 2, "of nothing", _nothing_about("org", "org_id")),
    Budget("count_members", 2, "of nothing", _nobody),
]


@pytest.mark.parametrize(
    "prepare",
    [Session.flush, Session.expire_all, Session.expunge_all],
    ids=["loaded", "expired", "empty"],
)
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_an_operation_sends_so_many_statements_whatever_the_session_holds(
    budget: Budget, prepare: Callable[[Session], object], stage: Stage
) -> None:
    assert budget.spent(stage, prepare) == budget.statements


@pytest.mark.parametrize(
    "budget",
    [
        Budget("create_invitation", 1, "of many", _offer_of(100)),
        Budget("accept_invitation", 2, "of many by a new user", _invitation_of(100)),
        Budget("accept_invitation", 3, "of many", _invitation_of(100, existing_user=True)),
        Budget("accept_invitation", 4, "half exist", _invitation_of_what_the_user_has(100)),
    ],
    ids=str,
)
def test_a_hundred_pre_tuples_cost_no_statement_more(budget: Budget, stage: Stage) -> None:
    assert budget.spent(stage) == budget.statements
    with in_full(stage.session):
        granted = stage.session.scalar(text("SELECT count(*) FROM tup WHERE relation = 'editor'"))
    assert granted == (100 if budget.operation == "accept_invitation" else 0)


def test_every_operation_has_a_budget() -> None:
    assert {budget.operation for budget in BUDGETS} == set(CALLS)


def _join(stage: Stage, org: Organization, role: Role, number: int) -> None:
    """Add members in bulk, each with a tuple."""
    stage.session.execute(
        text(
            """
            WITH u AS (
                INSERT INTO usr (id) SELECT gen_random_uuid() FROM generate_series(1, :number)
                RETURNING id
            ), m AS (
                INSERT INTO mem (id, usr_id, org_id, role)
                SELECT gen_random_uuid(), id, CAST(:org_id AS uuid), :role FROM u
            )
            INSERT INTO tup (id, subject_type, subject_id, relation, object_type, object_id)
            SELECT gen_random_uuid(), 'usr', id, :role, 'org', CAST(:org_id AS uuid) FROM u
            """
        ),
        {"number": number, "org_id": bare(org.id), "role": role.value},
    )


CROWDED = {
    "revoke_org": 2,
    "add_member": 1,
    "change_role": 3,
    "suspend_membership": 3,
    "self_leave": 3,
    "admin_remove": 2,
    "transfer_ownership": 2,
    "create_invitation": 1,
    "list_members": 1,
    "count_members": 1,
    "require_role": 1,
}


@pytest.mark.parametrize("operation", CROWDED)
def test_a_crowd_of_members_and_owners_costs_no_statement_more(
    operation: str, stage: Stage, tenancy: TenancyRepository
) -> None:
    org = stage.org()
    owner, member = stage.owner(org), stage.member(org)
    for role in Role:
        _join(stage, org, role, 100)
    given = {
        "org_id": org.id,
        "mem_id": member.id if operation == "admin_remove" else owner.id,
        "admin_usr_id": owner.usr_id,
        "transfer_to": member.usr_id,
        "usr_id": owner.usr_id if operation == "require_role" else stage.user(),
        "from_mem_id": owner.id,
        "to_mem_id": member.id,
    }
    arguments = CALLS[operation](stage)
    arguments |= {name: value for name, value in given.items() if name in arguments}
    stage.session.expunge_all()
    with sent(stage.session) as seen:
        call(tenancy, operation, arguments)
    assert len(seen) == CROWDED[operation]


@pytest.mark.sees_all
@pytest.mark.parametrize("number", [1, 300])
def test_expiring_costs_one_statement_however_many_are_overdue(
    number: int, stage: Stage, tenancy: TenancyRepository
) -> None:
    invitation = stage.invitation(stage.org())
    stage.session.execute(
        text(
            """
            INSERT INTO inv (id, org_id, identifier, role, invited_by, created_at, expires_at)
            SELECT gen_random_uuid(), org_id, 'somebody', role, invited_by, created_at, expires_at
            FROM inv, generate_series(2, :number) WHERE id = CAST(:id AS uuid)
            """
        ),
        {"number": number, "id": bare(invitation.id)},
    )
    stage.clock.now = invitation.expires_at.replace(year=2100)
    stage.session.expunge_all()  # what it holds would be read again
    with sent(stage.session) as seen:
        assert tenancy.expire_invitations() == number
    assert len(seen) == 1
