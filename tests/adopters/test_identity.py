"""flametrench-identity beside us: its users are our users."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flametrench_identity.postgres import PostgresIdentityStore
from sqlalchemy import text

from flametrench_tenancy_sqlalchemy import Role, Status, TenancyRepository, User
from flametrench_tenancy_sqlalchemy.testing.factories import make_org, make_user

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

# As much of the identity layer's own tables as these tests touch; its `usr` is ours.
TABLES = (
    """
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
    )
    """,
    """
    CREATE TABLE ses (
        id uuid PRIMARY KEY,
        usr_id uuid NOT NULL REFERENCES usr (id),
        cred_id uuid NOT NULL REFERENCES cred (id),
        revoked_at timestamptz
    )
    """,
    """
    CREATE TABLE usr_mfa_policy (
        usr_id uuid PRIMARY KEY REFERENCES usr (id),
        required boolean NOT NULL,
        grace_until timestamptz
    )
    """,
)


@pytest.fixture
def identity(session: Session, connection: Any) -> PostgresIdentityStore:
    """The identity layer's store, its tables beside ours and gone after the test."""
    for table in TABLES:
        session.execute(text(table))
    return PostgresIdentityStore(connection)


def test_its_users_own_organizations_and_join_them(
    tenancy: TenancyRepository, identity: PostgresIdentityStore
) -> None:
    ann, bob = identity.create_user(display_name="Ann"), identity.create_user()

    org = tenancy.create_org(ann.id).org
    tenancy.add_member(org.id, bob.id, Role.MEMBER, invited_by=ann.id)

    members = tenancy.list_members(org.id).data
    assert [(m.usr_id, m.role) for m in members] == [(ann.id, "owner"), (bob.id, "member")]


def test_its_users_are_our_entities(session: Session, identity: PostgresIdentityStore) -> None:
    ann = identity.create_user(display_name="Ann")

    ours = session.get_one(User, ann.id)

    assert (ours.id, ours.status, ours.display_name) == (ann.id, "active", "Ann")
    assert (ours.created_at, ours.updated_at) == (ann.created_at, ann.updated_at)


def test_what_it_changes_of_a_user_shows_in_ours(
    session: Session, identity: PostgresIdentityStore
) -> None:
    ann = identity.create_user()
    ours = session.get_one(User, ann.id)

    renamed = identity.update_user(ann.id, display_name="Ann")
    identity.revoke_user(ann.id)

    session.refresh(ours)
    assert (ours.status, ours.display_name) == (Status.REVOKED, "Ann")
    assert ours.updated_at >= renamed.updated_at


def test_our_users_are_its_users(session: Session, identity: PostgresIdentityStore) -> None:
    ours = make_user(session, display_name="Ann")

    theirs = identity.get_user(ours.id)

    assert (theirs.id, theirs.status.value, theirs.display_name) == (ours.id, "active", "Ann")


def test_an_invitation_is_accepted_with_the_identifier_that_it_has_verified(
    session: Session, tenancy: TenancyRepository, identity: PostgresIdentityStore
) -> None:
    org, inviter = make_org(session), make_user(session).id
    later = datetime.now(UTC) + timedelta(days=1)
    offer = tenancy.create_invitation(org.id, "ann@example.com", Role.MEMBER, inviter, later)
    ann = identity.create_user()
    identity.create_password_credential(ann.id, "ann@example.com", "correct horse")

    verified = identity.verify_password("ann@example.com", "correct horse")
    credential = identity.get_credential(verified.cred_id)
    accepted = tenancy.accept_invitation(
        offer.id, as_usr_id=verified.usr_id, accepting_identifier=credential.identifier
    )

    assert (accepted.membership.usr_id, accepted.membership.role) == (ann.id, "member")


def test_a_user_whom_an_invitation_made_can_get_a_credential(
    session: Session, tenancy: TenancyRepository, identity: PostgresIdentityStore
) -> None:
    org, inviter = make_org(session), make_user(session).id
    later = datetime.now(UTC) + timedelta(days=1)
    offer = tenancy.create_invitation(org.id, "ann@example.com", Role.MEMBER, inviter, later)

    usr_id = tenancy.accept_invitation(offer.id).membership.usr_id
    credential = identity.create_password_credential(usr_id, offer.identifier, "correct horse")

    assert credential.usr_id == usr_id


def test_what_it_writes_is_undone_with_what_we_write(
    session: Session, tenancy: TenancyRepository, identity: PostgresIdentityStore
) -> None:
    with session.begin_nested() as savepoint:
        session.connection()  # sends the savepoint, which else waits for the Session's own words
        ann = identity.create_user()
        org = tenancy.create_org(ann.id).org
        savepoint.rollback()

    assert session.get(User, ann.id) is None
    assert org not in session
