"""People and organizations for tests, made through the same operations an application uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flametrench_tenancy_sqlalchemy import Role, TenancyRepository, User

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from flametrench_tenancy_sqlalchemy import Membership, Organization


def make_user(session: Session, *, display_name: str | None = None) -> User:
    """Add an active user."""
    user = User(display_name=display_name)
    session.add(user)
    session.flush()
    return user


def make_org(
    session: Session,
    *,
    owner: User | None = None,
    name: str | None = None,
    slug: str | None = None,
) -> Organization:
    """Create an organization, owned by a new user unless an owner is given."""
    creator = owner or make_user(session)
    return TenancyRepository(session).create_org(creator.id, name=name, slug=slug).org


def make_member(
    session: Session,
    org: Organization,
    *,
    user: User | None = None,
    role: Role | str = Role.MEMBER,
) -> Membership:
    """Add a member to an organization: a new user unless one is given."""
    joining = user or make_user(session)
    return TenancyRepository(session).add_member(org.id, joining.id, Role(role))
