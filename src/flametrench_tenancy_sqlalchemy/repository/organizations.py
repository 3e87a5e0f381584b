"""Organizations: created, changed, suspended, revoked and listed."""

from __future__ import annotations

from ..ids import new_id, require
from ..models import Membership, Organization, User
from ..models.base import not_found
from ..models.organization import is_slug
from ..models.user import user_id
from ..results import CreateOrgResult
from ..transactions.isolation import View, Way, spans_organizations
from ..values import UNSET, Page, Role, Status, Unset
from . import lists, locks, queries
from .frame import Repository
from .kinds import reads
from .queries import Options


class OrganizationOperations(Repository):
    """The operations on organizations."""

    def create_org(
        self,
        creator: User | str,
        *,
        name: str | None = None,
        slug: str | None = None,
        org_id: str | None = None,
    ) -> CreateOrgResult:
        """Create an organization together with its creator's owner membership.

        Args:
            creator: the founding user, or their wire id (``usr_…``).
            name: a display name.
            slug: a handle, unique among all organizations: 1 to 63 lowercase letters, digits and
                inner hyphens.
            org_id: a fresh wire id (``org_…``) of the caller's, by which trying again after an
                unknown outcome is recognized; a new one, if none is given.

        Returns:
            The organization and the owner membership.

        Raises:
            InvalidIdError: ``creator`` or ``org_id`` is malformed or of another type, or the
                creator has no id yet.
            PreconditionError: ``org_slug_format`` or ``name_format``; the text is malformed.
                ``name_length``; the name is over the policy's limit.
            NotFoundError: there is no user ``creator``.
            OrgSlugConflictError: another organization holds the slug.
            DuplicateOrganizationError: ``org_id`` is taken.

        Specification: docs/tenancy.md#organizations, ADR 0011.
        """
        if org_id is not None:
            require(org_id, "org", "org_id")
        creator = user_id(creator, "creator")
        id_ = org_id or new_id("org")
        view = View.of(Way.NAMED, id_, beyond=True)
        with self._operation(
            "create_org", view=view, users={"creator": creator}, by=creator
        ) as operation:
            org = Organization.create(
                id_=id_, name=name, slug=slug, policy=self._policy, at=operation.at
            )
            owner = Membership.join(org, creator, Role.OWNER, at=operation.at)
            if org_id is not None and queries.is_there(self.session, org):
                # Its own slug is not in its way.
                if locks.is_held(self.session, slug, org_id):
                    raise org.slug_taken()
                raise org.already_there()
            operation.write(added=[org, owner], created_by=creator)
        return CreateOrgResult(org, owner)

    @reads
    def get_org(self, org_id: str, *, options: Options | None = None) -> Organization:
        """Return an organization.

        Args:
            org_id: its wire id (``org_…``).
            options: loader options of SQLAlchemy, for what is to be loaded with it.

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            PreconditionError: ``options_format``; the options are something else.
            NotFoundError: there is no such organization.

        Specification: docs/tenancy.md#organizations.
        """
        with self._seeing(View.of(Way.NAMED, require(org_id, "org", "org_id"))):
            org = queries.get(self.session, Organization, "org_id", org_id, options=options)
            self._permit_reading("get_org", org, options=options)
        return org

    @reads
    def get_org_by_slug(self, slug: str, *, options: Options | None = None) -> Organization:
        """Return the organization that holds a slug, in whatever status it is.

        Args:
            slug: the handle; text that cannot be one belongs to no organization.
            options: loader options of SQLAlchemy, for what is to be loaded with it.

        Raises:
            PreconditionError: ``options_format``; the options are something else.
            NotFoundError: no organization holds the slug.

        Specification: ADR 0011.
        """
        if not is_slug(slug):
            raise not_found(Organization, slug, "slug")
        with self._seeing(View.of(Way.SLUGS, slug)):
            org = queries.one(
                self.session, Organization, queries.ORG_BY_SLUG, "slug", slug, options=options
            )
            self._permit_reading("get_org_by_slug", org, named=("slug", slug), options=options)
        return org

    def update_org(
        self,
        org_id: str,
        *,
        name: str | Unset | None = UNSET,
        slug: str | Unset | None = UNSET,
    ) -> Organization:
        """Change an organization's name or slug: what is omitted stays, ``None`` clears.

        Args:
            org_id: its wire id (``org_…``).
            name: the new display name.
            slug: the new handle; the old one is free at once.

        Returns:
            The organization as it stands now.

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            NotFoundError: there is no such organization.
            AlreadyTerminalError: the organization is revoked.
            PreconditionError: ``org_slug_format`` or ``name_format``; the text is malformed.
                ``name_length``; the name is over the policy's limit.
            OrgSlugConflictError: another organization holds the slug.

        Specification: ADR 0011.
        """
        require(org_id, "org", "org_id")
        with self._operation("update_org", view=View.of(Way.NAMED, org_id)) as operation:
            org = locks.organization(self.session, org_id)
            self._permit("update_org", org)
            before = org.slug
            org.update(name=name, slug=slug, policy=self._policy, at=operation.at)
            if org.slug != before and locks.is_held(self.session, org.slug, org_id):
                raise org.slug_taken()
            operation.write(changed=[org])
        return org

    def suspend_org(self, org_id: str) -> Organization:
        """Pause an organization: nobody joins, and its members' requests are refused.

        Memberships and tuples stay as they are.

        Args:
            org_id: its wire id (``org_…``).

        Returns:
            The organization as it stands now.

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            NotFoundError: there is no such organization.
            AlreadyTerminalError: it is suspended already, or revoked.

        Specification: docs/tenancy.md#organizations.
        """
        require(org_id, "org", "org_id")
        with self._operation("suspend_org", view=View.of(Way.NAMED, org_id)) as operation:
            org = locks.organization(self.session, org_id)
            self._permit("suspend_org", org)
            org.suspend(operation.at)
            operation.write(changed=[org])
        return org

    def reinstate_org(self, org_id: str) -> Organization:
        """Bring a suspended organization back.

        Args:
            org_id: its wire id (``org_…``).

        Returns:
            The organization as it stands now.

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            NotFoundError: there is no such organization.
            PreconditionError: ``invalid_transition``; it is not suspended.

        Specification: docs/tenancy.md#organizations.
        """
        require(org_id, "org", "org_id")
        with self._operation("reinstate_org", view=View.of(Way.NAMED, org_id)) as operation:
            org = locks.organization(self.session, org_id)
            self._permit("reinstate_org", org)
            org.reinstate(operation.at)
            operation.write(changed=[org])
        return org

    def revoke_org(self, org_id: str) -> Organization:
        """End an organization for good, with everything that it grants.

        Its memberships are revoked, all tuples about it deleted, its pending invitations revoked.
        The slug stays taken until it is cleared, which a revoked organization no longer allows.

        Args:
            org_id: its wire id (``org_…``).

        Returns:
            The organization as it stands now.

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            NotFoundError: there is no such organization.
            AlreadyTerminalError: it is revoked already.

        Specification: docs/tenancy.md#organizations.
        """
        require(org_id, "org", "org_id")
        with self._operation("revoke_org", view=View.of(Way.NAMED, org_id)) as operation:
            org = locks.organization(self.session, org_id)
            self._permit("revoke_org", org)
            org.revoke(operation.at)
            operation.revoke_all_of(org)
        return org

    @reads
    def list_orgs(
        self,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: Status | str | None = None,
        query: str | None = None,
        options: Options | None = None,
    ) -> Page[Organization]:
        """Return a page of all organizations, whoever they belong to.

        This is the one read across tenants. It checks nobody: the caller must gate it, or it
        tells everybody who the customers are.

        Args:
            cursor: the ``next_cursor`` of the page before.
            limit: how many, from 1 to 200; numbers outside are brought inside.
            status: only organizations in this status.
            query: only organizations whose name or slug contains this text, in any case.
            options: loader options of SQLAlchemy, for what is to be loaded with them.

        Raises:
            InvalidIdError: ``cursor`` is no ``org_`` wire id.
            PreconditionError: ``status_format``, ``limit_format`` or ``options_format``; the
                argument is malformed. ``query_length``; the text is over the policy's limit of
                names.

        Specification: ADR 0025.
        """
        self._permit_alone("list_orgs")
        spans_organizations(self.session, "list_orgs", "org", "operator")
        in_status = Status.parse_if_given(status, "status")
        if query is None:
            found = lists.ORGS[in_status]
        else:
            found = lists.orgs_containing(lists.searched(query, self._policy), in_status)
        return queries.page(
            self.session, Organization, found, cursor=cursor, limit=limit, options=options
        )
