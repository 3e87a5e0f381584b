"""Whatever can have the operations for one user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from ..authority import Actor
from ..models import User
from ..models.user import user_id

Acting = TypeVar("Acting")


class ActsForUsers(ABC, Generic[Acting]):
    """Whatever has the operations, and can have them for one user."""

    def acting_as(
        self,
        usr_id: User | str,
        *,
        identifier: str | None = None,
        auth: Mapping[str, Any] | None = None,
        on_behalf: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Acting:
        """Return the operations for one user, each of which checks that the user may.

        Args:
            usr_id: the user whom authentication has established, or their wire id (``usr_…``).
            identifier: the identifier that authentication has proven to be theirs; without it no
                invitation is.
            auth: how they have signed in, for the audit log: a ``kind`` of ``session``, ``pat``
                and ``share``, and the id that is named after it.
            on_behalf: ``agent_id`` of the agent that acts in their name.
            context: the circumstances: ``request_id``, ``ip`` and ``user_agent``.

        Raises:
            InvalidIdError: ``usr_id`` is no ``usr_`` wire id, or a user who has none yet.
            PreconditionError: ``auth_format``, ``on_behalf_format`` or ``context_format``; it has
                not the form that the specification gives it. ``event_size``; it is larger than an
                event may be.
        """
        return self._for(
            Actor(
                user_id(usr_id, "usr_id"),
                identifier=identifier,
                auth=auth,
                on_behalf=on_behalf,
                context=context,
            )
        )

    @abstractmethod
    def _for(self, actor: Actor) -> Acting: ...


class ForOneUser:
    """Whatever runs for one user."""

    _actor: Actor

    @property
    def usr_id(self) -> str:
        """The user's wire id."""
        return self._actor.usr_id

    @property
    def identifier(self) -> str | None:
        """The identifier that authentication has proven to be theirs."""
        return self._actor.identifier
