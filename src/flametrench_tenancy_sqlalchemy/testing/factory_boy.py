"""Factories for factory_boy: what they make, the repository makes, and so it is valid.

``factory.alchemy`` alone would put rows side by side: a membership without its tuple, an
organization without an owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

try:
    import factory
    from factory.alchemy import SQLAlchemyModelFactory
except ImportError as exc:
    raise ImportError(
        "factory_boy is missing: pip install 'flametrench-tenancy-sqlalchemy[factory-boy]'"
    ) from exc

from flametrench_tenancy_sqlalchemy import (
    Invitation,
    InvitationStatus,
    Membership,
    Organization,
    Role,
    Status,
    TenancyRepository,
    User,
)

from .factories import make_member, make_org, make_user

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_session: Final[ContextVar[Session]] = ContextVar("session")


@contextmanager
def factories_on(session: Session) -> Iterator[None]:
    """Have all factories, and those that are made of them, work on a Session.

    Args:
        session: the test's Session, such as the plugin's ``tenancy_session``.

    Raises:
        RuntimeError: by a factory that is used outside the block.
    """
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


def _current_session() -> Session:
    try:
        return _session.get()
    except LookupError:
        raise RuntimeError("the factories have no Session: see factories_on") from None


class TenancyFactory(SQLAlchemyModelFactory):
    """What makes entities of tenancy, and only in the database."""

    class Meta:
        abstract = True
        sqlalchemy_session_factory = _current_session

    make: ClassVar[Callable[..., Any]]
    """Makes an entity, on a Session, of what has been declared and given."""

    @classmethod
    def _create(cls, model_class: type[Any], *args: Any, **given: Any) -> Any:
        return cls.make(cls._meta.sqlalchemy_session_factory(), **given)

    @classmethod
    def _build(cls, model_class: type[Any], *args: Any, **given: Any) -> NoReturn:
        raise TypeError(
            f"{model_class.__name__.lower()}s come into being in the database: "
            f"{cls.__name__}.create() makes one"
        )


class UserFactory(TenancyFactory):
    """Users: ``display_name``."""

    class Meta:
        model = User

    display_name = factory.Faker("name")

    @staticmethod
    def make(session: Session, **given: Any) -> User:
        """Make a user."""
        return make_user(session, **given)


class OrganizationFactory(TenancyFactory):
    """Organizations: ``owner`` (a `User`), ``name``, ``slug``, ``status``."""

    class Meta:
        model = Organization

    owner = factory.SubFactory(UserFactory)
    name = factory.Faker("company")
    slug = None
    status = Status.ACTIVE

    @staticmethod
    def make(session: Session, *, status: Status | str, **given: Any) -> Organization:
        """Make an organization, which has been active before it is in another status."""
        org, tenancy = make_org(session, **given), TenancyRepository(session)
        match Status.parse(status, "status"):
            case Status.SUSPENDED:
                return tenancy.suspend_org(org.id)
            case Status.REVOKED:
                return tenancy.revoke_org(org.id)
        return org


class MembershipFactory(TenancyFactory):
    """Memberships: ``organization``, ``user``, ``role``, ``status``."""

    class Meta:
        model = Membership

    organization = factory.SubFactory(OrganizationFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.MEMBER
    status = Status.ACTIVE

    @staticmethod
    def make(
        session: Session, *, organization: Organization, status: Status | str, **given: Any
    ) -> Membership:
        """Make a membership, which has been active before it is in another status."""
        member, tenancy = make_member(session, organization, **given), TenancyRepository(session)
        match Status.parse(status, "status"):
            case Status.SUSPENDED:
                return tenancy.suspend_membership(member.id)
            case Status.REVOKED:
                return tenancy.self_leave(member.id)
        return member


class InvitationFactory(TenancyFactory):
    """Invitations: ``organization``, ``inviter`` (an owner, if none is given), and so on.

    Besides: ``identifier``, ``role``, ``expires_at``, ``pre_tuples``, ``status``.
    """

    class Meta:
        model = Invitation

    organization = factory.SubFactory(OrganizationFactory)
    inviter = None
    identifier = factory.Sequence(lambda n: f"invitee{n}@example.com")
    role = Role.MEMBER
    expires_at = factory.LazyFunction(lambda: datetime.now(UTC) + timedelta(days=7))
    pre_tuples = ()
    status = InvitationStatus.PENDING

    @staticmethod
    def make(
        session: Session,
        *,
        organization: Organization,
        inviter: User | None,
        status: InvitationStatus | str,
        **given: Any,
    ) -> Invitation:
        """Make an invitation, which has been pending before it is answered or withdrawn."""
        tenancy = TenancyRepository(session)
        owners = tenancy.list_members(organization.id, roles=[Role.OWNER], status=Status.ACTIVE)
        invited_by = inviter.id if inviter else owners.data[0].usr_id
        offer = tenancy.create_invitation(organization.id, invited_by=invited_by, **given)
        match InvitationStatus.parse(status, "status"):
            case InvitationStatus.ACCEPTED:
                return tenancy.accept_invitation(offer.id).invitation
            case InvitationStatus.DECLINED:
                return tenancy.decline_invitation(offer.id)
            case InvitationStatus.REVOKED:
                return tenancy.revoke_invitation(offer.id, invited_by)
            case InvitationStatus.EXPIRED:
                raise ValueError("an invitation expires when its time is over, not before")
        return offer
