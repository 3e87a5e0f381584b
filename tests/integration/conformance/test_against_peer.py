"""Random operations come out as they do in the peer's store, but for the listed differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, Final

import pytest

from flametrench_tenancy_sqlalchemy import Role

from .differences import DIFFERENCES, Arguments, Difference, parted
from .twins import Outcome, Twins

SEEDS: Final = range(5)
STEPS: Final = 400
PROJECTS: Final = [f"0190f2a8-1b3c-7abc-8123-{n:012x}" for n in range(2)]
READS: Final = {"get_org", "get_membership", "get_invitation", "list_orgs"}
FIRST: Final = ["create_org"]
IDENTIFIERS: Final = [*["newbie@example.com"] * 5, "other@example.com"]
ROLES: Final = [role.value for role in Role]


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
        (name,) = self.random.choices(list(_ARGUMENTS), _WEIGHTS) if self.known("org") else FIRST
        arguments = _ARGUMENTS[name](self)
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

    def pick_two(self) -> tuple[str, str, str]:
        """Pick two memberships, as a rule of one organization, and that."""
        one = self.pick("mem")
        org_id = self.org_of(one) or self.pick("org")
        other = self.pick("mem", org_id=org_id)
        elsewhere = self.random.choice([self.pick("org"), self.twins.stranger("org")])
        return (elsewhere if self.random.random() < 0.2 else org_id), one, other

    def insider(self, name: str) -> str:
        """Pick a user, as a rule a member of the organization of something."""
        beside = self.pick("mem", org_id=self.org_of(name))
        inside = self.twins.peers(beside) if self.random.random() < 0.7 else None
        return self.twins.name_of(inside.usr_id) if inside else self.pick("usr")

    def maybe(self, chance: float, **arguments: Any) -> Arguments:
        """Return the arguments, or none of them."""
        return arguments if self.random.random() < chance else {}

    def cursor(self, type_: str) -> Arguments:
        """Return a cursor, rarely; a stranger's id has its own place in either order."""
        known = self.known(type_)
        return self.maybe(0.3, cursor=self.random.choice(known)) if known else {}

    def slug(self) -> str | None:
        """Return a slug that may well be taken, or be none."""
        return self.random.choice([None, "-", *(f"slug-{n}" for n in range(5))])

    def grants(self) -> list[tuple[str, str, str]]:
        """Return up to three pre-tuples, some of which no invitation may carry."""
        kinds = [
            *((relation, "proj", id_) for relation in ("editor", "viewer") for id_ in PROJECTS),
            ("billing", "org", self.pick("org")),
        ]
        if self.random.random() < 0.2:
            kinds = [("owner", "org", self.pick("org")), ("editor", "P", PROJECTS[0])]
        return [self.random.choice(kinds) for _ in range(self.random.randrange(5))]


def _beside(play: Play, parameter: str, chance: float) -> Arguments:
    mem_id = play.pick("mem")
    return {"mem_id": mem_id, **play.maybe(chance, **{parameter: play.insider(mem_id)})}


def _acceptance(play: Play) -> Arguments:
    inv_id = play.pick("inv")
    return {
        "inv_id": inv_id,
        **play.maybe(0.8, as_usr_id=play.insider(inv_id)),
        **play.maybe(0.9, accepting_identifier=play.random.choice(IDENTIFIERS)),
    }


_ARGUMENTS: Final[dict[str, Callable[[Play], Arguments]]] = {
    "create_org": lambda p: {
        "creator": p.pick("usr"),
        "name": p.random.choice([None, "Acme", "Äcme", "a\x00b"]),
        "slug": p.slug(),
    },
    "get_org": lambda p: {"org_id": p.pick("org")},
    "update_org": lambda p: {
        "org_id": p.pick("org"),
        **p.maybe(0.5, name=p.random.choice([None, "New", "a\x00b"])),
        **p.maybe(0.5, slug=p.slug()),
    },
    "suspend_org": lambda p: {"org_id": p.pick("org")},
    "reinstate_org": lambda p: {"org_id": p.pick("org")},
    "revoke_org": lambda p: {"org_id": p.pick("org")},
    "list_orgs": lambda p: {
        "limit": p.random.choice([-1, 0, 1, 3, 1000]),
        **p.maybe(0.5, status=p.random.choice(["active", "suspended", "revoked"])),
        **p.maybe(0.5, query=p.random.choice(["acme", "ÄC", "slug-1", "%", ""])),
        **p.cursor("org"),
    },
    "add_member": lambda p: {
        "org_id": p.pick("org"),
        "usr_id": p.pick("usr"),
        "role": p.random.choice([*ROLES, "owner"]),
        **p.maybe(0.5, invited_by=p.pick("usr")),
    },
    "get_membership": lambda p: {"mem_id": p.pick("mem")},
    "list_members": lambda p: {
        "org_id": p.pick("org"),
        "limit": p.random.choice([0, 1, 3, 200]),
        **p.maybe(0.5, status=p.random.choice(["active", "suspended", "revoked"])),
        **p.cursor("mem"),
    },
    "change_role": lambda p: {
        "mem_id": p.pick("mem"),
        "new_role": p.random.choice([*ROLES, "owner"]),
    },
    "suspend_membership": lambda p: {"mem_id": p.pick("mem")},
    "reinstate_membership": lambda p: {"mem_id": p.pick("mem")},
    "self_leave": lambda p: _beside(p, "transfer_to", 0.7),
    "admin_remove": lambda p: _beside(p, "admin_usr_id", 1),
    "transfer_ownership": lambda p: dict(
        zip(("org_id", "from_mem_id", "to_mem_id"), p.pick_two(), strict=True)
    ),
    "create_invitation": lambda p: {
        "org_id": p.pick("org"),
        "identifier": p.random.choice(["", *IDENTIFIERS]),
        "role": p.random.choice(ROLES),
        "invited_by": p.pick("usr"),
        "expires_at": p.twins.now + timedelta(hours=p.random.choice([0, 1, 50, 500])),
        "pre_tuples": p.grants(),
    },
    "get_invitation": lambda p: {"inv_id": p.pick("inv")},
    "list_invitations": lambda p: {
        "org_id": p.pick("org"),
        "limit": p.random.choice([0, 1, 3, 200]),
        **p.maybe(0.7, status=p.random.choice(["pending", "expired", "accepted"])),
        **p.cursor("inv"),
    },
    "accept_invitation": _acceptance,
    "decline_invitation": lambda p: {
        "inv_id": p.pick("inv"),
        **p.maybe(0.5, as_usr_id=p.pick("usr")),
    },
    "revoke_invitation": lambda p: {"inv_id": p.pick("inv"), "admin_usr_id": p.pick("usr")},
    "list_tuples_for_subject": lambda p: {"subject_type": "usr", "subject_id": p.pick("usr")},
    "list_tuples_for_object": lambda p: {
        "object_type": "org",
        "object_id": p.pick("org"),
        **p.maybe(0.5, relation=p.random.choice([*ROLES, "billing"])),
    },
}


# What makes and keeps things alive is common, what ends them and what only reads is rare.
_COMMON: Final = {"add_member", "create_invitation", "accept_invitation", "reinstate_membership"}
_RARE: Final = {"create_org", "suspend_org", "revoke_org", *READS}
_WEIGHTS: Final = [12 if n in _COMMON else 1 if n in _RARE else 4 for n in _ARGUMENTS]


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
    assert [name for name in _ARGUMENTS if not done[name, "ok"]] == []
