"""Organizations: the unit of tenancy, and the rules of their life."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, Self

from sqlalchemy import CheckConstraint, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ..errors import AlreadyTerminalError, OrgSlugConflictError, PreconditionError, Reason, shown
from ..ids import new_id
from ..policy import LETTER, Policy, require_at_most
from ..values import UNSET, Status, Unset
from .base import (
    Base,
    TermType,
    Timestamps,
    described,
    id_column,
    is_storable,
    one_of,
    page_index,
    partial_index,
)

SLUG_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class Organization(Timestamps, Base):
    """A unit of tenancy: flat, with an optional name and an optional unique slug.

    Specification: docs/tenancy.md#organizations, ADR 0002, ADR 0011.
    """

    __tablename__ = "org"
    __table_args__ = (
        one_of(Status, "org", "status"),
        CheckConstraint(f"slug IS NULL OR slug ~ '{SLUG_PATTERN}'", name="org_slug_format").ddl_if(
            dialect="postgresql"
        ),
        partial_index("org_slug_unique", "slug", where=text("slug IS NOT NULL"), unique=True),
        page_index("org_status_page_idx", "status", "id"),
    )

    id: Mapped[str] = id_column("org")
    status: Mapped[Status] = mapped_column(
        TermType(Status), default=Status.ACTIVE, server_default=Status.ACTIVE
    )
    name: Mapped[str | None] = mapped_column(Text)
    slug: Mapped[str | None] = mapped_column(Text)

    def __repr__(self) -> str:
        return described(self, "status")

    @classmethod
    def create(
        cls, *, name: str | None, slug: str | None, policy: Policy = LETTER, at: datetime
    ) -> Self:
        """Return a new active organization with a well-formed name and slug.

        Raises:
            PreconditionError: ``org_slug_format``, ``name_format`` or ``name_length``.
        """
        _require_slug(slug)
        _require_name(name, policy)
        return cls(
            id=new_id("org"),
            status=Status.ACTIVE,
            name=name,
            slug=slug,
            created_at=at,
            updated_at=at,
        )

    def update(
        self,
        *,
        name: str | Unset | None = UNSET,
        slug: str | Unset | None = UNSET,
        policy: Policy = LETTER,
        at: datetime,
    ) -> None:
        """Change what is given, clear what is ``None``, unless the organization is revoked.

        Raises:
            AlreadyTerminalError: it is revoked.
            PreconditionError: ``org_slug_format``, ``name_format`` or ``name_length``; nothing is
                changed.
        """
        self._require_not_revoked()
        if slug is not UNSET:
            _require_slug(slug)
        if name is not UNSET:
            _require_name(name, policy)
        if slug is not UNSET:
            self.slug = slug
        if name is not UNSET:
            self.name = name
        self._touch(at)

    def suspend(self, at: datetime) -> None:
        """Pause an active organization; memberships and tuples stay as they are.

        Raises:
            AlreadyTerminalError: it is suspended already, or revoked.
        """
        self._require_not_revoked()
        if self.status is Status.SUSPENDED:
            raise AlreadyTerminalError(
                f"organization {self.id} is already suspended", org_id=self.id, status=self.status
            )
        self.status = Status.SUSPENDED
        self._touch(at)

    def reinstate(self, at: datetime) -> None:
        """Bring a suspended organization back.

        Raises:
            PreconditionError: ``invalid_transition``; it is not suspended.
        """
        if self.status is not Status.SUSPENDED:
            raise PreconditionError(
                f"organization {self.id} is {self.status}; only a suspended one can be reinstated",
                Reason.INVALID_TRANSITION,
                org_id=self.id,
                status=self.status,
            )
        self.status = Status.ACTIVE
        self._touch(at)

    def revoke(self, at: datetime) -> None:
        """End the organization for good; what it holds must end with it.

        Raises:
            AlreadyTerminalError: it is revoked already.
        """
        self._require_not_revoked()
        self.status = Status.REVOKED
        self._touch(at)

    def require_active(self) -> None:
        """Refuse to let anybody in while the organization is not active.

        Raises:
            PreconditionError: ``org_not_active``.
        """
        if self.status is not Status.ACTIVE:
            raise PreconditionError(
                f"organization {self.id} is {self.status}, not active",
                Reason.ORG_NOT_ACTIVE,
                org_id=self.id,
                status=self.status,
            )

    def slug_taken(self) -> OrgSlugConflictError:
        """Return the refusal that a second holder of its slug gets."""
        return OrgSlugConflictError(str(self.slug))

    def _require_not_revoked(self) -> None:
        if self.status is Status.REVOKED:
            raise AlreadyTerminalError(
                f"organization {self.id} is revoked", org_id=self.id, status=self.status
            )


def is_slug(value: object) -> bool:
    """Tell whether ``value`` has the form of a slug: one to 63 characters, as in a DNS label."""
    return isinstance(value, str) and re.fullmatch(SLUG_PATTERN[1:-1], value) is not None


def _require_slug(slug: str | None) -> None:
    if slug is not None and not is_slug(slug):
        raise PreconditionError(
            f"slug {shown(slug)} is not 1 to 63 lowercase letters, digits and inner hyphens",
            Reason.ORG_SLUG_FORMAT,
            parameter="slug",
        )


def _require_name(name: str | None, policy: Policy) -> None:
    if name is None:
        return
    if not is_storable(name):
        raise PreconditionError(
            f"name {shown(name)} is not text that PostgreSQL can store",
            Reason.NAME_FORMAT,
            parameter="name",
        )
    require_at_most(policy.limits.name, len(name), "characters", "name", Reason.NAME_LENGTH)
