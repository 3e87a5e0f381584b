"""flametrench-authz beside us: one table of tuples, one transaction, two who use it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from flametrench_authz import ComputedUserset, DuplicateTupleError, Rules, This
from flametrench_authz.postgres import PostgresTupleStore
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from flametrench_tenancy_sqlalchemy import Membership, PreTuple, Role, TenancyRepository
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Change = Callable[[TenancyRepository, Membership], object]

OWNER_MAY_EVERYTHING: Rules = {
    "org": {
        "member": [This(), ComputedUserset("admin")],
        "admin": [This(), ComputedUserset("owner")],
    }
}


@pytest.fixture
def authz(connection: Any) -> PostgresTupleStore:
    """The authorization layer's store."""
    return PostgresTupleStore(connection)


def allowed(authz: PostgresTupleStore, membership: Membership) -> set[str]:
    """Return the roles that authorization grants to a membership's user there."""
    usr_id, org_id = membership.usr_id, membership.org_id
    return {role for role in Role if authz.check("usr", usr_id, role, "org", org_id).allowed}


def test_it_grants_an_owner_what_he_owns(
    session: Session, tenancy: TenancyRepository, authz: PostgresTupleStore
) -> None:
    created = tenancy.create_org(make_user(session).id)

    assert allowed(authz, created.owner_membership) == {Role.OWNER}


@pytest.mark.parametrize(
    "change, roles",
    [
        (lambda t, m: t.change_role(m.id, Role.ADMIN), {Role.ADMIN}),
        (lambda t, m: t.suspend_membership(m.id), set()),
        (lambda t, m: t.reinstate_membership(t.suspend_membership(m.id).id), {Role.MEMBER}),
        (lambda t, m: t.self_leave(m.id), set()),
        (lambda t, m: t.revoke_org(m.org_id), set()),
    ],
    ids=["change_role", "suspend", "reinstate", "self_leave", "revoke_org"],
)
def test_it_grants_a_member_what_tenancy_has_made_of_him(
    session: Session,
    tenancy: TenancyRepository,
    authz: PostgresTupleStore,
    change: Change,
    roles: set[Role],
) -> None:
    membership = make_member(session, make_org(session))
    assert allowed(authz, membership) == {Role.MEMBER}

    change(tenancy, membership)

    assert allowed(authz, membership) == roles


def test_it_derives_from_our_roles_by_rules_of_its_own(
    session: Session, tenancy: TenancyRepository, connection: Any
) -> None:
    authz = PostgresTupleStore(connection, rules=OWNER_MAY_EVERYTHING)
    owner = tenancy.create_org(make_user(session).id).owner_membership

    assert allowed(authz, owner) == {Role.OWNER, Role.ADMIN, Role.MEMBER}


def test_it_grants_what_an_accepted_invitation_promised(
    session: Session, tenancy: TenancyRepository, authz: PostgresTupleStore
) -> None:
    org, project = make_org(session), str(uuid4())
    inviter, later = make_user(session).id, datetime.now(UTC) + timedelta(days=1)
    offer = tenancy.create_invitation(
        org.id,
        "new@example.com",
        Role.GUEST,
        inviter,
        later,
        pre_tuples=[PreTuple("editor", "proj", project)],
    )

    usr_id = tenancy.accept_invitation(offer.id).membership.usr_id

    assert authz.check("usr", usr_id, "editor", "proj", project).allowed
    assert not authz.check("usr", usr_id, "viewer", "proj", project).allowed


def test_we_list_what_it_writes(
    session: Session, tenancy: TenancyRepository, authz: PostgresTupleStore
) -> None:
    usr_id, project = make_user(session).id, str(uuid4())

    written = authz.create_tuple("usr", usr_id, "editor", "proj", project, created_by=usr_id)

    (seen,) = tenancy.list_tuples_for_subject("usr", usr_id)
    assert (seen.id, seen.subject_id, seen.relation) == (written.id, usr_id, "editor")
    assert (seen.object_type, str(seen.object_id)) == ("proj", project)
    assert (seen.created_by, seen.created_at) == (usr_id, written.created_at)
    assert tenancy.list_tuples_for_object("proj", project) == [seen]


def test_it_lists_what_we_write(
    session: Session, tenancy: TenancyRepository, authz: PostgresTupleStore
) -> None:
    membership = make_member(session, make_org(session))

    (theirs,) = authz.list_tuples_by_subject("usr", membership.usr_id).data

    (ours,) = tenancy.list_tuples_for_subject("usr", membership.usr_id)
    assert (theirs.id, theirs.relation, theirs.created_at) == (
        ours.id,
        ours.relation,
        ours.created_at,
    )


def test_it_cannot_write_again_what_a_membership_stands_for(
    session: Session, tenancy: TenancyRepository, authz: PostgresTupleStore
) -> None:
    membership = make_member(session, make_org(session))
    (tuple_,) = tenancy.list_tuples_for_subject("usr", membership.usr_id)

    with pytest.raises(DuplicateTupleError) as refusal:
        authz.create_tuple("usr", membership.usr_id, "member", "org", membership.org_id)

    assert refusal.value.existing_tuple_id == tuple_.id
    assert tenancy.self_leave(membership.id).status == "revoked"  # the transaction is alive


def test_it_cannot_take_away_what_a_membership_stands_for(
    session: Session, authz: PostgresTupleStore
) -> None:
    membership = make_member(session, make_org(session))
    authz.cascade_revoke_subject("usr", membership.usr_id)

    with pytest.raises(IntegrityError, match="membership and tuple do not agree"):
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def test_what_it_writes_is_undone_with_what_we_write(
    session: Session, tenancy: TenancyRepository, authz: PostgresTupleStore
) -> None:
    usr_id, project = make_user(session).id, str(uuid4())

    with session.begin_nested() as savepoint:
        tenancy.create_org(usr_id)
        authz.create_tuple("usr", usr_id, "editor", "proj", project)
        savepoint.rollback()

    assert authz.list_tuples_by_subject("usr", usr_id).data == []
    assert tenancy.list_tuples_for_subject("usr", usr_id) == []
