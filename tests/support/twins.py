"""Two stores in memory side by side, the peer's and ours, under one clock.

Each gives its entities ids of its own; a name stands for the pair of them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Any, Final

import flametrench_tenancy as peer

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import InMemoryTenancyStore, new_id
from tests.support.entities import NOW

_WIRE_ID: Final = re.compile(r"(usr|org|mem|inv)_[0-9a-f]{32}")
# The peer's classes name the fields that both have; ours have more.
_FIELDS: Final = {
    cls.__name__: [field.name for field in fields(cls)]
    for cls in (
        peer.Organization,
        peer.Membership,
        peer.Invitation,
        peer.Tuple,
        peer.PreTuple,
        peer.Page,
        peer.CreateOrgResult,
        peer.TransferOwnershipResult,
        peer.AcceptInvitationResult,
    )
}


@dataclass(frozen=True)
class Outcome:
    """What became of a call: the word for it, and the value in names."""

    word: str
    value: Any = None


class Twins:
    """The two stores, and the names of what they hold."""

    def __init__(self) -> None:
        self.now: datetime = NOW
        self.ours = InMemoryTenancyStore(clock=lambda: self.now)
        self.theirs = peer.InMemoryTenancyStore(clock=lambda: self.now)
        self.strangers: set[str] = set()
        self._ids: dict[str, tuple[str, str]] = {}
        self._names: dict[str, str] = {}

    def names(self, type_: str) -> list[str]:
        """Return the names of all entities of a type, in the order of their making."""
        return [name for name in self._ids if name.startswith(f"{type_}-")]

    def stranger(self, type_: str) -> str:
        """Return a name for an id that both stores get to see as it is."""
        id_ = new_id(type_)
        name = self._pair(id_, id_)
        self.strangers.add(name)
        return name

    def call(self, name: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Run an operation on both, and return its results or errors: ours, theirs."""
        return (
            _attempt(self.ours, name, self._resolved(arguments, ours=True)),
            _attempt(self.theirs, name, self._resolved(arguments, ours=False)),
        )

    def call_theirs(self, name: str, arguments: dict[str, Any]) -> Any:
        """Run an operation on the peer's store alone, and return what it returned."""
        return getattr(self.theirs, name)(**self._resolved(arguments, ours=False))

    def tell(self, ours: Any, theirs: Any) -> tuple[Outcome, Outcome]:
        """Say two results in names, which what is new in both gets now."""
        self._meet(ours, theirs)
        return self._told(ours), self._told(theirs)

    def name_of(self, id_: str) -> str:
        """Return the name for an id of either store."""
        return self._names[id_]

    def is_alive(self, name: str) -> bool:
        """Tell whether an entity is in a status that can change."""
        type_ = name.partition("-")[0]
        read = {"org": "get_org", "mem": "get_membership", "inv": "get_invitation"}[type_]
        status = self.call_theirs(read, {f"{type_}_id": name}).status
        return status.value in ("active", "suspended", "pending")

    def org_of(self, name: str) -> str | None:
        """Return the name of the organization of a membership or an invitation that exists."""
        read = "get_membership" if name.startswith("mem-") else "get_invitation"
        entity = _attempt(self.theirs, read, {f"{name[:3]}_id": self._ids[name][1]})
        return None if isinstance(entity, Exception) else self._names[entity.org_id]

    def user_of(self, mem_id: str) -> str | None:
        """Return the name of a membership's user, if there is that membership."""
        membership = _attempt(self.theirs, "get_membership", {"mem_id": self._ids[mem_id][1]})
        return None if isinstance(membership, Exception) else self._names[membership.usr_id]

    def remember(self) -> dict[str, Any]:
        """Return all that can be told to `go_back`: the peer's state and the names."""
        return {
            "theirs": {key: copy.copy(value) for key, value in vars(self.theirs).items()},
            "ids": dict(self._ids),
            "names": dict(self._names),
        }

    def go_back(self, memory: dict[str, Any]) -> None:
        """Undo what was done to the peer's store and to the names; ours stays as it is."""
        vars(self.theirs).update(memory["theirs"])
        self._ids, self._names = memory["ids"], memory["names"]

    def _pair(self, ours: str, theirs: str) -> str:
        type_ = ours.partition("_")[0]
        name = f"{type_}-{len(self.names(type_)) + 1}"
        self._ids[name] = (ours, theirs)
        self._names[ours] = self._names[theirs] = name
        return name

    def _meet(self, ours: Any, theirs: Any) -> None:
        """Give names to the ids that are new in both, at the same places of two results."""
        new_ours = [id_ for id_ in _ids_in(ours) if id_ not in self._names]
        new_theirs = [id_ for id_ in _ids_in(theirs) if id_ not in self._names]
        if len(new_ours) == len(new_theirs):
            for one, other in zip(new_ours, new_theirs, strict=True):
                if one.partition("_")[0] == other.partition("_")[0] and one not in self._names:
                    self._pair(one, other)

    def _resolved(self, arguments: dict[str, Any], *, ours: bool) -> dict[str, Any]:
        module: Any = package if ours else peer
        side = 0 if ours else 1
        resolved: dict[str, Any] = {}
        for key, value in arguments.items():
            match key:
                case "role" | "new_role":
                    resolved[key] = module.Role(value)
                case "status":
                    invited = value in ("pending", "expired", "accepted", "declined")
                    resolved[key] = (module.InvitationStatus if invited else module.Status)(value)
                case "pre_tuples":
                    resolved[key] = [
                        module.PreTuple(relation, type_, self._ids.get(id_, (id_, id_))[side])
                        for relation, type_, id_ in value
                    ]
                case _:
                    ids = self._ids.get(value) if isinstance(value, str) else None
                    resolved[key] = ids[side] if ids else value
        return resolved

    def _told(self, value: Any) -> Outcome:
        if isinstance(value, Exception):
            reason = getattr(value, "reason", None)
            return Outcome(type(value).__name__ + (f":{reason}" if reason else ""))
        return Outcome("ok", self._in_names(value))

    def _in_names(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, str):
            return self._names.get(value, value)
        if isinstance(value, list):
            told = [self._in_names(item) for item in value]
            is_tuples = any(type(item).__name__ == "Tuple" for item in value)
            return sorted(told, key=repr) if is_tuples else told  # the peer keeps them in a set
        if type(value).__name__ in _FIELDS:
            return {
                name: self._in_names(getattr(value, name)) for name in _FIELDS[type(value).__name__]
            }
        return value


def _attempt(store: Any, name: str, arguments: dict[str, Any]) -> Any:
    try:
        return getattr(store, name)(**arguments)
    except (package.TenancyError, peer.TenancyError) as error:
        return error


def _ids_in(value: Any) -> Iterator[str]:
    if isinstance(value, str) and _WIRE_ID.fullmatch(value):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _ids_in(item)
    elif type(value).__name__ in _FIELDS:
        for name in _FIELDS[type(value).__name__]:
            yield from _ids_in(getattr(value, name))
