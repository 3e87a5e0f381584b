"""A relay on loopback that makes the server seem further away, and counts the waits.

    python benchmarks/proxy.py HOST PORT MILLISECONDS

What a client sends goes on at once; the answer is held back for the whole round trip, which to a
client that waits for it is the same as half of it each way. The relay runs in a process of its
own, so that it takes no turns with its client in one interpreter, and ends when its standard
input does: with its parent, whatever becomes of that.

A turn is one wait: the client has sent something, and the server answers.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TextIO

# The kernel may wake a sleeper late by this much, in seconds; the relay stays awake for the rest.
_NAP_MARGIN: Final = 60e-6
_PR_SET_TIMERSLACK: Final = 29
_CHUNK: Final = 1 << 18


@dataclass(eq=False)
class _Wire:
    """A client's connection, and the one to the server that stands in for it."""

    client: socket.socket
    server: socket.socket
    turns: int = 0
    asked: bool = False
    """Whether the client has sent something since the last answer."""

    def close(self) -> None:
        self.client.close()
        self.server.close()

    @property
    def is_open(self) -> bool:
        return self.client.fileno() >= 0


class Relay:
    """The loop that passes bytes on: one thread, all connections.

    Args:
        server: the host and port to pass on to.
        delay: what to add to each round trip, in seconds.
    """

    def __init__(self, server: tuple[str, int], delay: float) -> None:
        self._server = server
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wires: list[_Wire] = []
        self._ends: dict[socket.socket, _Wire] = {}
        self._held: deque[tuple[float, _Wire, bytes]] = deque()
        self.port: int = self._listener.getsockname()[1]

    def run(self, questions: TextIO, answers: TextIO) -> None:
        """Pass bytes on until the questions end; a line asks for the turns of each connection."""
        while True:
            for ready in self._wait([self._listener, questions, *self._ends]):
                if ready is self._listener:
                    self._accept()
                elif ready is not questions:
                    assert isinstance(ready, socket.socket)
                    self._pass_on(ready)
                elif questions.readline():
                    print(
                        json.dumps([wire.turns for wire in self._wires]), file=answers, flush=True
                    )
                else:
                    return
            self._release()

    def _wait(self, sources: list[socket.socket | TextIO]) -> list[socket.socket | TextIO]:
        """Sleep until there is something to read or to release."""
        if not self._held:
            return select.select(sources, [], [])[0]
        left = self._held[0][0] - time.perf_counter()
        return select.select(sources, [], [], max(0.0, left - _NAP_MARGIN))[0]

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        wire = _Wire(client, socket.create_connection(self._server))
        self._wires.append(wire)
        for end in (wire.client, wire.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends[end] = wire

    def _pass_on(self, source: socket.socket) -> None:
        wire = self._ends.get(source)
        if wire is None:  # closed in this very round
            return
        try:
            data = source.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if source is wire.server:
            wire.turns += wire.asked
            wire.asked = False
            self._held.append((time.perf_counter() + self._delay, wire, data))
        elif data:
            wire.asked = True
            self._send(wire, wire.server, data)
        else:
            self._close(wire)

    def _release(self) -> None:
        """Send the answers whose time has come."""
        while self._held and self._held[0][0] <= time.perf_counter():
            _, wire, data = self._held.popleft()
            if not wire.is_open:
                continue
            if data:
                self._send(wire, wire.client, data)
            else:
                self._close(wire)

    def _send(self, wire: _Wire, end: socket.socket, data: bytes) -> None:
        try:
            end.sendall(data)
        except ConnectionError:
            self._close(wire)

    def _close(self, wire: _Wire) -> None:
        for end in (wire.client, wire.server):
            self._ends.pop(end, None)
        wire.close()


class DelayProxy:
    """A running relay, as its parent sees it."""

    host: Final = "127.0.0.1"

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - both pipes
        self._questions, self._answers = process.stdin, process.stdout
        self.port = int(self._answers.readline())

    @property
    def turns_by_connection(self) -> list[int]:
        """The waits of each connection so far, in the order in which they were opened."""
        print(file=self._questions, flush=True)
        turns: list[int] = json.loads(self._answers.readline())
        return turns

    @property
    def turns(self) -> int:
        """The waits of all connections so far."""
        return sum(self.turns_by_connection)


@contextmanager
def delay_proxy(host: str, port: int, delay: float) -> Iterator[DelayProxy]:
    """Run a relay to a server that adds ``delay`` seconds to each round trip."""
    with subprocess.Popen(
        [sys.executable, __file__, host, str(port), str(delay * 1000)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield DelayProxy(process)
        # Leaving closes its standard input, which ends it.


def main() -> None:
    """Relay until standard input ends; print the port first."""
    parser = argparse.ArgumentParser(description="Relay to a server, with a delay.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("milliseconds", type=float)
    arguments = parser.parse_args()
    if sys.platform == "linux":
        # By default the kernel wakes sleepers 50 µs late, to wake several at once.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    relay = Relay((arguments.host, arguments.port), arguments.milliseconds / 1000)
    print(relay.port, flush=True)
    relay.run(sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
