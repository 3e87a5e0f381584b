"""Two stores in memory side by side, the peer's and ours, under one clock.

Each gives its entities ids of its own; a name stands for the pair of them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final

import flametrench_tenancy as peer

import flametrench_tenancy_sqlalchemy as package
from flametrench_tenancy_sqlalchemy import InMemoryTenancyStore, new_id
from tests.support.entities import NOW

_WIRE_ID: Final = re.compile(r"(usr|org|mem|inv)_[0-9a-f]{32}")
# The peer's classes name the fields that both have; ours have more.
_FIELDS: Final = {
    name: [field.name for field in fields(getattr(peer, name))]
    for name in (
        *("Organization", "Membership", "Invitation", "Tuple", "PreTuple", "Page"),
        *("CreateOrgResult", "TransferOwnershipResult", "AcceptInvitationResult"),
    )
}
_GET: Final = {"org": "get_org", "mem": "get_membership", "inv": "get_invitation"}


@dataclass(frozen=True)
class Outcome:
    """What became of a call: the word for it, and the value in names."""

    word: str
    value: Any = None


class Twins:
    """The two stores, and the names of what they hold."""

    def __init__(self) -> None:
        self.now = NOW
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
        self.strangers.add(name := self._pair(id_, id_))
        return name

    def call(self, name: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Run an operation on both, and return its results or errors: ours, theirs."""
        ours = _attempt(self.ours, name, self._resolved(arguments, package, 0))
        return ours, _attempt(self.theirs, name, self._resolved(arguments, peer, 1))

    def call_theirs(self, name: str, arguments: dict[str, Any]) -> Any:
        """Run an operation on the peer's store alone, and return what it returned."""
        return getattr(self.theirs, name)(**self._resolved(arguments, peer, 1))

    def tell(self, ours: Any, theirs: Any) -> tuple[Outcome, Outcome]:
        """Say two results in names, which what is new in both, at the same places, gets now."""
        new = [[i for i in _ids_in(value) if i not in self._names] for value in (ours, theirs)]
        if len(new[0]) == len(new[1]):
            for one, other in zip(*new, strict=True):
                if one[:3] == other[:3] and one not in self._names:
                    self._pair(one, other)
        return self._told(ours), self._told(theirs)

    def name_of(self, id_: str) -> str:
        """Return the name for an id of either store."""
        return self._names[id_]

    def peers(self, name: str) -> Any:
        """Return what the peer holds under a name, if anything."""
        kind = name[:3]
        entity = _attempt(self.theirs, _GET[kind], {f"{kind}_id": self._ids[name][1]})
        return None if isinstance(entity, Exception) else entity

    def remember(self) -> tuple[Any, ...]:
        """Return what `go_back` takes: the peer's state and the names."""
        state = {key: copy.copy(value) for key, value in vars(self.theirs).items()}
        return state, dict(self._ids), dict(self._names)

    def go_back(self, memory: tuple[Any, ...]) -> None:
        """Undo what was done to the peer's store and to the names; ours stays as it is."""
        state, self._ids, self._names = memory
        vars(self.theirs).update(state)

    def _pair(self, ours: str, theirs: str) -> str:
        name = f"{ours[:3]}-{len(self.names(ours[:3])) + 1}"
        self._ids[name] = (ours, theirs)
        self._names[ours] = self._names[theirs] = name
        return name

    def _resolved(self, arguments: dict[str, Any], module: Any, side: int) -> dict[str, Any]:
        resolved: dict[str, Any] = {}
        for key, value in arguments.items():
            if key in {"role", "new_role"}:
                resolved[key] = module.Role(value)
            elif key == "status":
                invited = value in {"pending", "expired", "accepted", "declined"}
                resolved[key] = (module.InvitationStatus if invited else module.Status)(value)
            elif key == "pre_tuples":
                resolved[key] = [
                    module.PreTuple(relation, type_, self._ids.get(id_, (id_, id_))[side])
                    for relation, type_, id_ in value
                ]
            else:
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
        names = _FIELDS.get(type(value).__name__)
        return {name: self._in_names(getattr(value, name)) for name in names} if names else value


def _attempt(store: Any, name: str, arguments: dict[str, Any]) -> Any:
    try:
        return getattr(store, name)(**arguments)
    except (package.TenancyError, peer.TenancyError) as error:
        return error


def _ids_in(value: Any) -> Iterator[str]:
    if isinstance(value, str) and _WIRE_ID.fullmatch(value):
        yield value
    parts = value if isinstance(value, list) else []
    for part in [*parts, *(getattr(value, n) for n in _FIELDS.get(type(value).__name__, ()))]:
        yield from _ids_in(part)
