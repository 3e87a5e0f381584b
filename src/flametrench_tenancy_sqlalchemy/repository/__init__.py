"""The operations of tenancy on the caller's Session.

The repository holds no rule: it locks, loads, asks the model and writes.
"""

from ..authority import Actor
from .acting import ActingTenancy
from .actors import ActsForUsers
from .departures import DepartureOperations
from .guards import GuardOperations
from .invitations import InvitationOperations
from .invitees import InviteeOperations
from .memberships import MembershipOperations
from .organizations import OrganizationOperations
from .sets import SetOperations
from .tuples import TupleOperations


class TenancyRepository(
    OrganizationOperations,
    MembershipOperations,
    DepartureOperations,
    GuardOperations,
    InvitationOperations,
    InviteeOperations,
    SetOperations,
    TupleOperations,
    ActsForUsers[ActingTenancy],
):
    """Organizations, memberships and invitations, inside the caller's transaction.

    Each operation that writes is a savepoint of the transaction that the Session is in, or begins
    one there. It flushes, and leaves committing, rolling back and closing to whoever owns the
    Session. An operation that raises leaves no trace, and the transaction usable.

    Args:
        session: the caller's Session, or a ``scoped_session``.
        clock: returns the current time as a timezone-aware datetime.
        policy: what the application decides; the specification's letter, if nothing is said.
    """

    def _for(self, actor: Actor) -> ActingTenancy:
        return ActingTenancy(self, actor)


__all__ = ["ActingTenancy", "TenancyRepository"]
