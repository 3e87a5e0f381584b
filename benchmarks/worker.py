"""A process for each side: it prepares, calls and times whatever turn it is given."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final, Literal, TypeAlias

import psycopg
from sqlalchemy import URL

from benchmarks.operations import OPERATIONS, Stage
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


class Worker:
    """The process, as its parent sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, turn: Turn) -> Sample:
        """Have a turn taken.

        Raises:
            RuntimeError: it failed; the process has ended.
        """
        self._connection.send(turn)
        answer = self._connection.recv()
        if isinstance(answer, str):
            raise RuntimeError(f"{turn}: {answer}")
        sample: Sample = answer
        return sample


@contextmanager
def worker(
    side: str, url: URL, distances: list[Distance], population: Population | None = None
) -> Iterator[Worker]:
    """Run a process that calls one side's operations.

    Args:
        side: the name of the side.
        url: a migrated database.
        distances: how far away the server is to be.
        population: who is there already, if the database is not empty.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_work, args=(theirs, side, url, distances, population), daemon=True
    )
    process.start()
    theirs.close()  # so that each end sees the other one go
    with ours:
        yield Worker(ours)
    process.join()


def _work(
    connection: Connection,
    side: str,
    url: URL,
    distances: list[Distance],
    population: Population | None,
) -> None:
    with ExitStack() as resources:
        hands = _Hands(side, url, distances, population, resources)
        while True:
            try:
                turn = connection.recv()
            except EOFError:
                return
            try:
                connection.send(hands.take(turn))
            except Exception as exc:
                # Its own class may not survive the way to the parent.
                connection.send(f"{type(exc).__name__}: {exc}")
                raise


class _Hands:
    """What the process works with: a stage for fixtures, and the side at each distance."""

    def __init__(
        self,
        side: str,
        url: URL,
        distances: list[Distance],
        population: Population | None,
        resources: ExitStack,
    ) -> None:
        at_home = self._side(side, url, resources)
        plain = resources.enter_context(psycopg.connect(libpq_url(url), autocommit=True))
        self._stage = Stage(plain, resources.enter_context(at_home.standalone()), population)
        self._proxies: dict[str, DelayProxy] = {}
        self._sides: dict[str, Side] = {}
        for distance in distances:
            via = url
            if distance.delay is not None:
                proxy = resources.enter_context(
                    delay_proxy(url.host or "127.0.0.1", url.port or 5432, distance.delay)
                )
                self._proxies[distance.name] = proxy
                via = url.set(host=proxy.host, port=proxy.port)
            self._sides[distance.name] = self._side(side, via, resources)

    @staticmethod
    def _side(name: str, url: URL, resources: ExitStack) -> Side:
        side = SIDES[name](url)
        resources.callback(side.close)
        return side

    def take(self, turn: Turn) -> Sample:
        call = OPERATIONS[turn.operation](self._stage)
        side = self._sides[turn.distance]
        proxy = self._proxies.get(turn.distance)
        with side.nested() if turn.mode == "nested" else side.standalone() as store:
            before = proxy.turns if proxy else 0
            busy, began = time.process_time(), time.perf_counter()
            call(store)
            seconds, busy = time.perf_counter() - began, time.process_time() - busy
            waits = proxy.turns - before if proxy else None
        return Sample(seconds, busy, waits)
