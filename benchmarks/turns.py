"""Turns: one operation of one side at one distance, timed in that side's process."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import psycopg
from sqlalchemy import URL

from benchmarks.operations import OPERATIONS, Stage
from benchmarks.processes import Hand
from benchmarks.proxy import DelayProxy, delay_proxy
from benchmarks.seeding import Population
from benchmarks.sides import SIDES, Side, libpq_url

Mode: TypeAlias = Literal["standalone", "nested"]
MODES: Final[tuple[Mode, ...]] = ("standalone", "nested")


@dataclass(frozen=True)
class Distance:
    """How far away the server is."""

    name: str
    delay: float | None
    """What a relay adds to each round trip, in seconds; ``None`` goes there directly."""


HERE: Final = Distance("loopback", None)


@dataclass(frozen=True)
class Turn:
    """An operation to take the time of, once."""

    operation: str
    mode: Mode
    distance: str


@dataclass(frozen=True)
class Sample:
    """What a turn took."""

    seconds: float
    busy: float
    """How long the client's own processor was at work, of these seconds."""
    waits: int | None
    """The turns that the relay counted, if there was one."""


Player: TypeAlias = Hand[Turn, Sample]


def open_side(
    resources: ExitStack,
    name: str,
    url: URL,
    distances: list[Distance],
    population: Population | None = None,
) -> Callable[[Turn], Sample]:
    """Open a side at every distance, and a stage for its fixtures.

    Args:
        resources: closes what is opened.
        name: the name of the side.
        url: a migrated database.
        distances: how far away the server is to be.
        population: who is there already, if the database is not empty.
    """

    def opened(place: URL) -> Side:
        side = SIDES[name](place)
        resources.callback(side.close)
        return side

    plain = resources.enter_context(psycopg.connect(libpq_url(url), autocommit=True))
    stage = Stage(plain, resources.enter_context(opened(url).standalone()), population)
    proxies: dict[str, DelayProxy] = {}
    sides: dict[str, Side] = {}
    for distance in distances:
        place = url
        if distance.delay is not None:
            proxy = resources.enter_context(delay_proxy(*address(url), distance.delay))
            proxies[distance.name] = proxy
            place = url.set(host=proxy.host, port=proxy.port)
        sides[distance.name] = opened(place)

    def take(turn: Turn) -> Sample:
        call = OPERATIONS[turn.operation](stage)
        side = sides[turn.distance]
        proxy = proxies.get(turn.distance)
        with side.nested() if turn.mode == "nested" else side.standalone() as store:
            before = proxy.turns if proxy else 0
            busy, began = time.process_time(), time.perf_counter()
            call(store)
            seconds, busy = time.perf_counter() - began, time.process_time() - busy
            waits = proxy.turns - before if proxy else None
        return Sample(seconds, busy, waits)

    return take


def address(url: URL) -> tuple[str, int]:
    """Return the host and port of a database."""
    return url.host or "127.0.0.1", url.port or 5432
