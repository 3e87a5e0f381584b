"""The first page and one far behind, and a search, among a million members and organizations."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg

from benchmarks.databases import grounds
from benchmarks.environment import described, environment
from benchmarks.report import FOLDER, Spread, milliseconds, save, table
from benchmarks.seeding import Population, seed, seed_orgs
from benchmarks.sides import SIDES, Store, libpq_url
from flametrench_tenancy_sqlalchemy import InvitationStatus, Status
from flametrench_tenancy_sqlalchemy.migrations import upgrade
from flametrench_tenancy_sqlalchemy.testing.servers import Server

_PAGE: Final = 50

Read: TypeAlias = Callable[[Store], object]
Times: TypeAlias = dict[tuple[str, str], list[float]]
"""Seconds by what was read and who read it."""

_LISTS: Final[dict[str, tuple[str, Callable[[Store, str, str | None], object]]]] = {
    "list_members": ("mem", lambda store, org_id, at: store.list_members(org_id, cursor=at)),
    "list_members(status)": (
        "mem",
        lambda store, org_id, at: store.list_members(org_id, cursor=at, status=Status.ACTIVE),
    ),
    "list_invitations": (
        "inv",
        lambda store, org_id, at: store.list_invitations(org_id, cursor=at),
    ),
    "list_invitations(status)": (
        "inv",
        lambda store, org_id, at: store.list_invitations(
            org_id, cursor=at, status=InvitationStatus.DECLINED
        ),
    ),
    "list_orgs": ("org", lambda store, _, at: store.list_orgs(cursor=at)),
    "list_orgs(status)": (
        "org",
        lambda store, _, at: store.list_orgs(cursor=at, status=Status.ACTIVE),
    ),
}
"""Each list: the table of its entities, and how a page of it is read."""

_QUERIES: Final = {
    "in all of them": "ORGANIZATION",
    "in one of two thousand": "beef",
    "in one": "{last}",
    "in none": "no such name",
}
"""What is searched, by how often it is there."""

_SIDES: Final = ("ours", "peer")
_DEEP: Final = ", deep"
_INDEXED: Final = "ours, indexed"


def run(
    *, name: str, rounds: int, size: int, folder: Path = FOLDER, server: Server | None = None
) -> str:
    """Read pages and search; return the tables, which are saved.

    Args:
        name: of the files.
        rounds: how often, sides taking turns, after one for warmth.
        size: how many members the one organization has, and how many others there are.
        folder: where the files go.
        server: where to run.
    """
    population = Population(size, per_org=size)
    with ExitStack() as resources:
        ground = resources.enter_context(grounds(server))
        about = environment(ground.server.url, ground.server.source)
        urls = {side: ground.migrated(side) for side in _SIDES}
        cursors = {}
        for url in urls.values():
            with psycopg.connect(libpq_url(url), autocommit=True) as connection:
                seed(connection, population)
                seed_orgs(connection, size)
                cursors = {kind: _cursor(connection, kind) for kind in ("mem", "inv", "org")}
        stores = {}
        for side, url in urls.items():
            opened = SIDES[side](url)
            resources.callback(opened.close)
            stores[side] = resources.enter_context(opened.standalone())

        org_id = population.org(0)
        reads = {
            f"{list_}{depth}": _page(list_, org_id, cursors[kind] if depth else None)
            for list_, (kind, _) in _LISTS.items()
            for depth in ("", _DEEP)
        }
        searches = {
            words: _search(query.format(last=f"other-{size}")) for words, query in _QUERIES.items()
        }
        times = _taken(stores, reads | searches, rounds)
        upgrade(urls["ours"], "heads", search=True)
        times |= _taken({_INDEXED: stores["ours"]}, searches, rounds)
    spreads = {key: milliseconds(seconds) for key, seconds in times.items()}
    shown = f"{_pages(spreads)}\n\n{_found(spreads)}"
    text = (
        f"# Pages and searches\n\n{described(about)}\n\nAn organization of {size:,} members, among "
        f"{size:,} others; pages of {_PAGE}, standalone, loopback, {rounds} rounds. The deep page "
        f"begins in the middle: of the members, after page {size // _PAGE // 2:,}.\n\n{shown}"
    )
    raw = {
        "benchmark": name,
        "environment": about,
        "size": size,
        "samples": [
            {"read": read, "side": side, "microseconds": [round(one * 1e6, 1) for one in seconds]}
            for (read, side), seconds in times.items()
        ],
    }
    save(folder, name, raw=raw, text=text)
    return shown


def _page(list_: str, org_id: str, cursor: str | None) -> Read:
    return lambda store: _LISTS[list_][1](store, org_id, cursor)


def _search(query: str) -> Read:
    return lambda store: store.list_orgs(query=query)


def _cursor(connection: psycopg.Connection[Any], kind: str) -> str:
    """Return the id in the middle of a table."""
    row = connection.execute(
        f"SELECT id FROM {kind} ORDER BY id OFFSET (SELECT count(*) FROM {kind}) / 2 LIMIT 1"
    ).fetchone()
    assert row is not None
    return f"{kind}_{row[0].hex}"


def _taken(stores: dict[str, Store], reads: dict[str, Read], rounds: int) -> Times:
    times: Times = {(read, side): [] for read in reads for side in stores}
    for _ in range(rounds + 1):
        for name, read in reads.items():
            for side, store in stores.items():
                began = time.perf_counter()
                read(store)
                times[name, side].append(time.perf_counter() - began)
    return {key: seconds[1:] for key, seconds in times.items()}


def _pages(spreads: dict[tuple[str, str], Spread]) -> str:
    rows = []
    for list_ in _LISTS:
        row = [list_]
        for side in _SIDES:
            first, deep = spreads[list_, side], spreads[f"{list_}{_DEEP}", side]
            row += [str(first), str(deep), f"{deep.middle / first.middle:.2f}"]
        rows.append(row)
    head = ["milliseconds", "ours, page 1", "deep", "ratio", "peer's, page 1", "deep", "ratio"]
    return table(head, rows)


def _found(spreads: dict[tuple[str, str], Spread]) -> str:
    rows = []
    for words in _QUERIES:
        ours, peer, indexed = (spreads[words, side] for side in (*_SIDES, _INDEXED))
        rows.append(
            [words, *map(str, (ours, indexed, peer)), f"{peer.middle / indexed.middle:.0f}"]
        )
    head = ["list_orgs(query=…)", "ours", "with opt-in index", "peer", "times faster, indexed"]
    return table(head, rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--name", default="pages", help="of the files that are written")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--size", type=int, default=1_000_000)


def main(arguments: argparse.Namespace) -> None:
    """Run, and print the tables."""
    print(
        run(
            name=arguments.name,
            rounds=arguments.rounds,
            size=arguments.size,
            folder=arguments.folder,
        )
    )
