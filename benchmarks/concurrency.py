"""How many operations a second go through when many clients call at once."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import psycopg
from sqlalchemy import URL, create_engine
from sqlalchemy.orm import Session

from benchmarks.clients import SCENES, Shift, Work, open_client
from benchmarks.compare import distances_at
from benchmarks.databases import grounds
from benchmarks.environment import described, environment
from benchmarks.operations import Stage
from benchmarks.processes import Hand, hand
from benchmarks.proxy import delay_proxy
from benchmarks.report import FOLDER, save, table
from benchmarks.sides import SIDES, libpq_url
from benchmarks.turns import Distance, address
from flametrench_tenancy_sqlalchemy.doctor import Finding, Severity, diagnose
from flametrench_tenancy_sqlalchemy.testing.servers import Server

Clients: TypeAlias = list[Hand[Shift, Work]]
Works: TypeAlias = dict[tuple[str, int, str], list[Work]]
"""What came of each scene, by connections and side."""


def run(
    *,
    name: str,
    rounds: int,
    seconds: float,
    connections: list[int],
    round_trip: float,
    orgs: int,
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
        orgs: how many organizations there are.
        folder: where the files go.
        server: where to run.

    Raises:
        AssertionError: the doctor finds something wrong with our database afterwards.
    """
    works: Works = defaultdict(list)
    with ExitStack() as resources:
        ground = resources.enter_context(grounds(server))
        about = environment(ground.server.url, ground.server.source)
        urls = {side: ground.migrated(side) for side in SIDES}
        (distance,) = distances_at(ground.server.url, [round_trip])
        clients = {}
        for side, url in urls.items():
            place = _seen_from(distance, url, resources)
            founded = _found(side, url, orgs)
            clients[side] = [
                resources.enter_context(hand(open_client, side, url, place, founded))
                for _ in range(max(connections))
            ]
        for side in SIDES:
            for scene in SCENES:
                _play(clients[side], scene, min(1.0, seconds), 0)  # for warmth
        for number in range(1, rounds + 1):
            for scene in SCENES:
                for count in connections:
                    for side in SIDES:
                        work = _play(clients[side][:count], scene, seconds, number)
                        works[scene, count, side].append(work)
        findings = _findings(urls["ours"])
        assert not findings, f"the doctor found {findings}"
    shown = _table(works, connections, seconds)
    ours, peer = (_refused(works, side) for side in SIDES)
    text = (
        f"# Many clients at once\n\n{described(about)}\n\nEach client is a process with one "
        f"connection ({distance.name}), on the machine that the server runs on; {orgs} "
        f"organizations; medians of {rounds} times {seconds:g} s, sides taking turns. Refused or "
        f"failed: ours {ours}, the peer's {peer}. Afterwards the doctor finds no broken rule in "
        f"our database.\n\n{shown}"
    )
    raw = {
        "benchmark": name,
        "environment": about,
        "seconds": seconds,
        "round_trip_milliseconds": round_trip,
        "organizations": orgs,
        "results": _raw(works),
    }
    save(folder, name, raw=raw, text=text)
    return shown


def _play(clients: Clients, scene: str, seconds: float, seed: int) -> Work:
    """Let clients work side by side."""
    begin = time.monotonic() + 0.2
    for number, client in enumerate(clients):
        client.begin(Shift(scene, seed * 1000 + number, begin, begin + seconds))
    works = [client.finish() for client in clients]
    return Work(sum(work.done for work in works), sum(work.refused for work in works))


def _seen_from(distance: Distance, url: URL, resources: ExitStack) -> URL:
    """Return a database as it is reached from a distance, by all clients through one relay."""
    if distance.delay is None:
        return url
    proxy = resources.enter_context(delay_proxy(*address(url), distance.delay))
    return url.set(host=proxy.host, port=proxy.port)


def _found(side: str, url: URL, count: int) -> list[tuple[str, str, str]]:
    """Create organizations, and return their ids, their owners' and the owners' memberships'."""
    with ExitStack() as resources:
        founder = SIDES[side](url)
        resources.callback(founder.close)
        plain = resources.enter_context(psycopg.connect(libpq_url(url), autocommit=True))
        stage = Stage(plain, resources.enter_context(founder.standalone()))
        orgs = [stage.org() for _ in range(count)]
        return [(org.id, org.owner, org.owner_mem_id) for org in orgs]


def _findings(url: URL) -> list[Finding]:
    engine = create_engine(url)
    try:
        with Session(engine) as session:
            # Two open invitations of the same one, which clients may well offer, are a warning.
            return [f for f in diagnose(session) if f.severity is Severity.ERROR]
    finally:
        engine.dispose()


def _table(works: Works, connections: list[int], seconds: float) -> str:
    rows = []
    for scene in SCENES:
        for count in connections:
            ours, peer = (
                median(work.done for work in works[scene, count, side]) / seconds for side in SIDES
            )
            ratio = f"{ours / peer:.2f}" if peer else ""
            rows.append([f"{scene}, {count} at once", f"{ours:.0f}", f"{peer:.0f}", ratio])
    return table(["operations a second", "ours", "peer", "ratio"], rows)


def _refused(works: Works, side: str) -> int:
    return sum(work.refused for key, done in works.items() if key[2] == side for work in done)


def _raw(works: Works) -> list[dict[str, Any]]:
    return [
        {
            "scene": scene,
            "connections": count,
            "side": side,
            "done": [work.done for work in done],
            "refused": [work.refused for work in done],
        }
        for (scene, count, side), done in works.items()
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--name", default="concurrency", help="of the files that are written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument(
        "--round-trip", type=float, default=0.0, help="milliseconds to add to each round trip"
    )
    parser.add_argument("--orgs", type=int, default=200, help="for the mixed operations")


def main(arguments: argparse.Namespace) -> None:
    """Run, and print the table."""
    print(
        run(
            name=arguments.name,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            connections=arguments.connections,
            round_trip=arguments.round_trip,
            orgs=arguments.orgs,
            folder=arguments.folder,
        )
    )
