"""How many operations a second go through when many clients call at once."""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg
from sqlalchemy import URL, create_engine
from sqlalchemy.orm import Session

from benchmarks.compare import distances_at
from benchmarks.databases import grounds
from benchmarks.environment import described, environment
from benchmarks.operations import IDENTIFIER, Org, Stage
from benchmarks.processes import Hand, hand
from benchmarks.proxy import delay_proxy
from benchmarks.report import FOLDER, save, table
from benchmarks.sides import SIDES, Store, libpq_url
from benchmarks.turns import address
from flametrench_tenancy_sqlalchemy import Role
from flametrench_tenancy_sqlalchemy.doctor import diagnose
from flametrench_tenancy_sqlalchemy.testing.servers import Server

_ORGS: Final = 200
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
    f"mixed over {_ORGS} organizations": Client.mixed,
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


def _play(clients: list[Hand[Shift, Work]], scene: str, seconds: float, seed: int) -> Work:
    """Let clients work side by side."""
    begin = time.monotonic() + 0.2
    for number, client in enumerate(clients):
        client.begin(Shift(scene, seed * 1000 + number, begin, begin + seconds))
    works = [client.finish() for client in clients]
    return Work(sum(work.done for work in works), sum(work.refused for work in works))


def run(
    *,
    name: str,
    rounds: int,
    seconds: float,
    connections: list[int],
    round_trip: float,
    folder: Path = FOLDER,
    server: Server | None = None,
) -> str:
    """Let clients of both sides work; return the table, which is saved.

    Args:
        name: of the files.
        rounds: how often, sides taking turns.
        seconds: how long each time.
        connections: how many clients, each a process with one connection.
        round_trip: milliseconds to add to each.
        folder: where the files go.
        server: where to run.

    Raises:
        AssertionError: the doctor finds something wrong with our database afterwards.
    """
    results: dict[tuple[str, int, str], list[Work]] = defaultdict(list)
    with ExitStack() as resources:
        ground = resources.enter_context(grounds(server))
        about = environment(ground.server.url, ground.server.source)
        urls = {side: ground.migrated(side) for side in SIDES}
        (distance,) = distances_at(ground.server.url, [round_trip])
        clients = {
            side: _clients(resources, side, url, distance.delay, max(connections))
            for side, url in urls.items()
        }
        for hands in clients.values():
            _play(hands, "joins to one organization", 1.0, 0)
            _play(hands, f"mixed over {_ORGS} organizations", 1.0, 0)
        for number in range(rounds):
            for scene in SCENES:
                for count in connections:
                    for side, hands in clients.items():
                        work = _play(hands[:count], scene, seconds, number + 1)
                        results[scene, count, side].append(work)
        findings = _findings(urls["ours"])
        assert not findings, f"the doctor found {findings}"
    rates = {key: median(work.done for work in works) / seconds for key, works in results.items()}
    refused = {
        side: sum(w.refused for k, ws in results.items() if k[2] == side for w in ws)
        for side in SIDES
    }
    rows = [
        [
            f"{scene}, {count} connections",
            *(f"{rates[scene, count, side]:.0f}" for side in SIDES),
            f"{rates[scene, count, 'ours'] / rates[scene, count, 'peer']:.2f}",
        ]
        for scene in SCENES
        for count in connections
    ]
    shown = table(["operations a second", "ours", "peer", "ratio"], rows)
    text = (
        f"# Many clients at once\n\n{described(about)}\n\nEach client is a process with one "
        f"connection ({distance.name}), on the machine that the server runs on; medians of "
        f"{rounds} times {seconds:g} s, sides taking turns. Refused or failed: ours "
        f"{refused['ours']}, the peer's {refused['peer']}. Afterwards the doctor finds nothing in "
        f"our database.\n\n{shown}"
    )
    raw = {
        "benchmark": name,
        "environment": about,
        "seconds": seconds,
        "round_trip_milliseconds": round_trip,
        "results": [
            {
                "scene": scene,
                "connections": count,
                "side": side,
                "done": [work.done for work in works],
                "refused": [work.refused for work in works],
            }
            for (scene, count, side), works in results.items()
        ],
    }
    save(folder, name, raw=raw, text=text)
    return shown


def _clients(
    resources: ExitStack, side: str, url: URL, delay: float | None, count: int
) -> list[Hand[Shift, Work]]:
    place = url
    if delay is not None:
        proxy = resources.enter_context(delay_proxy(*address(url), delay))
        place = url.set(host=proxy.host, port=proxy.port)
    with ExitStack() as opened:
        founder = SIDES[side](url)
        opened.callback(founder.close)
        plain = opened.enter_context(psycopg.connect(libpq_url(url), autocommit=True))
        stage = Stage(plain, opened.enter_context(founder.standalone()))
        orgs = [
            (org.id, org.owner, org.owner_mem_id) for org in (stage.org() for _ in range(_ORGS))
        ]
    return [
        resources.enter_context(hand(open_client, side, url, place, orgs)) for _ in range(count)
    ]


def _findings(url: URL) -> list[Any]:
    engine = create_engine(url)
    try:
        with Session(engine) as session:
            return list(diagnose(session))
    finally:
        engine.dispose()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--name", default="concurrency", help="of the files that are written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument(
        "--round-trip", type=float, default=0.0, help="milliseconds to add to each round trip"
    )


def main(arguments: argparse.Namespace) -> None:
    """Run, and print the table."""
    print(
        run(
            name=arguments.name,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            connections=arguments.connections,
            round_trip=arguments.round_trip,
            folder=arguments.folder,
        )
    )
