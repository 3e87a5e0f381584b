"""flametrench-authz and flametrench-identity beside us: their tables and rows are ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from flametrench_authz import DuplicateTupleError
from flametrench_authz.postgres import PostgresTupleStore
from flametrench_identity.postgres import PostgresIdentityStore
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from flametrench_tenancy_sqlalchemy import (
    Membership,
    Role,
    Status,
    TenancyRepository,
    User,
)
from flametrench_tenancy_sqlalchemy.testing.factories import make_member, make_org, make_user

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

# As much of the identity layer's own tables as these tests touch; its `usr` is ours.
IDENTITY_TABLES = """
    CREATE TABLE cred (
        id uuid PRIMARY KEY,
        usr_id uuid NOT NULL REFERENCES usr (id),
        type text NOT NULL,
        identifier text NOT NULL,
        status text NOT NULL DEFAULT 'active',
        replaces uuid REFERENCES cred (id),
        password_hash text,
        passkey_public_key bytea,
        passkey_sign_count bigint,
        passkey_rp_id text,
        oidc_issuer text,
        oidc_subject text,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE ses (
        id uuid PRIMARY KEY,
        usr_id uuid NOT NULL REFERENCES usr (id),
        cred_id uuid NOT NULL REFERENCES cred (id),
        revoked_at timestamptz
    );
    CREATE TABLE usr_mfa_policy (
        usr_id uuid PRIMARY KEY REFERENCES usr (id),
        required boolean NOT NULL,
        grace_until timestamptz
    );
"""


@pytest.fixture
def tenancy(session: Session) -> TenancyRepository:
    """Our repository."""
    return TenancyRepository(session)


@pytest.fixture
def connection(session: Session) -> Any:
    """The Session's psycopg connection, as the other layers take it.

    They open a savepoint where a transaction has begun and would commit one of their own where
    none has: the Session speaks first.
    """
    session.execute(text("SELECT 1"))
    return session.connection().connection.driver_connection


class TestAuthz:
    """One table of tuples, one transaction, two who use it."""

    @pytest.fixture
    def authz(self, connection: Any) -> PostgresTupleStore:
        return PostgresTupleStore(connection)

    @pytest.mark.parametrize(
        "change, roles",
        [
            (lambda t, m: None, {Role.MEMBER}),
            (lambda t, m: t.change_role(m.id, Role.ADMIN), {Role.ADMIN}),
            (lambda t, m: t.suspend_membership(m.id), set()),
            (lambda t, m: t.reinstate_membership(t.suspend_membership(m.id).id), {Role.MEMBER}),
            (lambda t, m: t.self_leave(m.id), set()),
            (lambda t, m: t.revoke_org(m.org_id), set()),
        ],
        ids=["nothing", "change_role", "suspend", "reinstate", "self_leave", "revoke_org"],
    )
    def test_grants_members_what_tenancy_has_made_of_them(
        self,
        tenancy: TenancyRepository,
        session: Session,
        authz: PostgresTupleStore,
        change: Callable[[TenancyRepository, Membership], object],
        roles: set[Role],
    ) -> None:
        membership = make_member(session, make_org(session))

        change(tenancy, membership)

        assert allowed(authz, membership) == roles

    def test_and_we_list_what_the_other_writes(
        self, session: Session, tenancy: TenancyRepository, authz: PostgresTupleStore
    ) -> None:
        usr_id, project = make_user(session).id, str(uuid4())
        written = authz.create_tuple("usr", usr_id, "editor", "proj", project, created_by=usr_id)
        (seen,) = tenancy.list_tuples_for_subject("usr", usr_id)
        assert (seen.id, seen.subject_id, seen.relation) == (written.id, usr_id, "editor")
        assert (seen.object_type, str(seen.object_id)) == ("proj", project)
        assert (seen.created_by, seen.created_at) == (usr_id, written.created_at)
        assert tenancy.list_tuples_for_object("proj", project) == [seen]

        usr_id = make_member(session, make_org(session)).usr_id
        (theirs,) = authz.list_tuples_by_subject("usr", usr_id).data
        (ours,) = tenancy.list_tuples_for_subject("usr", usr_id)
        assert (theirs.id, theirs.relation) == (ours.id, ours.relation)
        assert theirs.created_at == ours.created_at

    def test_cannot_write_again_or_take_away_what_a_membership_stands_for(
        self, session: Session, tenancy: TenancyRepository, authz: PostgresTupleStore
    ) -> None:
        membership = make_member(session, make_org(session))
        (tuple_,) = tenancy.list_tuples_for_subject("usr", membership.usr_id)
        with pytest.raises(DuplicateTupleError) as refusal:
            authz.create_tuple("usr", membership.usr_id, "member", "org", membership.org_id)
        assert refusal.value.existing_tuple_id == tuple_.id

        tenancy.suspend_membership(membership.id)  # the transaction is alive
        tenancy.reinstate_membership(membership.id)
        authz.cascade_revoke_subject("usr", membership.usr_id)
        with pytest.raises(IntegrityError, match="membership and tuple do not agree"):
            session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def allowed(authz: PostgresTupleStore, membership: Membership) -> set[str]:
    """Return the roles that authorization grants to a membership's user there."""
    usr_id, org_id = membership.usr_id, membership.org_id
    return {role for role in Role if authz.check("usr", usr_id, role, "org", org_id).allowed}


class TestIdentity:
    """Its users are our users."""

    @pytest.fixture
    def identity(self, session: Session, connection: Any) -> PostgresIdentityStore:
        session.execute(text(IDENTITY_TABLES))
        return PostgresIdentityStore(connection)

    def test_and_we_have_the_same_users(
        self, session: Session, tenancy: TenancyRepository, identity: PostgresIdentityStore
    ) -> None:
        theirs, ours = identity.create_user(display_name="Ann"), make_user(session)

        ann = session.get_one(User, theirs.id)
        assert (ann.id, ann.status, ann.display_name) == (theirs.id, "active", "Ann")
        assert (ann.created_at, ann.updated_at) == (theirs.created_at, theirs.updated_at)
        assert identity.get_user(ours.id).status.value == "active"

        org = tenancy.create_org(ann.id).org
        tenancy.add_member(org.id, ours.id, Role.MEMBER, invited_by=ann.id)
        members = tenancy.list_members(org.id).data
        assert [(m.usr_id, m.role) for m in members] == [(ann.id, "owner"), (ours.id, "member")]

        renamed = identity.update_user(ann.id, display_name="Anne")
        identity.revoke_user(ann.id)
        session.refresh(ann)
        assert (ann.status, ann.display_name) == (Status.REVOKED, "Anne")
        assert ann.updated_at >= renamed.updated_at

    def test_is_undone_with_what_we_and_authz_write(
        self,
        session: Session,
        tenancy: TenancyRepository,
        identity: PostgresIdentityStore,
        connection: Any,
    ) -> None:
        authz = PostgresTupleStore(connection)
        with session.begin_nested() as savepoint:
            session.connection()  # sends the savepoint, which else waits for the Session's words
            ann = identity.create_user()
            org = tenancy.create_org(ann.id).org
            authz.create_tuple("usr", ann.id, "editor", "proj", str(uuid4()))
            savepoint.rollback()

        assert session.get(User, ann.id) is None
        assert org not in session
        assert tenancy.list_tuples_for_subject("usr", ann.id) == []
