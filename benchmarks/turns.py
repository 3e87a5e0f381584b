"""Turns: one operation of one side at one distance, measured in that side's own process."""

from __future__ import annotations

import multiprocessing
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import psycopg
from sqlalchemy import URL

from benchmarks.operations import OPERATIONS, Stage
from benchmarks.proxy import HOST, DelayProxy, delay_proxy
from benchmarks.sides import SIDES, Mode, Side, libpq_url

# psycopg prepares a statement when it comes the sixth time.
_WARM_UP: Final = 6
_TRACED: Final = 3  # memory hardly differs from turn to turn


@dataclass(frozen=True)
class Distance:
    """How far away the server is."""

    name: str
    delay: float | None
    """What a relay adds to each round trip, in seconds; ``None`` goes there directly."""


HERE: Final = Distance("loopback", None)


@dataclass(frozen=True)
class Turn:
    """An operation to take the measure of, once."""

    operation: str
    mode: Mode
    distance: str
    traced: bool
    """Whether to take its memory, and not its time, which suffers from that."""


@dataclass(frozen=True)
class Sample:
    """What a turn took."""

    seconds: float
    busy: float
    """How long the client's own processor was at work, of these seconds."""
    waits: int | None
    """The turns that the relay counted, if there was one."""
    peak: int
    """The most memory that Python held for it at once, in bytes, if that was traced."""


Samples: TypeAlias = dict[tuple[Turn, str], list[Sample]]
"""By turn and who took it."""


@dataclass(frozen=True)
class Setup:
    """What a player opens: a side, at every distance, and a stage for its fixtures."""

    side: str
    url: URL
    distances: tuple[Distance, ...]
    members: int
    rows: int


class _Player:
    def __init__(self, setup: Setup) -> None:
        self._resources = ExitStack()  # open until the process ends, and the relays with it
        plain = psycopg.connect(libpq_url(setup.url), autocommit=True)
        side = SIDES[setup.side]
        store = self._resources.enter_context(side(setup.url).opened("standalone"))
        self._stage = Stage(plain, store, setup.members > 0, setup.rows)
        self._places: dict[str, tuple[Side, DelayProxy | None]] = {}
        for distance in setup.distances:
            url, relay = setup.url, None
            if distance.delay is not None:
                relay = self._resources.enter_context(delay_proxy(*_place(url), distance.delay))
                url = url.set(host=HOST, port=relay.port)
            self._places[distance.name] = side(url), relay

    def take(self, turn: Turn) -> Sample:
        call = OPERATIONS[turn.operation](self._stage)
        side, relay = self._places[turn.distance]
        with side.opened(turn.mode) as store:
            before = relay.turns if relay else 0
            if turn.traced:
                tracemalloc.start()
            busy, began = time.process_time(), time.perf_counter()
            call(store)
            seconds, busy = time.perf_counter() - began, time.process_time() - busy
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            waits = relay.turns - before if relay else None
        self._stage.restore()
        return Sample(seconds, busy, waits, peak)


_player = cache(_Player)


def _take(setup: Setup, turn: Turn) -> Sample:
    return _player(setup).take(turn)


def play(setups: Mapping[str, Setup], turns: Sequence[tuple[Turn, str]], rounds: int) -> Samples:
    """Have every turn taken in each round, one after the other, by processes of their own."""
    samples: Samples = defaultdict(list)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, for all that fork from there
    with ExitStack() as resources:
        processes = {
            name: resources.enter_context(ProcessPoolExecutor(max_workers=1, mp_context=context))
            for name in setups
        }
        for number in range(-_WARM_UP, rounds):
            if sys.stderr.isatty():
                print(f"\rround {number + 1} of {rounds} ", end="", file=sys.stderr)
            for turn, name in turns[:: 1 if number % 2 else -1]:  # nobody is always the first
                if turn.traced and not 0 <= number < _TRACED:
                    continue
                sample = processes[name].submit(_take, setups[name], turn).result()
                if number >= 0:
                    samples[turn, name].append(sample)
    return samples


def raw(samples: Samples) -> list[dict[str, Any]]:
    """Return every sample, in seconds and bytes."""
    return [
        {
            **asdict(turn),
            "player": name,
            "seconds": [round(each.seconds, 7) for each in taken],
            "busy": [round(each.busy, 7) for each in taken],
            "waits": [each.waits for each in taken],
            "peak": [each.peak for each in taken],
        }
        for (turn, name), taken in samples.items()
    ]


def _place(url: URL) -> tuple[str, int]:
    return url.host or HOST, url.port or 5432
