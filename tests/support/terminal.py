"""A terminal at which commands run in processes of their own, as somebody would see them."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

COMMAND: Final = [
    sys.executable,
    "-c",
    "import sys; from flametrench_tenancy_sqlalchemy.cli import main; sys.exit(main())",
]


class Terminal:
    """A process with a terminal of its own.

    Attributes:
        seen: all that has appeared so far.
    """

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self.seen = ""
        self._screen = screen

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._screen, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until something has appeared."""
        end = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if not self._read():
                raise AssertionError(f"it ended: {self.seen}")

    def end(self) -> int:
        """Wait for the process to end, and return its exit code."""
        while self._read():
            pass
        return self.process.wait(30)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._screen], [], [], 30)
        assert ready, self.seen
        try:
            read = os.read(self._screen, 65536)
        except OSError:  # what Linux says when nobody has the other side open any more
            return False
        self.seen += read.decode().replace("\r\n", "\n")
        return bool(read)


@contextmanager
def terminal(words: Sequence[str], *, columns: int = 100, **variables: str) -> Iterator[Terminal]:
    """Run a program at a terminal."""
    screen, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        words,
        stdin=there,
        stdout=there,
        stderr=there,
        env=_environment(variables),
        start_new_session=True,
        # As a shell's foreground has it, though these tests may run in somebody's background.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no lock
    )
    os.close(there)
    try:
        yield Terminal(process, screen)
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    }
    return {**kept, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **variables}
