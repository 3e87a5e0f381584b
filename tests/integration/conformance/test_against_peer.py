"""Random operations come out as they do in the peer's store, but for the listed differences."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from inspect import signature
from random import Random
from typing import Any, Final

import flametrench_tenancy as peer
import pytest

from flametrench_tenancy_sqlalchemy import Role

from .differences import DIFFERENCES, Arguments, Difference, parted
from .twins import Outcome, Twins

SEEDS: Final = range(5)
STEPS: Final = 400
PROJECTS: Final = [f"0190f2a8-1b3c-7abc-8123-{n:012x}" for n in range(2)]
READS: Final = {"get_org", "get_membership", "get_invitation", "list_orgs"}
FIRST: Final = ["create_org"]
ROLES: Final = [role.value for role in Role]
OPERATIONS: Final = [n for n in dir(peer.InMemoryTenancyStore) if not n.startswith("_")]

# What arguments are by their names: one of these, or the name of something of a kind.
CHOICES: Final[dict[str, list[Any]]] = {
    "name": [None, "Acme", "Äcme", "a\x00b"],
    "slug": [None, "-", *(f"slug-{n}" for n in range(5))],
    "limit": [-1, 0, 1, 3, 200],
    "query": ["acme", "ÄC", "slug-1", "%", ""],
    "role": [*ROLES, "owner"],
    "new_role": [*ROLES, "owner"],
    "relation": [*ROLES, "billing"],
    "identifier": ["", *["newbie@example.com"] * 5, "other@example.com"],
    "accepting_identifier": [*["newbie@example.com"] * 5, "other@example.com"],
    "subject_type": ["usr"],
    "object_type": ["org"],
}
STATUSES: Final = [["active", "suspended", "revoked"], ["pending", "expired", "accepted"]]
LISTED: Final = {"list_orgs": "org", "list_members": "mem", "list_invitations": "inv"}
PICKED: Final = {"creator": "usr", "invited_by": "usr", "subject_id": "usr", "object_id": "org"}
# How often an argument is given that may be left out.
ODDS: Final = {
    "limit": 1,
    "pre_tuples": 1,
    "accepting_identifier": 0.9,
    "as_usr_id": 0.8,
    "cursor": 0.3,
}


class Play:
    """A random sequence on both stores, of operations on things that mostly exist."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.twins = Twins()
        self.parted: set[str] = set()  # what is no longer the same in both
        self.unlike: set[str] = set()  # the organizations that hold some of that
        self.met: Counter[Difference] = Counter()
        self.done: Counter[tuple[str, str]] = Counter()
        for _ in range(4):
            self.twins.stranger("usr")

    def step(self) -> None:
        """Run one operation on both, and compare what became of it."""
        self.twins.now += timedelta(seconds=self.random.choice([1, 60, 1200]))
        (name,) = self.random.choices(OPERATIONS, _WEIGHTS) if self.known("org") else FIRST
        arguments = self.arguments(name)
        if self._has_parted(name, arguments):
            return
        before = self.twins.remember()
        ours, theirs = self.twins.call(name, arguments)
        told, their_told = self.twins.tell(ours, theirs)
        if told != their_told:
            self.twins.go_back(before)
            self._explain(name, arguments, ours, (told, their_told))
        self.done[name, told.word] += 1
        if told.word == "ok":
            self._follow(name, arguments, told.value)

    def _has_parted(self, name: str, arguments: Arguments) -> bool:
        if name.startswith("list_"):
            return arguments.get("org_id", arguments.get("object_id")) in self.unlike
        return bool(self.parted & set(map(str, arguments.values())))

    def _explain(
        self, name: str, arguments: Arguments, ours: Any, told: tuple[Outcome, Outcome]
    ) -> None:
        for difference in DIFFERENCES:
            if difference.explains(self.twins, name, arguments, *told):
                self.met[difference] += 1
                if difference.instead:
                    theirs = difference.instead(self.twins, arguments)
                    one, other = self.twins.tell(ours, theirs)
                    assert one == other, f"{name}({arguments}): {difference.why}"
                return
        pytest.fail(f"{name}({arguments})\nours:   {told[0]}\ntheirs: {told[1]}")

    def _follow(self, name: str, arguments: Arguments, value: Any) -> None:
        """Take note of what a call changed beside what it returned."""
        gone = parted(self.twins, name, arguments)
        self.parted |= gone
        if gone or name == "revoke_org":
            self.unlike.add(value.get("org_id", arguments.get("org_id")))
        if name == "self_leave":  # the heir's new membership shows in lists only
            lists = self.twins.call("list_members", {"org_id": value["org_id"], "limit": 200})
            self.twins.tell(*lists)

    def compare(self) -> None:
        """Compare everything that both hold, but for what has parted."""
        for org_id in self.twins.names("org"):
            for name in ("list_members", "list_invitations"):
                self._compare(name, {"org_id": org_id, "limit": 200})
        for usr_id in self.twins.names("usr"):
            self._compare("list_tuples_for_subject", {"subject_type": "usr", "subject_id": usr_id})

    def _compare(self, name: str, arguments: Arguments) -> None:
        ours, theirs = (
            self._common(outcome.value)
            for outcome in self.twins.tell(*self.twins.call(name, arguments))
        )
        assert ours == theirs, f"{name}({arguments})"

    def _common(self, value: Any) -> list[Any]:
        rows = value["data"] if isinstance(value, dict) else value or []
        gone = self.parted | self.unlike
        return [row for row in rows if not gone & {row.get("id"), row.get("object_id")}]

    def known(self, type_: str) -> list[str]:
        """Return the names of everything of a type that exists; users exist once they are named."""
        gone = set() if type_ == "usr" else self.twins.strangers
        return [name for name in self.twins.names(type_) if name not in gone]

    def _is_alive(self, name: str) -> bool:
        return self.twins.peers(name).status.value in ("active", "suspended", "pending")

    def org_of(self, name: str) -> str | None:
        """Return the name of the organization of a membership or an invitation that exists."""
        entity = self.twins.peers(name)
        return self.twins.name_of(entity.org_id) if entity else None

    def pick(self, type_: str, *, org_id: str | None = None) -> str:
        """Pick something of a type: alive as a rule, and rarely nothing that exists."""
        names = self.known(type_)
        if not names or self.random.random() < 0.03:
            return self.twins.stranger(type_)
        if type_ == "usr":
            names = names[:6]
        elif self.random.random() < 0.85:
            names = [n for n in names if self._is_alive(n) and n not in self.parted] or names
        near = [n for n in names if org_id and self.org_of(n) == org_id]
        return self.random.choice(near or names)

    def insider(self, arguments: Arguments) -> str:
        """Pick a user, as a rule a member of the organization of what the arguments name."""
        org_id = self.org_of(arguments.get("mem_id") or arguments["inv_id"])
        inside = self.twins.peers(self.pick("mem", org_id=org_id))
        return (
            self.twins.name_of(inside.usr_id) if inside and self.chance(0.7) else self.pick("usr")
        )

    def chance(self, odds: float) -> bool:
        """Tell whether what has these odds happens."""
        return self.random.random() < odds

    def arguments(self, name: str) -> Arguments:
        """Return arguments for an operation: all that it needs, and some of the others."""
        given: Arguments = {}
        for parameter in signature(getattr(peer.InMemoryTenancyStore, name)).parameters.values():
            odds = ODDS.get(parameter.name, 0.5) if parameter.default is not parameter.empty else 1
            if parameter.name != "self" and self.chance(odds):
                given[parameter.name] = self.argument(name, parameter.name, given)
        return given

    def argument(self, operation: str, name: str, given: Arguments) -> Any:
        """Return an argument, given those before it."""
        choices = CHOICES.get(name)
        if name == "status":
            choices = STATUSES[operation == "list_invitations"]
        elif name == "cursor":  # a stranger's id has its own place in either order
            choices = self.known(LISTED[operation]) or [None]
        elif name == "expires_at":
            choices = [self.twins.now + timedelta(hours=hours) for hours in (0, 1, 50, 500)]
        if choices:
            return self.random.choice(choices)
        if name == "pre_tuples":
            return self.grants()
        if name in {"as_usr_id", "admin_usr_id", "transfer_to"}:
            return self.insider(given)
        if operation == "transfer_ownership" and name == "org_id" and self.chance(0.1):
            return self.twins.stranger("org")
        kind = PICKED.get(name) or re.sub("from_|to_", "", name)[:3]
        return self.pick(kind, org_id=given.get("org_id") if kind == "mem" else None)

    def grants(self) -> list[tuple[str, str, str]]:
        """Return up to three pre-tuples, some of which no invitation may carry."""
        kinds = [
            *((relation, "proj", id_) for relation in ("editor", "viewer") for id_ in PROJECTS),
            ("billing", "org", self.pick("org")),
        ]
        if self.random.random() < 0.2:
            kinds = [("owner", "org", self.pick("org")), ("editor", "P", PROJECTS[0])]
        return [self.random.choice(kinds) for _ in range(self.random.randrange(5))]


# What makes and keeps things alive is common, what ends them and what only reads is rare.
_COMMON: Final = {"add_member", "create_invitation", "accept_invitation", "reinstate_membership"}
_RARE: Final = {"create_org", "suspend_org", "revoke_org", *READS}
_WEIGHTS: Final = [12 if n in _COMMON else 1 if n in _RARE else 4 for n in OPERATIONS]


def test_random_sequences_differ_only_where_the_contract_says_so() -> None:
    met: Counter[Difference] = Counter()
    done: Counter[tuple[str, str]] = Counter()
    for seed in SEEDS:
        play = Play(seed)
        for step in range(STEPS):
            play.step()
            if step % 50 == 0:
                play.compare()
        play.compare()
        met += play.met
        done += play.done
    assert [f"{d.operations}: {d.why}" for d in DIFFERENCES if not met[d]] == []
    assert [name for name in OPERATIONS if not done[name, "ok"]] == []
