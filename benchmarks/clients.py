"""Clients that work side by side: what one of them does, in a process with one connection."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import psycopg
from sqlalchemy import URL

from benchmarks.operations import IDENTIFIER, Org, Stage
from benchmarks.sides import SIDES, Store, libpq_url
from flametrench_tenancy_sqlalchemy import Role

# Users are made ready between shifts; should they run out, the stage makes more.
_USERS: Final = 3_000


@dataclass(frozen=True)
class Shift:
    """What a client does, from one moment to another of the clock that all processes share."""

    scene: str
    seed: int
    begin: float
    end: float


@dataclass(frozen=True)
class Work:
    """What came of it."""

    done: int
    refused: int


class Client:
    """A client's own members in everybody's organizations, and what it does with them next."""

    def __init__(self, stage: Stage, orgs: list[Org], seed: int) -> None:
        self._stage = stage
        self._orgs = orgs
        self._dice = random.Random(seed)
        self._active: list[tuple[Org, str]] = []
        self._suspended: list[tuple[Org, str]] = []

    def joins(self) -> Iterator[None]:
        """Bring members into the one organization."""
        while True:
            self._stage.store.add_member(self._orgs[0].id, self._stage.user(), Role.MEMBER)
            yield

    def mixed(self) -> Iterator[None]:
        """Do this and that, in organizations by chance; an operation for each step."""
        acts = [self._join, self._promote, self._suspend, self._reinstate, self._remove]
        while True:
            act = self._dice.choices([*acts, self._invite], [30, 20, 15, 10, 15, 10])[0]
            yield from act()

    def _org(self) -> Org:
        return self._dice.choice(self._orgs)

    def _pick(self, members: list[tuple[Org, str]]) -> tuple[Org, str]:
        return members.pop(self._dice.randrange(len(members)))

    def _join(self) -> Iterator[None]:
        org = self._org()
        member = self._store.add_member(org.id, self._stage.user(), Role.MEMBER)
        self._active.append((org, member.id))
        yield

    def _promote(self) -> Iterator[None]:
        if self._active:
            org, mem_id = self._pick(self._active)
            role = self._dice.choice([Role.MEMBER, Role.ADMIN])
            self._active.append((org, self._store.change_role(mem_id, role).id))
            yield

    def _suspend(self) -> Iterator[None]:
        if self._active:
            org, mem_id = self._pick(self._active)
            self._store.suspend_membership(mem_id)
            self._suspended.append((org, mem_id))
            yield

    def _reinstate(self) -> Iterator[None]:
        if self._suspended:
            org, mem_id = self._pick(self._suspended)
            self._store.reinstate_membership(mem_id)
            self._active.append((org, mem_id))
            yield

    def _remove(self) -> Iterator[None]:
        if self._active:
            org, mem_id = self._pick(self._active)
            self._store.admin_remove(mem_id, org.owner)
            yield

    def _invite(self) -> Iterator[None]:
        org = self._org()
        inv_id = org.invitation()
        yield
        accepted = self._store.accept_invitation(
            inv_id, as_usr_id=self._stage.user(), accepting_identifier=IDENTIFIER
        )
        self._active.append((org, accepted.membership.id))
        yield

    @property
    def _store(self) -> Store:
        return self._stage.store


SCENES: Final[dict[str, Callable[[Client], Iterator[None]]]] = {
    "joins to one organization": Client.joins,
    "mixed over many organizations": Client.mixed,
}


def open_client(
    resources: ExitStack, name: str, url: URL, place: URL, orgs: list[tuple[str, str, str]]
) -> Callable[[Shift], Work]:
    """Open a connection of a side.

    Args:
        resources: closes what is opened.
        name: the name of the side.
        url: its database, for preparations.
        place: its database, seen from where the client is.
        orgs: ids of the organizations, of their owners and of the owners' memberships.
    """
    side = SIDES[name](place)
    resources.callback(side.close)
    plain = resources.enter_context(psycopg.connect(libpq_url(url), autocommit=True))
    stage = Stage(plain, resources.enter_context(side.standalone()))
    stage.reserve(_USERS)

    def work(shift: Shift) -> Work:
        client = Client(stage, [Org(stage, *org) for org in orgs], shift.seed)
        steps = SCENES[shift.scene](client)
        done = refused = 0
        time.sleep(max(0.0, shift.begin - time.monotonic()))
        while time.monotonic() < shift.end:
            try:
                next(steps)
                done += 1
            except Exception:  # whatever either side raises where clients meet
                refused += 1
                steps = SCENES[shift.scene](client)
        stage.reserve(_USERS)
        return Work(done, refused)

    return work
