"""Organizations: created, changed, suspended, revoked and listed."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import ColumnElement, bindparam, literal, or_, select

from .._integrity import ORG_SLUG_UNIQUE
from ..errors import OrgSlugConflictError, TenancyError
from ..ids import require
from ..models import Membership, Organization
from ..models.base import is_storable, not_found
from ..models.organization import is_slug
from ..results import CreateOrgResult
from ..values import (
    UNSET,
    Page,
    Role,
    Status,
    Unset,
)
from .base import ORG_VERSION
from .locking import FRESH, LockingRead, Query
from .pages import ORGS, Stretch, page_of
from .revocation import write_revocation
from .tuples import TupleOperations


class OrganizationOperations(TupleOperations):
    """The operations on organizations."""

    def create_org(
        self, creator: str, *, name: str | None = None, slug: str | None = None
    ) -> CreateOrgResult:
        """Create an organization together with its creator's owner membership.

        Args:
            creator: the founding user's wire id (``usr_…``).
            name: a display name.
            slug: a handle, unique among all organizations: 1 to 63 lowercase letters, digits and
                inner hyphens.

        Returns:
            The organization and the owner membership.

        Raises:
            InvalidIdError: ``creator`` is no ``usr_`` wire id.
            PreconditionError: ``org_slug_format`` or ``name_format``; the text is malformed.
            NotFoundError: there is no user ``creator``.
            OrgSlugConflictError: another organization holds the slug.

        Specification: docs/tenancy.md#organizations, ADR 0011.
        """
        users = {"creator": require(creator, "usr", "creator")}
        conflicts: dict[str, TenancyError] = {ORG_SLUG_UNIQUE: OrgSlugConflictError(str(slug))}
        with self._operation("create_org", users=users, conflicts=conflicts) as now:
            org = Organization.create(name=name, slug=slug, at=now)
            owner = Membership.join(org, creator, Role.OWNER, at=now)
            self._write(org, owner, created_by=creator, at=now)
        return CreateOrgResult(org, owner)

    def get_org(self, org_id: str) -> Organization:
        """Return an organization.

        Args:
            org_id: its wire id (``org_…``).

        Raises:
            InvalidIdError: ``org_id`` is no ``org_`` wire id.
            NotFoundError: there is no such organization.

        Specification: docs/tenancy.md#organizations.
        """
        return self._get(Organization, "org_id", org_id)

    def get_org_by_slug(self, slug: str) -> Organization:
        """Return the organization that holds a slug, in whatever status it is.

        Args:
            slug: the handle; text that cannot be one belongs to no organization.

        Raises:
            NotFoundError: no organization holds the slug.

        Specification: ADR 0011.
        """
        if not is_slug(slug):
            raise not_found(Organization, slug, "slug")
        return self._one(Organization, _BY_SLUG, "slug", slug)

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
            OrgSlugConflictError: another organization holds the slug.

        Specification: ADR 0011.
        """
        require(org_id, "org", "org_id")
        conflicts: dict[str, TenancyError] = {ORG_SLUG_UNIQUE: OrgSlugConflictError(str(slug))}
        with self._operation("update_org", conflicts=conflicts) as now:
            org = self._lock_org_for(org_id, slug)
            org.update(name=name, slug=slug, at=now)
            self._write(org, at=now)
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
        with self._operation("suspend_org") as now:
            org = self._lock_org(org_id)
            org.suspend(now)
            self._write(org, at=now)
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
        with self._operation("reinstate_org") as now:
            org = self._lock_org(org_id)
            org.reinstate(now)
            self._write(org, at=now)
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
        with self._operation("revoke_org") as now:
            org = self._lock_org(org_id)
            org.revoke(now)
            write_revocation(org, self.session, at=now)
        return org

    def list_orgs(
        self,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: Status | str | None = None,
        query: str | None = None,
    ) -> Page[Organization]:
        """Return a page of all organizations, whoever they belong to.

        This is the one read across tenants. It checks nobody: the caller must gate it, or it
        tells everybody who the customers are.

        Args:
            cursor: the ``next_cursor`` of the page before.
            limit: how many, from 1 to 200; numbers outside are brought inside.
            status: only organizations in this status.
            query: only organizations whose name or slug contains this text, in any case.

        Raises:
            InvalidIdError: ``cursor`` is no ``org_`` wire id.
            PreconditionError: ``status_format`` or ``limit_format``; the argument is malformed.

        Specification: ADR 0025.
        """
        in_status = Status.parse_if_given(status, "status")
        if query is None:
            return self._page(Organization, ORGS[in_status], cursor=cursor, limit=limit)
        if not is_storable(query):  # nor can it be part of what is stored
            return Page([], None)
        found = select(Organization).where(_contains(query))
        if in_status is not None:
            found = found.where(Organization.status == in_status)
        return self._page(Organization, page_of(found, Stretch()), cursor=cursor, limit=limit)

    def _lock_org_for(self, org_id: str, slug: object) -> Organization:
        """Lock an organization and who holds the slug that it is to get, in the one order.

        Or two that ask for each other's would wait for each other.
        """
        if not is_slug(slug):
            return self._lock_org(org_id)
        found = self._lock(_ORG_AND_HOLDER, {"sought": org_id, "wanted": slug})
        orgs: dict[str, Organization] = {org.id: org for (org,) in found}
        if org_id not in orgs:
            raise not_found(Organization, org_id, "org_id")
        return orgs[org_id]


def _contains(query: str) -> ColumnElement[bool]:
    """Return the condition that an organization's name or slug contains a text, in any case."""
    # Written into the statement, since the best plan depends on what is looked for. With a
    # parameter the server would settle for one plan after a few times, often the wrong one.
    escaped = re.sub("[/%_]", r"/\g<0>", query)
    pattern = literal(f"%{escaped}%", literal_execute=True)
    return or_(
        Organization.name.ilike(pattern, escape="/"), Organization.slug.ilike(pattern, escape="/")
    )


_BY_SLUG: Final = (
    select(Organization).where(Organization.slug == bindparam("sought")).execution_options(**FRESH)
)
_ORG_AND_HOLDER: Final = LockingRead(
    Query(
        select(Organization)
        .where(
            or_(Organization.id == bindparam("sought"), Organization.slug == bindparam("wanted"))
        )
        .order_by(Organization.id),
        ORG_VERSION,
    ),
    {"key_share": True, "of": Organization},
)
