"""Whether the user for whom an operation runs, if it runs for one, may do what it does.

`authority` has the table; here it is found out where the user stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, Self, TypeAlias

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState

from ..authority import RULES, Actor
from ..clock import Clock, time_of
from ..errors import ForbiddenError, NotFoundError, RoleHierarchyError
from ..models import Invitation, Membership, Organization
from ..models.base import not_found
from ..policy import Policy
from ..transactions.sessions import AnySession
from ..transactions.settings import denial
from ..values import Role
from ..writing.events import write_apart
from . import locks, queries
from .queries import Options

Look: TypeAlias = Callable[[AnySession, str, str], Membership | None]
"""Finds a user's active membership in an organization, with that at hand."""


class ForSomebody:
    """What runs for the system itself, which asks nobody, or for one user."""

    session: AnySession
    _policy: Policy
    _clock: Clock
    _actor: Actor | None = None
    _denied: list[dict[str, Any]] | None = None

    def _bound_to(self, actor: Actor) -> Self:
        """Return the same for one user."""
        bound = copy(self)
        bound._actor = actor
        return bound

    def _permit(
        self,
        operation: str,
        target: Organization | Membership | Invitation,
        *reach: Role,
        named: tuple[str, str] | None = None,
        look: Look = locks.administrator,
    ) -> None:
        """Refuse what the acting user may not do, once the target's organization is locked.

        Args:
            operation: the operation's name, for the table.
            target: what it is done to.
            reach: the roles that are given or touched.
            named: the argument that names the target and what it holds, where that is not its id
                under the name of its kind.
            look: finds where the user stands: by a lock, if nothing else is said.

        Raises:
            NotFoundError: the user must not learn that the target is there.
            PreconditionError: ``org_not_active``.
            ForbiddenError: the user lacks the role.
        """
        if self._actor is None:
            return
        rule, own = RULES[operation], self._actor.owns(target, self._policy)
        if rule.own and own:
            return
        org_id = target.id if isinstance(target, Organization) else target.org_id
        # A table is named after its type of id.
        parameter, given = named or (f"{target.__tablename__}_id", target.id)
        membership = look(self.session, self._actor.usr_id, org_id)
        missing = not_found(type(target), given, parameter)
        with self._denials(operation, target.id, membership):
            rule.judge(membership, own=own, reach=reach, missing=missing)

    def _permit_joining(
        self, operation: str, org_id: str, *reach: Role, offers: bool = False
    ) -> None:
        """Do the same for what joins an organization, which is locked by this as joining needs."""
        if self._actor is not None:
            alone = self._policy.looks_at_others(offers=offers)
            org = locks.organization(self.session, org_id, joining=not alone)
            self._permit(operation, org, *reach)

    def _permit_ending(
        self, operation: str, offers: Sequence[Invitation], *, look: Look = locks.administrator
    ) -> None:
        """Do the same for the offers to one identifier that an operation ends by the policy."""
        if offers:
            self._permit(operation, offers[0], *(offer.role for offer in offers), look=look)

    def _actors(self, org_ids: Collection[str]) -> dict[str, Membership]:
        """Lock the memberships by which the acting user acts, by organization."""
        if self._actor is None:
            return {}
        return locks.administrators(self.session, self._actor.usr_id, org_ids)

    def _permit_reading(
        self,
        operation: str,
        target: Organization | Membership | Invitation,
        *,
        named: tuple[str, str] | None = None,
        options: Options | None = None,
    ) -> None:
        """Do the same for what only reads, without a lock."""
        if self._actor is None:
            return
        state: InstanceState[Any] = inspect(target)
        missing = state.unloaded
        self._permit(operation, target, named=named, look=queries.standing)
        if state.unloaded - missing:  # where the user stands has been read afresh, without it
            queries.load(self.session, [target], options)

    def _permit_reading_in(self, operation: str, org_id: str, *, about: str | None = None) -> None:
        """Do the same for what an organization has, perhaps about one user."""
        if self._actor is None:
            return
        rule = RULES[operation]
        if not (rule.own and about == self._actor.usr_id):
            membership = queries.standing(self.session, self._actor.usr_id, org_id)
            with self._denials(operation, org_id, membership):
                rule.judge(membership, missing=not_found(Organization, org_id, "org_id"))

    def _permit_as(self, operation: str, usr_id: str | None) -> None:
        """Refuse the acting user to do in another's name what a row of a set says.

        Raises:
            ForbiddenError: it names another.
        """
        if self._actor is not None and usr_id != self._actor.usr_id:
            with self._denials(operation, usr_id):
                raise ForbiddenError(
                    f"user {self._actor.usr_id} acts in nobody else's name",
                    usr_id=self._actor.usr_id,
                )

    def _permit_alone(self, operation: str, usr_id: str | None = None) -> None:
        """Refuse what the acting user may not do for others, or at all."""
        if self._actor is not None:
            with self._denials(operation, usr_id):
                RULES[operation].judge_alone(self._actor, usr_id)

    @contextmanager
    def _denials(
        self, operation: str, target_id: str | None, membership: Membership | None = None
    ) -> Iterator[None]:
        """Record what the block refuses the acting user, if the policy says to.

        Inside an operation it is kept until that has let go of its locks.

        Args:
            operation: the operation's name.
            target_id: what it would have been done to; the user themself, if it is nothing.
            membership: the user's active membership in the organization that it belongs to. Without
                one, no organization's log tells of it.
        """
        try:
            yield
        except (ForbiddenError, NotFoundError, RoleHierarchyError) as exc:
            if self._actor is not None and self._policy.denials is not None:
                document = denial(
                    self._actor,
                    operation,
                    target_id or self._actor.usr_id,
                    membership,
                    reason=exc.code,
                    at=time_of(self._clock),
                )
                if self._denied is None:
                    write_apart(self._policy.denials, [document])
                else:
                    self._denied.append(document)
            raise

    @contextmanager
    def _denials_kept(self) -> Iterator[None]:
        """Record what the block's operation has refused when it is over, be it by an error."""
        self._denied = []
        try:
            yield
        finally:
            denied, self._denied = self._denied, None
            if denied and self._policy.denials is not None:
                write_apart(self._policy.denials, denied)
