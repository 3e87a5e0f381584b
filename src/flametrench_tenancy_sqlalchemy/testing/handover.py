"""One server for all processes of a test run.

Whoever has started pytest owns the server; pytest-xdist's workers ask for it. It is started when
somebody first asks, so a run that never touches the database starts nothing.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import ExitStack
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .servers import Server

Address = tuple[str, int, bytes]
"""Where a worker asks for the server, and the key that lets it in."""

_SERVER = "server"
_CLOSE = "close"


class ServerSource(Protocol):
    """Whoever a process of the test run gets its server from."""

    def get(self) -> Server:
        """Return the running server, started if need be."""


class ServerOwner:
    """Starts the run's one server when it is first asked for and stops it in the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resources = ExitStack()
        self._address: Address | None = None
        self.server: Server | None = None

    def get(self) -> Server:
        """Return the running server, started if need be."""
        with self._lock:
            if self.server is None:
                from .servers import running_server  # noqa: PLC0415 - a run may never need it

                self.server = self._resources.enter_context(running_server())
                if not self.server.disposable:
                    self._resources.callback(_drop_databases, self.server)
            return self.server

    def invite(self) -> Address:
        """Open the door for workers and return what they need to come in."""
        if self._address is None:
            key = secrets.token_bytes(16)
            # All workers may ask at once, while the server is still starting.
            listener = Listener(("127.0.0.1", 0), backlog=64, authkey=key)
            host, port = listener.address
            self._address = (host, port, key)
            door = threading.Thread(target=self._answer, args=(listener,), daemon=True)
            door.start()
            self._resources.callback(door.join)
            self._resources.callback(_ask, self._address, _CLOSE)
        return self._address

    def close(self) -> None:
        """Shut the door and stop the server."""
        self._resources.close()

    def _answer(self, listener: Listener) -> None:
        with listener:
            while True:
                try:
                    with listener.accept() as guest:
                        if guest.recv() == _CLOSE:
                            guest.send(None)
                            return
                        guest.send(self._answer_to_guest())
                except (AuthenticationError, EOFError, ConnectionError):
                    continue  # a stranger, or a worker that died; the others still wait

    def _answer_to_guest(self) -> Server | Exception:
        try:
            return self.get()
        except Exception as exc:
            # Its own class may not survive the way to the worker, which raises what it gets.
            return RuntimeError(f"{type(exc).__name__}: {exc}")


class ServerGuest:
    """Asks the owner, in the process that started the run, for the server."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def get(self) -> Server:
        """Return the owner's server.

        Raises:
            RuntimeError: the owner could not start one.
        """
        answer = _ask(self._address, _SERVER)
        if isinstance(answer, Exception):
            raise answer
        server: Server = answer
        return server


def _ask(address: Address, question: str) -> Any:
    host, port, key = address
    with Client((host, port), authkey=key) as owner:
        owner.send(question)
        return owner.recv()


def _drop_databases(server: Server) -> None:
    from .databases import Databases  # noqa: PLC0415 - only a server in use gets here

    Databases(server).drop_all()
