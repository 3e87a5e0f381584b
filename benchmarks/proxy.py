"""A relay on loopback that makes the server seem further away, and counts the waits.

What a client sends goes on at once; the answer is held back for the whole round trip, which to a
client that waits for it is the same as half of it each way. The relay runs in a process of its
own, so that it takes no turns with its client in one interpreter, and ends when its standard
input does: with its parent, whatever becomes of that.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final

HOST: Final = "127.0.0.1"
# The kernel may wake a sleeper late by this much, in seconds; the relay stays awake for the rest.
_NAP_MARGIN: Final = 200e-6
_CHUNK: Final = 1 << 18


class DelayProxy:
    """A running relay, as its parent sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - both pipes
        self._questions, self._answers = process.stdin, process.stdout
        self.port = int(self._answers.readline())

    @property
    def turns(self) -> int:
        """The waits of all connections so far."""
        print(file=self._questions, flush=True)
        return int(self._answers.readline())


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


def _relay(
    client: socket.socket, address: tuple[str, int], delay: float, turns: list[None]
) -> None:
    with client, socket.create_connection(address) as server:
        other = {client: server, server: client}
        for end in other:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = False
        while True:
            for source in select.select(list(other), [], [])[0]:
                data = _received(source)
                if not data:
                    return
                if source is server and asked:  # an answer begins; the rest comes right behind it
                    _wait_until(time.perf_counter() + delay)
                    turns.append(None)
                asked = source is client
                other[source].sendall(data)


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except ConnectionError:
        return b""


def _wait_until(moment: float) -> None:
    if (nap := moment - time.perf_counter() - _NAP_MARGIN) > 0:
        time.sleep(nap)
    while time.perf_counter() < moment:
        pass


def main(host: str, port: str, milliseconds: str) -> None:
    """Relay until standard input ends; print the port first, and the waits for each line of it."""
    turns: list[None] = []  # of all threads: appending is atomic, counting up is not
    listener = socket.create_server((HOST, 0))
    place, delay = (host, int(port)), float(milliseconds) / 1000

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            Thread(target=_relay, args=(client, place, delay, turns), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(len(turns), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
