"""A relay on loopback that cuts a connection: where a client commits, or a server refuses."""

from __future__ import annotations

import math
import select
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

HOST: Final = "127.0.0.1"
ALL: Final = math.inf
_CHUNK: Final = 1 << 16
# As PostgreSQL's protocol spells a refusal, its readiness after one, and the end of a connection.
_REFUSED: Final = b"\0C23505\0"
_READY: Final = b"Z\0\0\0\5E"
_TERMINATED: Final = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"


@dataclass
class Relay:
    """A relay to a server.

    Attributes:
        url: where it takes connections for the database.
        sends: whether a commit at which it cuts reaches the server.
        cuts: at how many commits it has yet to cut.
        commits: how many it has seen.
        ends: whether the connection ends right behind a unique index's refusal.
    """

    url: URL
    sends: bool = False
    cuts: float = 0
    commits: int = 0
    ends: bool = False

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what both say, until one of them ends, or a commit is cut."""
        asked = False
        with client, server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    if not (data := _received(source)):
                        return
                    named = b"COMMIT" in data.upper()
                    if source is client:
                        self.commits += named
                        if named and self.cuts > 0:
                            self.cuts -= 1
                            asked = True
                        if asked and not self.sends:
                            return
                    elif asked and named:  # it has committed, which the client never hears
                        return
                    if source is server and self.ends and _REFUSED in data:
                        client.sendall(data.removesuffix(_READY) + _message(_TERMINATED))
                        return
                    (server if source is client else client).sendall(data)


def _message(error: bytes) -> bytes:
    return b"E" + (len(error) + 4).to_bytes(4, "big") + error


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except ConnectionError:
        return b""


@contextmanager
def relay(url: URL) -> Iterator[Relay]:
    """Run a relay to a database."""
    server = (url.host or HOST, url.port or 5432)
    with socket.create_server((HOST, 0)) as listener:
        running = Relay(url.set(host=HOST, port=listener.getsockname()[1]))

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:  # closed
                    return
                ends = (client, socket.create_connection(server))
                Thread(target=running.serve, args=ends, daemon=True).start()

        Thread(target=accept, daemon=True).start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)
