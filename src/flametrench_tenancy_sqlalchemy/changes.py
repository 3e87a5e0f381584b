"""What an operation has changed, for whoever has to tell others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from .models import Base, Tuple


class Changed(NamedTuple):
    """An entity as it is now, and what it was.

    Attributes:
        entity: an organization, a membership or an invitation.
        before: the attributes that were something else -> what they were.
    """

    entity: Any
    before: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TenancyChange:
    """What an operation has written, in the transaction that may still fail.

    The tuples of memberships are not listed: they follow from the memberships.

    Attributes:
        operation: the operation's name, such as ``change_role``.
        at: its time.
        actor: the wire id of the user who did it, where the arguments or `acting_as` tell.
        added: the new entities.
        changed: those that were there, and what they were.
        granted: the tuples of an accepted invitation's pre-tuples.
        withdrawn: the tuples of such, taken back.
        counts: how many ended where they are not listed, with `revoke_org`: table -> number.
    """

    operation: str
    at: datetime
    actor: str | None
    _: KW_ONLY
    added: Sequence[Base] = ()
    changed: Sequence[Changed] = ()
    granted: Sequence[Tuple] = ()
    withdrawn: Sequence[Tuple] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
