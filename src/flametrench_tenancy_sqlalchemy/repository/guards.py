"""What a user is in an organization: the questions that guard a request."""

from __future__ import annotations

from ..errors import ForbiddenError
from ..ids import require
from ..models import Membership, User
from ..models.user import user_id
from ..transactions.isolation import View, Way
from ..transactions.sessions import connection_of, where_writes_go
from ..values import Role
from . import queries
from .frame import Repository
from .kinds import guards
from .queries import Options


class GuardOperations(Repository):
    """The operations that guard requests; of a Session that routes they ask the primary."""

    @guards
    def find_membership(
        self, org_id: str, usr_id: User | str, *, options: Options | None = None
    ) -> Membership | None:
        """Return a user's active membership in an organization, if they have one.

        Args:
            org_id: the organization's wire id (``org_…``).
            usr_id: the user, or their wire id (``usr_…``).
            options: loader options of SQLAlchemy, for what is to be loaded with it.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            PreconditionError: ``options_format``; the options are something else.

        Specification: docs/tenancy.md#memberships.
        """
        require(org_id, "org", "org_id")
        usr_id = user_id(usr_id, "usr_id")
        with where_writes_go(self.session), self._seeing(View.of(Way.NAMED, org_id)) as sight:
            self._permit_reading_in("find_membership", org_id, about=usr_id)
            query = queries.loading(queries.ACTIVE_MEMBERSHIP, options)
            found = queries.read(self.session, query, {"whose": usr_id, "there": org_id})
            membership: Membership | None = found.one_or_none()
            sight.stays = membership is not None
        return membership

    @guards
    def require_role(
        self,
        org_id: str,
        usr_id: User | str,
        *roles: Role | str,
        options: Options | None = None,
    ) -> Membership:
        """Return the membership that lets a user's request pass: the request guard.

        Args:
            org_id: the organization's wire id (``org_…``).
            usr_id: the requesting user, or their wire id (``usr_…``).
            roles: the roles that may pass; any, if none is named.
            options: loader options of SQLAlchemy, for what is to be loaded with it.

        Returns:
            Their active membership, in an active organization, with one of the roles.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.
            PreconditionError: ``role_format``; there is no such role. ``options_format``; the
                options are something else.
            ForbiddenError: they have no such membership.

        Specification: docs/tenancy.md#memberships.
        """
        require(org_id, "org", "org_id")
        usr_id = user_id(usr_id, "usr_id")
        allowed = [Role.parse(role, "roles") for role in roles]
        with where_writes_go(self.session), self._seeing(View.of(Way.NAMED, org_id)):
            query = queries.loading(queries.ADMITTED, options)
            found = queries.read(self.session, query, {"whose": usr_id, "there": org_id})
            membership: Membership | None = found.one_or_none()
            if membership is None or (allowed and membership.role not in allowed):
                with self._denials("require_role", org_id, membership):
                    what = " or ".join(allowed) or "member"
                    raise ForbiddenError(
                        f"user {usr_id} is no active {what} of {org_id}",
                        usr_id=usr_id,
                        org_id=org_id,
                        roles=allowed,
                    )
        return membership

    @guards
    def role_of(self, org_id: str, usr_id: User | str) -> Role | None:
        """Return the role that a user has in an active organization: the cheapest guard.

        Args:
            org_id: the organization's wire id (``org_…``).
            usr_id: the user, or their wire id (``usr_…``).

        Returns:
            The role of their active membership, ``None`` if they have none.

        Raises:
            InvalidIdError: an id is malformed or of another type, or a user has none yet.

        Specification: docs/tenancy.md#memberships.
        """
        require(org_id, "org", "org_id")
        usr_id = user_id(usr_id, "usr_id")
        given = {"whose": usr_id, "there": org_id}
        with where_writes_go(self.session), self._seeing(View.of(Way.NAMED, org_id)) as sight:
            role: Role | None = connection_of(self.session).scalar(queries.ROLE_OF, given)
            sight.stays = role is not None
        return role
