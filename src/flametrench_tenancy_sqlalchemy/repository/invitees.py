"""Invitations from the other side: what the invitee may see, and how they are forgotten."""

from __future__ import annotations

from typing import Any

from ..clock import time_of
from ..errors import PreconditionError, Reason, shown
from ..ids import require
from ..models import Invitation
from ..models.base import is_storable, not_found
from ..models.offers import effective
from ..results import InvitationPreview
from ..transactions.isolation import View, Way
from ..transactions.sessions import connection_of
from ..values import Page
from . import lists, locks, queries
from .frame import Repository
from .kinds import reads
from .queries import Options


class InviteeOperations(Repository):
    """The operations on invitations by whom they are for."""

    @reads
    def preview_invitation(self, inv_id: str) -> InvitationPreview:
        """Return what whoever holds an invitation's link may see before they sign in.

        Never whom it is for, what it grants besides, or any other id.

        Args:
            inv_id: the invitation's wire id (``inv_…``).

        Raises:
            InvalidIdError: ``inv_id`` is no ``inv_`` wire id.
            NotFoundError: there is no such invitation.
        """
        require(inv_id, "inv", "inv_id")
        with self._seeing(View.of(Way.INVITATIONS, inv_id)):
            if self._actor is not None:
                invitation = queries.get(self.session, Invitation, "inv_id", inv_id)
                self._permit_reading("preview_invitation", invitation)
            found = connection_of(self.session).execute(queries.PREVIEW, {"sought": inv_id})
            row = found.one_or_none()
        if row is None:
            raise not_found(Invitation, inv_id, "inv_id")
        return InvitationPreview(
            row.name,
            row.slug,
            row.role,
            row.display_name,
            expires_at=row.expires_at,
            effective_status=effective(row.status, row.expires_at, time_of(self._clock)),
        )

    @reads
    def list_invitations_for(
        self,
        identifier: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        options: Options | None = None,
    ) -> Page[Invitation]:
        """Return a page of an invitee's inbox: what they may accept now.

        The identifier must be one that the caller's authentication vouches for: whoever names it
        sees who has invited them.

        Args:
            identifier: how the invitee is known.
            cursor: the ``next_cursor`` of the page before.
            limit: how many, from 1 to 200; numbers outside are brought inside.
            options: loader options of SQLAlchemy, for what is to be loaded with them.

        Returns:
            Pending invitations, not overdue, to active organizations, each with its
            ``organization`` loaded.

        Raises:
            InvalidIdError: ``cursor`` is no ``inv_`` wire id.
            PreconditionError: ``identifier_format``; the identifier is no text.
                ``limit_format`` or ``options_format``; the argument is malformed.
        """
        now = time_of(self._clock)
        wanted = self._spellings(identifier)
        spellings: dict[str, Any] = {f"spelling_{n}": each for n, each in enumerate(wanted)}
        with self._seeing(View.of(Way.IDENTIFIERS, *wanted, beyond=self._actor is not None)):
            page = queries.page(
                self.session,
                Invitation,
                lists.inbox(*spellings),
                cursor=cursor,
                limit=limit,
                options=options,
                now=now,
                **spellings,
            )
        for invitation in page:
            invitation.read_at = now
        return page

    def erase_identifier(self, identifier: str) -> int:
        """Forget an identifier: pending invitations of its are revoked, and none names it any more.

        Args:
            identifier: how the invitee is, or was, known.

        Returns:
            How many invitations have named it.

        Raises:
            PreconditionError: ``identifier_format``; the identifier is no text.
        """
        self._permit_alone("erase_identifier")
        spellings = self._spellings(identifier)
        view = View.of(Way.IDENTIFIERS, *spellings, spanning="erase_identifier")
        with self._operation("erase_identifier", view=view) as operation:
            found = locks.invitations_of(self.session, spellings)
            for invitation in found:
                invitation.erase(operation.at)
            if found:
                operation.write(changed=found)
        return len(found)

    def _spellings(self, identifier: str) -> list[str]:
        """Return the forms under which an identifier may be stored: canonical, or as it was given.

        Raises:
            PreconditionError: ``identifier_format``.
        """
        canonical = self._policy.canonical
        if not (is_storable(identifier) and is_storable(form := canonical(identifier))):
            raise PreconditionError(
                f"identifier {shown(identifier)} is not text that PostgreSQL can store",
                Reason.IDENTIFIER_FORMAT,
                parameter="identifier",
            )
        return sorted({identifier, form})
